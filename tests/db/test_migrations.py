"""The migrations, the models and the views describe one and the same database."""

import re
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, column, insert, inspect, select
from sqlalchemy import table as bare_table
from sqlalchemy.exc import DBAPIError

from db import guards, models, views
from db.engine import (
    alembic_config,
    current_revision,
    head_revision,
    is_current,
    open_engine,
    reading,
    upgrade,
    writing,
)

_POSTGRES_OBJECTS = """
SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


def _normal(sql: str) -> list[str]:
    """The text's parts without their order, which for a table's constraints means nothing."""
    return sorted(re.sub(r"\s+", " ", part).strip(" ()") for part in sql.split(","))


def _objects(conn: Connection) -> dict[tuple[str, str], list[str]]:
    """Every table, constraint, index, view and trigger, as the database itself tells it."""
    if conn.dialect.name == "sqlite":
        rows = conn.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
    else:
        rows = conn.exec_driver_sql(_POSTGRES_OBJECTS).all()
    return {(kind, name): _normal(sql or "") for kind, name, sql in rows if "alembic" not in name}


def test_migrations_give_the_tables_of_the_models(engine: Engine) -> None:
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, models.metadata) == []


def test_migrations_give_every_object_the_code_would_create(
    engine: Engine, empty_database: str
) -> None:
    created = open_engine(empty_database)
    with writing(created) as conn:
        models.metadata.create_all(conn)
        guards.create_guards(conn)
        views.create_views(conn)
    with created.connect() as conn, engine.connect() as migrated:
        assert _objects(migrated) == _objects(conn)
    created.dispose()


def test_views_have_exactly_the_declared_columns(engine: Engine) -> None:
    inspector = inspect(engine)
    for name, table in views.metadata.tables.items():
        assert [column["name"] for column in inspector.get_columns(name)] == list(table.c.keys())
    assert (
        set(inspector.get_view_names()) == set(views.metadata.tables) == set(views.texts("sqlite"))
    )


def test_upgrade_is_repeatable_and_knows_when_it_is_current(empty_database: str) -> None:
    engine = open_engine(empty_database)
    assert current_revision(engine) is None
    assert not is_current(engine)
    upgrade(engine)
    upgrade(engine)
    assert current_revision(engine) == head_revision()
    assert is_current(engine)
    engine.dispose()


def test_the_last_migration_can_be_taken_back_and_made_again(engine: Engine) -> None:
    config = alembic_config()
    with engine.connect() as conn:
        made = _objects(conn)
    for move, revision in ((command.downgrade, "-1"), (command.upgrade, "head")):
        with writing(engine) as conn:
            config.attributes["connection"] = conn
            move(config, revision)
    with engine.connect() as conn:
        assert _objects(conn) == made


def test_downgrade_leaves_nothing_behind(engine: Engine) -> None:
    config = alembic_config()
    with writing(engine) as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "base")
    with engine.connect() as conn:
        assert _objects(conn) == {}


#: A moment and a text that both databases must keep.
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
FIRST_ROWS: dict[str, dict[str, Any]] = {
    "sweeps": {
        "id": "01FIRST", "name": "größer", "digest": "d", "dedupe_key": "d", "spec": {"é": [1, 2]},
        "labels": {"a": "b"}, "state": "finished", "desired": "run", "revision": 3,
        "runner_epoch": 1, "success_metric": "sequence_error", "success_length": 201,
        "success_below": 0.01, "success_when": "ever", "max_failures": 3, "cpu": 1, "gpu": 0.5,
        "code_version": "v0", "created_at": WHEN, "finished_at": WHEN,
    },
    "configurations": {
        "id": 1, "sweep_id": "01FIRST", "position": 0, "digest": "c", "label": "24",
        "axes": {"filters": "24"}, "run": {"model": {"filters": 24}}, "max_steps": 1000,
    },
    "packs": {
        "id": 1, "sweep_id": "01FIRST", "configuration_id": 1, "state": "done", "fence": 2,
        "epoch": 1, "user_attempts": 0, "infra_attempts": 1,
    },
    "seed_runs": {
        "id": 1, "sweep_id": "01FIRST", "configuration_id": 1, "pack_id": 1, "seed": 7,
        "state": "finished", "steps": 1000, "max_steps": 1000, "wall_seconds": 0.1,
        "attempt_step": 0, "attempt_wall_seconds": 0.0, "attempts": 1, "code_version": "v0",
        "host": "here", "started_at": WHEN, "finished_at": WHEN,
    },
    "evaluations": {
        "seed_run_id": 1, "length": 201, "step": 1000, "task": "badd", "sequences": 128,
        "wrong_sequences": 1, "symbols": 2**40, "wrong_symbols": 3, "fence": 2,
    },
    "training_epochs": {
        "seed_run_id": 1, "step": 1000, "task": "badd", "length": 12, "curriculum_length": 9,
        "loss": None, "sequences": 64, "wrong_sequences": 16, "symbols": 640, "wrong_symbols": 64,
        "learning_rate": 1e-3, "pull": 1e-10, "fence": 2,
    },
    "carry_trials": {
        "seed_run_id": 1, "step": 1000, "task": "badd", "carry_length": 3, "trials": 64,
        "wrong": 5, "fence": 2,
    },
    "carry_results": {
        "seed_run_id": 1, "task": "badd", "threshold": None, "carry_limit": 9, "step": 1000,
        "fence": 2,
    },
    "probe_results": {
        "seed_run_id": 1, "step": 1000, "probe": "powers", "label": "2^3", "sequences": 4,
        "wrong_sequences": 1, "symbols": 8, "wrong_symbols": 1, "fence": 2,
    },
    "checkpoints": {
        "seed_run_id": 1, "step": 1000, "path": "a/b.pt", "sha256": "0" * 64, "bytes": 2**33,
        "fence": 2,
    },
    "events": {
        "sweep_id": "01FIRST", "revision": 1, "kind": "submitted", "body": {"seed_runs": 1},
        "created_at": WHEN,
    },
    "runners": {
        "sweep_id": "01FIRST", "epoch": 1, "host": "here", "pid": 1, "pid_started": 2.5,
        "lease_until": WHEN,
    },
    "leases": {"name": "scheduler", "owner": "here 1 2", "until": WHEN},
}  # fmt: skip


def test_a_record_of_the_first_schema_keeps_every_value_on_its_way_to_the_newest(
    empty_database: str,
) -> None:
    engine = open_engine(empty_database)
    upgrade(engine, "0001")
    with writing(engine) as conn:
        for name, row in FIRST_ROWS.items():
            # The models have younger columns, of keys too: the table is as its row names it.
            types = models.metadata.tables[name].c
            first = bare_table(name, *(column(key, types[key].type) for key in row))
            conn.execute(insert(first).values(row))
    upgrade(engine)
    with reading(engine) as conn:
        for name, row in FIRST_ROWS.items():
            found = conn.execute(select(models.metadata.tables[name])).mappings().one()
            assert {key: found[key] for key in row} == row, name
        [seed] = conn.execute(select(views.seed_results)).mappings()
        [fraction] = conn.execute(select(views.success_fractions)).mappings()
    assert (seed["succeeded"], seed["final_error"], seed["engine"]) == (True, 1 / 128, None)
    assert (fraction["succeeded"], fraction["counted"]) == (1, 1)
    assert is_current(engine)
    with writing(engine) as conn, pytest.raises(DBAPIError, match="immutable"):
        conn.exec_driver_sql("UPDATE seed_runs SET steps = 1")
    engine.dispose()


def test_a_record_is_upgraded_while_a_sweep_of_the_old_code_is_being_read(
    empty_database: str,
) -> None:
    engine = open_engine(empty_database)
    upgrade(engine, "0001")
    stop, failures = threading.Event(), list[Exception]()

    def read_on() -> None:
        while not stop.is_set():
            try:
                with reading(engine) as conn:
                    conn.exec_driver_sql("SELECT id, state FROM seed_runs").all()
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    try:
        upgrade(engine)
    finally:
        stop.set()
        reader.join()
    assert failures == []
    assert is_current(engine)
    engine.dispose()
