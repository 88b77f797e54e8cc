"""The YAML of definitions as it was applied."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("definitions", sa.Column("source", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("definitions", "source")
