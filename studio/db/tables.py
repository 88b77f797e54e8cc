"""The SQL tables, alike on SQLite and PostgreSQL."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, LargeBinary, Numeric, String, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from studio.contracts.base import to_utc


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else to_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else to_utc(value)


class Money(TypeDecorator[Decimal]):
    """US dollars, exact to 12 places; text on SQLite, whose numbers are floats."""

    impl = Numeric(38, 12)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return String(64) if dialect.name == "sqlite" else Numeric(38, 12)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value).normalize() + 0


JsonColumn = JSON(none_as_null=True)
"""Kept as text, so that keys keep their order."""


@compiles(JSON, "sqlite")
def _json_is_text(_element: object, _compiler: object, **_options: object) -> str:
    """SQLite would store the JSON text `1.0` or `12345678901234567890` in a column named JSON as a number."""
    return "TEXT"


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, Decimal: Money, dict[str, Any]: JsonColumn}


class DefinitionRow(Base):
    """The newest version of an agent, a workflow or a schedule."""

    __tablename__ = "definitions"
    __table_args__ = (UniqueConstraint("kind", "project_id", "name"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    project_id: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    document: Mapped[dict[str, Any]]
    source: Mapped[str | None] = mapped_column(Text)
    """The YAML that was applied, comments and all; None when the document was written otherwise since."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DefinitionVersionRow(Base):
    """Every version ever written."""

    __tablename__ = "definition_versions"

    definition_id: Mapped[str] = mapped_column(ForeignKey("definitions.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]]
    actor: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime]


class RunRow(Base):
    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_by_project", "project_id", "id"),
        Index("runs_by_workflow", "definition_id", "id"),
        Index("runs_by_session", "session_id", "id"),
        Index("runs_by_status", "status", "id"),
        Index("runs_by_batch", "batch_id", "id"),
        Index("runs_by_schedule", "schedule_id", "id"),
        Index("runs_by_origin", "replay_of", "id"),
        Index("runs_by_end", "ended_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    project_id: Mapped[str] = mapped_column(String(64))
    definition_id: Mapped[str] = mapped_column(String(64))
    definition_name: Mapped[str] = mapped_column(String(64))
    definition_version: Mapped[int]
    pattern: Mapped[str | None] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    input: Mapped[Any] = mapped_column(JsonColumn, nullable=True)
    output: Mapped[Any] = mapped_column(JsonColumn, nullable=True)
    error: Mapped[Any] = mapped_column(JsonColumn, nullable=True)
    progress: Mapped[Any] = mapped_column(JsonColumn, nullable=True)
    """A `RunProgress`, written when the run ends."""
    cost_usd: Mapped[Decimal | None]
    session_id: Mapped[str | None] = mapped_column(String(256))
    user_id: Mapped[str | None] = mapped_column(String(256))
    run_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", JsonColumn)
    trace_id: Mapped[str] = mapped_column(String(32))
    temporal_run_id: Mapped[str | None] = mapped_column(String(64))
    retry_count: Mapped[int] = mapped_column(default=0)
    replay_of: Mapped[str | None] = mapped_column(String(64))
    """The run that this one is a replay of."""
    batch_id: Mapped[str | None] = mapped_column(String(64))
    schedule_id: Mapped[str | None] = mapped_column(String(64))
    queued_at: Mapped[datetime | None]
    """When it was last retried; None for a run that never was."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class PendingApprovalRow(Base):
    """A step of some run that waits for a person: what the inbox over all runs shows."""

    __tablename__ = "pending_approvals"
    __table_args__ = (Index("pending_approvals_by_time", "created_at", "run_id"),)

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    step_id: Mapped[str] = mapped_column(Text, primary_key=True)
    workflow_path: Mapped[str] = mapped_column(Text)
    """The step whose child workflow it belongs to; empty for the run itself."""
    project_id: Mapped[str] = mapped_column(String(64))
    waiting: Mapped[dict[str, Any]]
    """The step's `waiting`."""
    created_at: Mapped[datetime]


class WorkflowViewRow(Base):
    """When a workflow of a run that goes on, the run itself or a child, last told what it waits for."""

    __tablename__ = "workflow_views"

    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    workflow_path: Mapped[str] = mapped_column(Text, primary_key=True)
    told_at: Mapped[datetime]


class BatchRow(Base):
    """Runs that were started together."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(64))
    definition_id: Mapped[str] = mapped_column(String(64))
    definition_name: Mapped[str] = mapped_column(String(64))
    definition_version: Mapped[int]
    total: Mapped[int]
    created_at: Mapped[datetime]


class IdempotencyRow(Base):
    """`Idempotency-Key` of a start (the same key and body give the same run), or of a signal (it counts once)."""

    __tablename__ = "idempotency_keys"

    scope: Mapped[str] = mapped_column(String(128), primary_key=True)
    """The definition's id; of a signal the run's id and the signal's name."""
    key: Mapped[str] = mapped_column(String(256), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[str] = mapped_column(String(64))
    target: Mapped[str | None] = mapped_column(Text)
    """Of a signal: the Temporal workflow that it is for."""
    told_at: Mapped[datetime | None]
    """When that workflow had it; None while that is not known."""
    created_at: Mapped[datetime]


class MessageRow(Base):
    """One message of a conversation; payloads carry only the conversation's id and length."""

    __tablename__ = "messages"

    conversation_id: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[dict[str, Any]]


class BlobRow(Base):
    """A payload too large for a workflow history, by the SHA-256 of its bytes."""

    __tablename__ = "blobs"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class StrayObjectRow(Base):
    """An object of a blob store that no blob names: not yet, or not any more."""

    __tablename__ = "stray_objects"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    created_at: Mapped[datetime]


class BlobUseRow(Base):
    """Which run's histories refer to a blob: it is kept for as long as one of them is."""

    __tablename__ = "blob_uses"
    __table_args__ = (Index("blob_uses_by_run", "run_id"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
