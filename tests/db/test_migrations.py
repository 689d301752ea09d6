"""The migrations, the models and the views describe one and the same database."""

import re

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect

from db import guards, models, views
from db.engine import (
    alembic_config,
    current_revision,
    head_revision,
    is_current,
    open_engine,
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
