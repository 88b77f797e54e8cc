"""What endpoints ask for: sessions, the open clients, and the parameters that many of them share."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Path, Query
from pydantic import BeforeValidator
from starlette.requests import HTTPConnection
from temporalio.converter import DataConverter

from api.batches.service import BatchService
from api.runs.executions import Executions
from api.runs.hub import EventHub
from api.runs.reruns import Reruns
from api.runs.service import RunService
from api.runs.steering import Steering
from api.schedules.service import Schedules
from api.settings import ApiSettings
from studio.clients.prompts import PromptClient
from studio.contracts.base import NAME_PATTERN
from studio.contracts.runs import ShortText
from studio.db.engine import Database, ReadSession, WriteSession
from studio.store.event_stream import EventStream
from studio.web.headers import header_text


@dataclass(frozen=True)
class Parts:
    """What the lifespan opened."""

    settings: ApiSettings
    database: Database
    executions: Executions
    stream: EventStream
    prompts: PromptClient
    runs: RunService
    reruns: Reruns
    steering: Steering
    events: EventHub
    converter: DataConverter
    """Of Temporal's payloads."""
    schedules: Schedules
    batches: BatchService
    unpacking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Of requests to the codec: each may hold some hundred megabytes for a moment."""


def get_parts(connection: HTTPConnection) -> Parts:
    return connection.app.state.parts


PartsDep = Annotated[Parts, Depends(get_parts)]


async def _read_session(parts: PartsDep) -> AsyncGenerator[ReadSession]:
    async with parts.database.read() as session:
        yield session


async def _write_session(parts: PartsDep) -> AsyncGenerator[WriteSession]:
    async with parts.database.write() as session:
        yield session


# Function scope: the transaction ends before the answer leaves, so that an answer means committed.
ReadSessionDep = Annotated[ReadSession, Depends(_read_session, scope="function")]
WriteSessionDep = Annotated[WriteSession, Depends(_write_session, scope="function")]

Ref = Annotated[str, Path(max_length=64, description="A name or an id")]
Project = Annotated[str, Query(pattern=NAME_PATTERN, description="Where a name is looked up")]
ProjectFilter = Annotated[str | None, Query(alias="project_id", pattern=NAME_PATTERN, description="Only this project")]
Search = Annotated[str | None, Query(min_length=1, max_length=256, description="Text in the name or the description")]
HeaderText = Annotated[ShortText, BeforeValidator(lambda text: header_text(text.encode("latin-1")))]
"""The framework reads every header as Latin-1."""
SessionHeader = Annotated[HeaderText | None, Header(alias="X-Session-Id")]
UserHeader = Annotated[HeaderText | None, Header(alias="X-User-Id")]

DEFAULT_PROJECT = "default"
