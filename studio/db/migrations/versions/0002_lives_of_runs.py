"""Retries and replays, batches, schedules, the inbox of approvals, the uses of blobs."""

import sqlalchemy as sa
from alembic import op

from studio.db import tables

revision = "0002"
down_revision = "0001"

_INDEXES = {
    "runs_by_batch": ["batch_id", "id"],
    "runs_by_schedule": ["schedule_id", "id"],
    "runs_by_origin": ["replay_of", "id"],
    "runs_by_end": ["ended_at", "id"],
}


def upgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("retry_count", sa.Integer(), nullable=False, server_default="0"))
        runs.add_column(sa.Column("replay_of", sa.String(length=64), nullable=True))
        runs.add_column(sa.Column("batch_id", sa.String(length=64), nullable=True))
        runs.add_column(sa.Column("schedule_id", sa.String(length=64), nullable=True))
        runs.add_column(sa.Column("queued_at", tables.UtcDateTime(), nullable=True))
    for name, columns in _INDEXES.items():
        op.create_index(name, "runs", columns, unique=False)
    op.create_table(
        "pending_approvals",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("step_id", sa.Text(), nullable=False),
        sa.Column("workflow_path", sa.Text(), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("waiting", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step_id"),
    )
    op.create_index("pending_approvals_by_time", "pending_approvals", ["created_at", "run_id"], unique=False)
    op.create_table(
        "workflow_views",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("workflow_path", sa.Text(), nullable=False),
        sa.Column("told_at", tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "workflow_path"),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("definition_id", sa.String(length=64), nullable=False),
        sa.Column("definition_name", sa.String(length=64), nullable=False),
        sa.Column("definition_version", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "blob_uses",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("digest", "run_id"),
    )
    op.create_index("blob_uses_by_run", "blob_uses", ["run_id"], unique=False)


def downgrade() -> None:
    op.drop_index("blob_uses_by_run")
    op.drop_table("blob_uses")
    op.drop_table("batches")
    op.drop_table("workflow_views")
    op.drop_index("pending_approvals_by_time")
    op.drop_table("pending_approvals")
    for name in _INDEXES:
        op.drop_index(name)
    with op.batch_alter_table("runs") as runs:
        for column in ("queued_at", "schedule_id", "batch_id", "replay_of", "retry_count"):
            runs.drop_column(column)
