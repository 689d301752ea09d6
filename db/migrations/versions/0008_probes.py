"""Probes by task and point, with where wrong symbols begin and end, and their view."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COUNTS = ("sequences", "wrong_sequences", "symbols", "wrong_symbols")

#: A copy of the view as of this revision.
PROBE_ERRORS = """CREATE VIEW probe_errors AS
SELECT
  r.sweep_id, s.name AS sweep, r.configuration_id, c.label AS configuration,
  r.id AS seed_run_id, r.seed, r.state,
  p.task, p.probe, p.point, p.label, p.sequences, p.wrong_sequences,
  CAST(p.wrong_sequences AS DOUBLE PRECISION) / NULLIF(p.sequences, 0) AS sequence_error,
  p.symbols, p.wrong_symbols,
  CAST(p.wrong_symbols AS DOUBLE PRECISION) / NULLIF(p.symbols, 0) AS symbol_error,
  p.first_wrong, p.last_wrong, p.step
FROM seed_runs r
JOIN configurations c ON c.id = r.configuration_id
JOIN sweeps s ON s.id = r.sweep_id
JOIN probe_results p ON p.seed_run_id = r.id"""

#: No code has written such rows; those somebody else did keep what they say.
OLD = """INSERT INTO probe_results (seed_run_id, step, task, probe, point, label,
  sequences, wrong_sequences, symbols, wrong_symbols, first_wrong, last_wrong, fence)
SELECT seed_run_id, step, '', probe,
  ROW_NUMBER() OVER (PARTITION BY seed_run_id, step, probe ORDER BY label) - 1, label,
  sequences, wrong_sequences, symbols, wrong_symbols, NULL, NULL, fence
FROM former_probe_results"""

#: On the way back a label may stand for several points: the first is kept.
NEW = """INSERT INTO probe_results (seed_run_id, step, probe, label,
  sequences, wrong_sequences, symbols, wrong_symbols, fence)
SELECT seed_run_id, step, probe, label, sequences, wrong_sequences, symbols, wrong_symbols, fence
FROM (
  SELECT p.*, ROW_NUMBER() OVER
    (PARTITION BY seed_run_id, step, probe, label ORDER BY task, point) AS place
  FROM former_probe_results p
) ranked
WHERE place = 1"""


def upgrade() -> None:
    _take_away()
    columns = [
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("probe", sa.Text(), nullable=False),
        sa.Column("point", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
    ]
    ends = [
        sa.Column("first_wrong", sa.Integer(), nullable=True),
        sa.Column("last_wrong", sa.Integer(), nullable=True),
    ]
    _create(columns, ends, ("seed_run_id", "step", "task", "probe", "point"))
    _fill(OLD)
    op.get_bind().exec_driver_sql(PROBE_ERRORS)


def downgrade() -> None:
    op.execute("DROP VIEW probe_errors")
    _take_away()
    columns = [
        sa.Column("probe", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
    ]
    _create(columns, [], ("seed_run_id", "step", "probe", "label"))
    _fill(NEW)


def _take_away() -> None:
    # A key cannot be changed in an SQLite table: the table is made anew on both engines.
    op.execute("CREATE TABLE former_probe_results AS SELECT * FROM probe_results")
    op.drop_table("probe_results")


def _create(columns: list[sa.Column], ends: list[sa.Column], key: tuple[str, ...]) -> None:
    op.create_table(
        "probe_results",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        *columns,
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        *ends,
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "wrong_sequences >= 0 AND wrong_sequences <= sequences",
            name=op.f("ck_probe_results_wrong_sequences"),
        ),
        sa.CheckConstraint(
            "wrong_symbols >= 0 AND wrong_symbols <= symbols",
            name=op.f("ck_probe_results_wrong_symbols"),
        ),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_probe_results_seed_run_id"
        ),
        sa.PrimaryKeyConstraint(*key, name="pk_probe_results"),
        sqlite_with_rowid=False,
    )


def _fill(statement: str) -> None:
    op.execute(statement)
    op.drop_table("former_probe_results")
