"""Where a signal with an `Idempotency-Key` was sent; objects that no blob names."""

import sqlalchemy as sa
from alembic import op

from studio.db import tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.add_column(sa.Column("target", sa.Text(), nullable=True))
        keys.add_column(sa.Column("told_at", tables.UtcDateTime(), nullable=True))
    op.create_table(
        "stray_objects",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_at", tables.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    op.drop_table("stray_objects")
    with op.batch_alter_table("idempotency_keys") as keys:
        keys.drop_column("told_at")
        keys.drop_column("target")
