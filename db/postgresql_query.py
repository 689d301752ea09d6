"""A user's query on PostgreSQL: one session, one read-only transaction, one statement.

The statement is declared as a cursor through the extended protocol: the server itself refuses more
than one, and whatever is no SELECT. A query may undo its session's `statement_timeout`; the
watchdog here cancels it all the same.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg

from db.query_process import (
    FORBIDDEN,
    REFUSED,
    STOPPED,
    UNREACHABLE,
    Answer,
    NoAnswer,
    Task,
    capped,
)

_CURSOR = "query"
_ROWS_AT_ONCE = 100
_TYPES = {
    "bool": "boolean",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "float4": "double",
    "float8": "double",
    "varchar": "text",
    "bpchar": "text",
    "name": "text",
    "unknown": "text",
    "json": "JSON",
    "jsonb": "JSON",
    "timestamp": "time",
    "timestamptz": "time",
    "bytea": "blob",
}


def ask(task: Task) -> Answer:
    """The answer to one query.

    Raises:
        NoAnswer: Refused, stopped, or no session could be had.
    """
    threading.stack_size(2**18)
    with suppress(psycopg.Error), _session(task) as connection:
        watchdog = threading.Timer(task.seconds, connection.cancel)
        watchdog.daemon = True
        watchdog.start()
        try:
            return _ask(task, connection)
        except psycopg.Error as error:
            raise _no_answer(task, error) from None
        finally:
            watchdog.cancel()
            # Nothing a query did may last, whatever the server let it do.
            with suppress(psycopg.Error):
                connection.rollback()
    raise NoAnswer(UNREACHABLE, "the session was lost")


def _session(task: Task) -> psycopg.Connection[Any]:
    options = {
        "default_transaction_read_only": "on",
        "statement_timeout": math.ceil(1000 * task.seconds),
        "client_connection_check_interval": 500,
        # Compiling a view's query takes longer than the query.
        "jit": "off",
    }
    said = " ".join(f"-c {name}={value}" for name, value in options.items())
    try:
        connection = psycopg.connect(**{**task.target, "options": said, "connect_timeout": 5})
    except psycopg.Error as error:
        refused = "authentication failed" in str(error) or "password" in str(error)
        raise NoAnswer(FORBIDDEN if refused else UNREACHABLE, "no session") from None
    connection.read_only = True
    return connection


def _ask(task: Task, connection: psycopg.Connection[Any]) -> Answer:
    cursor = psycopg.RawServerCursor(connection, _CURSOR)
    cursor.execute(task.text.encode(), task.parameters or None)
    description = cursor.description or []
    rows, truncated = capped(task, _rows(cursor))
    return Answer(
        columns=[column.name for column in description],
        types=[_type(column.type_code) for column in description],
        rows=rows,
        truncated=truncated,
    )


def _rows(cursor: psycopg.RawServerCursor[Any]) -> Iterator[list[Any]]:
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        for row in rows:
            yield [_plain(value) for value in row]


def _plain(value: Any) -> Any:
    """A value as JSON can say it."""
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if value is None or isinstance(value, str | int | float | dict | list):
        return value
    return str(value)


def _type(code: int) -> str:
    known = psycopg.adapters.types.get(code)
    return _TYPES.get(known.name, known.name) if known else "other"


def _no_answer(task: Task, error: psycopg.Error) -> NoAnswer:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return task.too_long
    if isinstance(error, psycopg.errors.OutOfMemory):
        return NoAnswer(STOPPED, "it needed more memory than the server gives a session")
    said = error.diag.message_primary
    if said is None:
        # libpq without memory for a row gives the rest up: a second result, "out of memory".
        if "memory" in str(error) or "results from command" in str(error):
            raise MemoryError
        if isinstance(error, psycopg.OperationalError):
            return NoAnswer(UNREACHABLE, "the session was lost")
        return NoAnswer(REFUSED, str(error).strip() or type(error).__name__)
    place = _place(task.text, error.diag.statement_position)
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return NoAnswer(REFUSED, said + place + hint)


def _place(text: str, position: str | None) -> str:
    """Where in the user's own text the server stumbled."""
    if position is None:
        return ""
    prefix = f'DECLARE "{_CURSOR}" CURSOR FOR '
    offset = max(0, int(position) - 1 - len(prefix))
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return f", at line {line}, character {column}"
