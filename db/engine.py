"""Opening the record: an engine per URL, read and write transactions, migrations.

SQLite is set up for several processes on one host (WAL, a busy timeout, foreign keys, writers that
take the write lock at once); PostgreSQL by its defaults. `COMMIT` means on disk on both.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import ConnectionPoolEntry

if TYPE_CHECKING:
    from alembic.config import Config

BUSY_SECONDS = 30
#: Seconds after which a peer of PostgreSQL that is not heard of counts as gone, at both ends.
SILENT_SECONDS = 20
#: Seconds a writing transaction may rest: a host that is cut off or stopped in the middle of one
#: would keep its locks, on which everybody else waits.
RESTING_SECONDS = 30
_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * SILENT_SECONDS,
}
#: The same for the server's end, and no compilation of queries: it takes seconds for the views,
#: which run in less.
_SESSION = f"""
SET jit = off;
SET idle_in_transaction_session_timeout = '{RESTING_SECONDS}s';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 5;
SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '{SILENT_SECONDS}s';
"""
#: A reader holds no lock that others wait for, and may wait for a slow reader of a CSV. Sweeps are
#: of such different sizes that a plan for any of them is several times slower than one for this
#: one; and what is counted over seeds is to be hashed in memory, not sorted on disk.
_READING = """
SELECT set_config('idle_in_transaction_session_timeout', '0', true),
       set_config('plan_cache_mode', 'force_custom_plan', true),
       set_config('work_mem', '32MB', true)
"""
#: Key of the advisory lock that lets one process migrate at a time (PostgreSQL).
_MIGRATION_LOCK = 20161161


def database_url(text: str) -> URL:
    """The URL with its driver named: `postgresql://…` means psycopg 3.

    Raises:
        ValueError: Neither SQLite (a file) nor PostgreSQL.
    """
    url = make_url(text)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"{url.drivername} is not supported: use sqlite:///FILE or postgresql://…")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("an in-memory SQLite database has one reader: use sqlite:///FILE")
    return url


def open_engine(text: str) -> Engine:
    """An engine on the record at this URL; nothing is connected or created yet."""
    url = database_url(text)
    if url.get_backend_name() == "postgresql":
        patience = {name: value for name, value in _PATIENCE.items() if name not in url.query}
        engine = create_engine(url, pool_pre_ping=True, connect_args=patience)
        event.listen(engine, "connect", set_up_postgresql)
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def set_up_postgresql(connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
    """Say how long the session waits, and for what."""
    connection.execute(_SESSION)
    connection.commit()


def _set_up_sqlite(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    # The driver must not open transactions of its own: `_begin_sqlite` says which kind.
    connection.isolation_level = None
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set the file's journal to WAL, waiting for others: SQLite's busy timeout does not here."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(conn: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once under contention,
    # busy timeout or not; a writer therefore takes the lock first.
    writes = conn.get_execution_options().get("writes", False)
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed at the end, rolled back by an exception."""
    with engine.connect() as raw:
        conn = raw.execution_options(writes=True)
        with conn.begin():
            yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent snapshot, read only."""
    with engine.connect() as raw:
        conn = raw
        if engine.dialect.name == "postgresql":
            conn = raw.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with conn.begin():
            if engine.dialect.name == "postgresql":
                conn.exec_driver_sql(_READING)
            yield conn


# Only these load Alembic: a worker process never migrates, and starts the sooner.


def alembic_config() -> "Config":
    """The migrations' settings; the connection is handed over in `attributes`."""
    from alembic.config import Config

    return Config(Path(__file__).with_name("alembic.ini"))


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the record to a revision, by default the newest; processes may do so at once."""
    from alembic import command

    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    config = alembic_config()
    with writing(engine) as conn:
        if engine.dialect.name == "postgresql":
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        config.attributes["connection"] = conn
        command.upgrade(config, revision)


def head_revision() -> str | None:
    """The newest revision this code knows."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def current_revision(engine: Engine) -> str | None:
    """The revision the record is at; None before the first migration."""
    from alembic.runtime.migration import MigrationContext

    with engine.connect() as conn:
        return MigrationContext.configure(conn).get_current_revision()


def is_current(engine: Engine) -> bool:
    """Whether the record has the schema this code expects."""
    return current_revision(engine) == head_revision()
