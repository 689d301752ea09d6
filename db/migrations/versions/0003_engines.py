"""What computed a seed run: its engine and instruction set, in the table and in its view."""

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Of the views as 0002 made them, these parts of `seed_results` grow.
LONGER = (
    ("  code_version, host\nFROM (", "  code_version, host, engine, instruction_set\nFROM ("),
    (
        "r.code_version, r.host\n  FROM",
        "r.code_version, r.host, r.engine, r.instruction_set\n  FROM",
    ),
)


def upgrade() -> None:
    views = context.script.get_revision("0002").module
    views.downgrade()
    op.add_column("seed_runs", sa.Column("engine", sa.Text(), nullable=True))
    op.add_column("seed_runs", sa.Column("instruction_set", sa.Text(), nullable=True))
    connection = op.get_bind()
    seed_results = views.SEED_RESULTS[connection.dialect.name]
    for before, after in LONGER:
        seed_results = seed_results.replace(before, after)
    for text in (
        seed_results,
        views.SUCCESS_FRACTIONS,
        views.CARRY_THRESHOLDS,
        views.LEARNING_CURVES,
        views.FAILURES,
    ):
        connection.exec_driver_sql(text)


def downgrade() -> None:
    views = context.script.get_revision("0002").module
    views.downgrade()
    op.drop_column("seed_runs", "instruction_set")
    op.drop_column("seed_runs", "engine")
    views.upgrade()
