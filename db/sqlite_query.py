"""A user's query on a SQLite file: what it may read, call and use. Runs in `db.query_process`."""

import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from db.query_process import REFUSED, UNREACHABLE, Answer, NoAnswer, Task, capped

#: SQLite looks at the clock each time it has done this many of its own instructions.
_INSTRUCTIONS = 10_000
#: Functions that read or compute; none that reaches a file, the schema, or builds a blob at will.
_FUNCTIONS = """
    abs avg ceil ceiling char coalesce count cume_dist date datetime dense_rank exp
    first_value floor format glob group_concat hex ifnull iif instr json json_array
    json_array_length json_each json_extract json_group_array json_group_object json_object
    json_quote json_tree json_type json_valid julianday lag last_value lead length like
    likelihood likely ln log log10 log2 lower ltrim max min mod nth_value ntile nullif
    percent_rank pi pow power printf quote rank replace round row_number rtrim sign sqrt
    strftime substr substring sum time total trim trunc typeof unicode unixepoch unlikely
    upper -> ->>
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
_TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 5_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 250_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_TYPES = {int: "integer", float: "double", str: "text", bytes: "blob"}


def ask(task: Task) -> Answer:
    """The answer to one query.

    Raises:
        NoAnswer: Refused, stopped, or the file cannot be opened.
    """
    connection = _open(task)
    try:
        named = {str(number): value for number, value in enumerate(task.parameters, 1)}
        cursor = connection.execute(task.text, named)
        if cursor.description is None:
            raise NoAnswer(REFUSED, "the statement gives no rows: ask with SELECT")
        columns = [column[0] for column in cursor.description]
        kinds: list[set[str]] = [set() for _ in columns]
        rows, truncated = capped(task, (_plain(row, kinds) for row in cursor))
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _no_answer(task, error) from None
    types = [_type(found) for found in kinds]
    return Answer(columns=columns, types=types, rows=rows, truncated=truncated)


def _open(task: Task) -> sqlite3.Connection:
    path = Path(task.target).absolute().as_uri()
    try:
        connection = sqlite3.connect(f"{path}?mode=ro", uri=True, timeout=task.seconds)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        # The first use of one defines it, which the authorizer would take for a new table.
        for name in sorted(_TABLE_FUNCTIONS):
            connection.execute(f"SELECT 1 FROM {name}('[]')")
        connection.execute(f"PRAGMA hard_heap_limit = {task.max_memory // 2}")
    except sqlite3.Error as error:
        raise NoAnswer(UNREACHABLE, str(error)) from None
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    connection.text_factory = lambda text: text.decode(errors="replace")
    connection.set_authorizer(_Permission(task.relations))
    deadline = time.monotonic() + task.seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
    return connection


class _Permission:
    """SQLite's authorizer: everything is denied that is not named here."""

    def __init__(self, relations: Any) -> None:
        self.relations = {name.lower() for name in relations} | _TABLE_FUNCTIONS

    def __call__(self, action: int, first: str | None, second: str | None, *_: Any) -> int:
        permitted = (
            action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
            or (action == sqlite3.SQLITE_READ and str(first).lower() in self.relations)
            or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in FUNCTIONS)
        )
        return sqlite3.SQLITE_OK if permitted else sqlite3.SQLITE_DENY


def _plain(row: tuple[Any, ...], kinds: list[set[str]]) -> list[Any]:
    for kind, value in zip(kinds, row, strict=True):
        if value is not None:
            kind.add(_TYPES[type(value)])
    return [value.hex() if isinstance(value, bytes) else value for value in row]


def _type(found: set[str]) -> str:
    """SQLite types values, not columns."""
    if len(found) == 1:
        return next(iter(found))
    if not found:
        return "null"
    return "double" if found == {"integer", "double"} else "mixed"


def _no_answer(task: Task, error: Exception) -> NoAnswer:
    text = str(error).strip()
    if text == "interrupted":
        return task.too_long
    if unbound := re.search(r"binding parameter :(\S+?)\.?$", text):
        return NoAnswer(REFUSED, f"no value was given for the parameter ${unbound.group(1)}")
    if text == "not authorized":
        text = "not authorized: a query reads the views and tables, and changes nothing"
    return NoAnswer(REFUSED, text or type(error).__name__)
