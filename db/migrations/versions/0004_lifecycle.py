"""The lifecycle of a sweep: more states and wishes, and what happens on the way."""

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: Checks that permit more, (table, column): before, after.
CHECKS = {
    ("sweeps", "state"): (
        "'queued', 'running', 'finished', 'cancelled', 'failed'",
        "'queued', 'running', 'paused', 'finished', 'cancelled', 'failed'",
    ),
    ("sweeps", "desired"): ("'run', 'cancel'", "'run', 'pause', 'stop', 'cancel'"),
    ("events", "kind"): (
        "'submitted', 'started', 'finished', 'cancelled', 'failed', 'retried', 'extended', "
        "'pack_split', 'pack_failed'",
        "'submitted', 'started', 'pausing', 'paused', 'resumed', 'stopping', 'finished', "
        "'cancelled', 'failed', 'retried', 'extended', 'pack_split', 'pack_stalled', "
        "'prioritized', 'pack_failed'",
    ),
}
#: What has no name before this revision takes the nearest one.
FORMER = (
    "UPDATE sweeps SET state = 'queued' WHERE state = 'paused'",
    "UPDATE sweeps SET desired = 'run' WHERE desired IN ('pause', 'stop')",
    "DELETE FROM events WHERE kind IN ('pausing', 'paused', 'resumed', 'stopping', "
    "'pack_stalled', 'prioritized')",
)


ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
#: Of the views as 0003 made them, these parts of `seed_results` grow.
LONGER = (
    ("engine, instruction_set\nFROM (", "engine, instruction_set, reused_from\nFROM ("),
    ("r.instruction_set\n  FROM", "r.instruction_set,\n    r.reused_from\n  FROM"),
)


def _new_columns() -> list[tuple[str, sa.Column]]:
    return [
        ("packs", sa.Column("stalls", sa.Integer(), server_default="0", nullable=False)),
        ("sweeps", sa.Column("max_failed_seeds", sa.Integer(), nullable=True)),
        ("sweeps", sa.Column("priority", sa.Integer(), server_default="0", nullable=False)),
        ("sweeps", sa.Column("max_concurrent_trials", sa.Integer(), nullable=True)),
        ("seed_runs", sa.Column("reused_from", ID, nullable=True)),
    ]


def upgrade() -> None:
    context.script.get_revision("0002").module.downgrade()
    for table, new in _new_columns():
        op.add_column(table, new)
    for (table, column), (before, after) in CHECKS.items():
        _permit(table, column, before, after)
    _create_views(LONGER)


def downgrade() -> None:
    context.script.get_revision("0002").module.downgrade()
    for statement in FORMER:
        op.execute(statement)
    for (table, column), (before, after) in CHECKS.items():
        _permit(table, column, after, before)
    for table, new in _new_columns():
        op.drop_column(table, new.name)
    _create_views(())


def _create_views(longer: tuple[tuple[str, str], ...]) -> None:
    """The views of 0002, with what 0003 added and this."""
    views = context.script.get_revision("0002").module
    connection = op.get_bind()
    seed_results = views.SEED_RESULTS[connection.dialect.name]
    for before, after in (*context.script.get_revision("0003").module.LONGER, *longer):
        seed_results = seed_results.replace(before, after)
    for text in (
        seed_results,
        views.SUCCESS_FRACTIONS,
        views.CARRY_THRESHOLDS,
        views.LEARNING_CURVES,
        views.FAILURES,
    ):
        connection.exec_driver_sql(text)


def _permit(table: str, column: str, before: str, after: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rewrite(table, f"{column} IN ({before})", f"{column} IN ({after})")
        return
    name = op.f(f"ck_{table}_{column}")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({after})")


def _rewrite(table: str, before: str, after: str) -> None:
    """Change a check where it is written.

    SQLite cannot alter one. To make the table anew, others' references and views would have to
    go first; for changes that rows do not notice its manual gives this way (ALTER TABLE, § 7).
    """
    connection = op.get_bind()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE type = 'table' AND name = :name AND instr(sql, :before) > 0"
        ),
        {"before": before, "after": after, "name": table},
    )
    if changed.rowcount != 1:
        raise RuntimeError(f"the table {table} has no check {before!r}")
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
