"""Runs that are started together, each with an input of its own."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from studio.contracts.base import Contract, Json, Timestamp, Wire
from studio.contracts.runs import DefinitionRef, Metadata, RunKind, RunStatus, ShortText

MAX_ITEMS = 1000


class BatchItem(Contract):
    """One run."""

    input: Json = None
    session_id: ShortText | None = None
    user_id: ShortText | None = None
    metadata: Metadata = {}
    """Goes before the batch's."""


class StartBatch(Contract):
    """Body of `POST …/runs:batch`."""

    items: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_ITEMS)]
    version: Annotated[int, Field(ge=1)] | None = None
    """A stored version; default the newest."""
    metadata: Metadata = {}
    """Of every run."""


class Batch(Wire):
    """How far the runs are that were started together; `GET /runs?batch=` has each of them."""

    id: str
    kind: RunKind
    project_id: str
    workflow: DefinitionRef
    """The workflow, or the agent when `kind` is `agent`."""
    total: int
    counts: dict[RunStatus, int]
    """How many runs have each status, zeros included. A run that waits or is paused counts as in a list of runs."""
    ended: bool
    """Whether all have."""
    cost_usd: Decimal | None = None
    """Of the runs that have ended; null when none made a priced call."""
    created_at: Timestamp
    started_at: Timestamp | None = None
    """When the first one was taken up."""
    ended_at: Timestamp | None = None
    """When the last one ended; null while some have not."""
