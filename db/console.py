"""A user's own SQL, read only: `ngpu sql`. Bounded in time and rows, one session a query."""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, NullPool, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from db.engine import database_url, set_up_postgresql
from db.errors import QueryRefused
from db.paging import Row

MAX_ROWS = 10_000
MAX_SECONDS = 10.0
#: SQLite looks at the clock each time it has done this many of its own instructions.
_INSTRUCTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What a query gave."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    #: Whether there were more rows than were asked for.
    truncated: bool

    @property
    def items(self) -> list[Row]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def read_only(text: str, *, seconds: float = MAX_SECONDS) -> Engine:
    """An engine whose sessions can change nothing and stop a query after `seconds`."""
    url = database_url(text)
    if url.get_backend_name() == "postgresql":
        return _read_only_postgresql(url, seconds)
    engine = create_engine(_read_only_file(url), poolclass=NullPool)

    def set_up(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA query_only = ON")
        deadline = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)

    event.listen(engine, "connect", set_up)
    return engine


def _read_only_file(url: URL) -> URL:
    path = Path(str(url.database)).absolute()
    return url.set(database=path.as_uri(), query={"mode": "ro", "uri": "true"})


def _read_only_postgresql(url: URL, seconds: float) -> Engine:
    milliseconds = int(seconds * 1000)
    options = f"-c default_transaction_read_only=on -c statement_timeout={milliseconds}"
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": options})
    event.listen(engine, "connect", set_up_postgresql)
    return engine


def run_query(engine: Engine, text: str, *, max_rows: int = MAX_ROWS) -> QueryResult:
    """One statement on a `read_only` engine.

    Args:
        engine: From `read_only`.
        text: A single statement.
        max_rows: Rows returned at most.

    Raises:
        QueryRefused: The database refused the statement, or stopped it.
    """
    try:
        with engine.connect() as conn:
            # The driver's own cursor: a percent sign or a colon in the text is just that.
            cursor = conn.connection.cursor()
            _execute(cursor, text)
            if cursor.description is None:
                raise QueryRefused("the statement gives no rows: ask with SELECT")
            rows = cursor.fetchmany(max_rows + 1)
            columns = [column[0] for column in cursor.description]
    except (sqlite3.Error, sqlite3.Warning, psycopg.Error, DBAPIError) as error:
        raise QueryRefused(str(error).strip() or type(error).__name__) from error
    return QueryResult(
        columns=columns,
        rows=[tuple(row) for row in rows[:max_rows]],
        truncated=len(rows) > max_rows,
    )


def _execute(cursor: Any, text: str) -> None:
    if isinstance(cursor, psycopg.Cursor):
        # A prepared statement is a single one: "COMMIT; DROP …" is refused by the server.
        cursor.execute(text.encode(), prepare=True)
    else:
        cursor.execute(text)
