"""What was told of a sweep's end to the address a user named, and what is to be told again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", TIME, nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_deliveries_sweep_id"),
        sa.PrimaryKeyConstraint("sweep_id", "revision", name="pk_deliveries"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("deliveries")
