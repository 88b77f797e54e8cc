"""The connection to MongoDB."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, ExecutionTimeout, WTimeoutError

from prompt_service.settings import PromptSettings
from studio.contracts.base import JsonObject
from studio.errors import DependencyUnavailable

Document = JsonObject
Database = AsyncDatabase[Document]

SELECTION_MS = 2000
"""Longer than an election's usual end would let health checks and callers pile up."""
SOCKET_MS = 10_000


def connect_mongo(settings: PromptSettings) -> AsyncMongoClient[Document]:
    """A client that connects when first used, and again after every fault."""
    return AsyncMongoClient[Any](
        settings.mongo_url,
        serverSelectionTimeoutMS=SELECTION_MS,
        connectTimeoutMS=SELECTION_MS,
        socketTimeoutMS=SOCKET_MS,
        tz_aware=True,
        appname="ai-studio-prompts",
    )


@contextmanager
def mongo_faults() -> Generator[None]:
    """Turn a lost or missing server into `DependencyUnavailable`."""
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout, WTimeoutError) as error:
        raise DependencyUnavailable("mongo") from error
