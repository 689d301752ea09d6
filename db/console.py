"""A user's own SQL, read only: `ngpu sql`, `POST /sql` and the SQL page.

Every query has a process and a session of its own (`db.query_process`), bounded in time, rows,
bytes and memory; it reads the views and the tables of raw counts, and nothing else.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from db import models, views
from db.engine import database_url
from db.errors import QueryImpossible, QueryRefused, QueryStopped
from db.paging import Row
from db.query_process import FORBIDDEN, REFUSED, STOPPED
from db.reader import ensure_reader

MAX_ROWS = 10_000
MAX_SECONDS = 10.0
MAX_BYTES = 5_000_000
#: Of the query's own process: its code and libraries, the database's client, the answer.
MAX_MEMORY = 256 * 2**20
#: Seconds a process may take to start on a machine that is busy.
_START_SECONDS = 20.0

#: What a query may read: the public views, and the raw counts they are derived from.
RELATIONS = (
    *views.metadata.tables,
    *(
        table.name
        for table in (
            models.sweeps,
            models.configurations,
            models.packs,
            models.seed_runs,
            models.evaluations,
            models.training_epochs,
            models.carry_trials,
            models.carry_results,
            models.probe_results,
            models.verdicts,
            models.checkpoints,
            models.events,
        )
    ),
)

Parameter = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What a query gave, as plain JSON values."""

    columns: list[str]
    #: integer, double, text, boolean, JSON, time, …; of SQLite the types of the values found.
    types: list[str]
    rows: list[tuple[Any, ...]]
    #: Whether there were more rows than were asked for, or than fit.
    truncated: bool
    seconds: float

    @property
    def items(self) -> list[Row]:
        """The rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Console:
    """Where queries are asked, and how long each may take."""

    url: URL
    seconds: float = MAX_SECONDS
    #: PostgreSQL: a login for queries that the administrator made.
    reader: URL | None = None
    #: PostgreSQL: without such a role ask as the record's owner; for who holds its URL anyway.
    as_owner: bool = False


def read_only(
    text: str, *, seconds: float = MAX_SECONDS, reader: str = "", as_owner: bool = False
) -> Console:
    """A console on the record at this URL; nothing is connected yet."""
    login = database_url(reader) if reader else None
    return Console(url=database_url(text), seconds=seconds, reader=login, as_owner=as_owner)


def run_query(
    console: Console,
    text: str,
    *,
    parameters: Sequence[Parameter] = (),
    max_rows: int = MAX_ROWS,
) -> QueryResult:
    """One statement, in a process and a session of its own.

    Args:
        console: From `read_only`.
        text: A single SELECT, WITH or VALUES; `$1`, `$2`, … stand for the parameters.
        parameters: Their values.
        max_rows: Rows returned at most.

    Raises:
        QueryRefused: The database refused the statement.
        QueryStopped: It went beyond a limit.
        QueryImpossible: No session could be had.
    """
    _require_text(text, parameters)
    started = time.monotonic()
    task = {
        "backend": console.url.get_backend_name(),
        "relations": RELATIONS,
        "text": text,
        "parameters": list(parameters),
        "max_rows": max_rows,
        "max_bytes": MAX_BYTES,
        "max_memory": MAX_MEMORY,
        "seconds": console.seconds,
    }
    answer = _answer(console, task)
    return QueryResult(
        columns=answer["columns"],
        types=answer["types"],
        rows=[tuple(row) for row in answer["rows"]],
        truncated=answer["truncated"],
        seconds=time.monotonic() - started,
    )


def _require_text(text: str, parameters: Sequence[Parameter]) -> None:
    try:
        said = json.dumps([text, *parameters], ensure_ascii=False, allow_nan=False)
        said.encode()
    except ValueError as error:
        raise QueryRefused("the query or a parameter is not text") from error
    if any("\0" in one for one in (text, *parameters) if isinstance(one, str)):
        raise QueryRefused("the query or a parameter holds a null character")


def _answer(console: Console, task: dict[str, Any]) -> dict[str, Any]:
    if console.url.get_backend_name() == "sqlite":
        return _checked(_in_process({**task, "target": console.url.database}))
    answer = _in_process({**task, "target": _login(console)})
    if answer.get("kind") == FORBIDDEN and console.as_owner:
        answer = _in_process({**task, "target": _connection(console.url)})
    return _checked(answer)


def _login(console: Console) -> dict[str, Any]:
    if console.reader is not None:
        return _connection(console.reader)
    try:
        reader = ensure_reader(console.url, RELATIONS)
    except QueryImpossible:
        if not console.as_owner:
            raise
        return _connection(console.url)
    return _connection(console.url.set(username=reader.name, password=reader.password))


def _connection(url: URL) -> dict[str, Any]:
    """What psycopg connects with."""
    named = url.translate_connect_args(username="user", database="dbname")
    return {**named, **url.query}


def _in_process(task: Mapping[str, Any]) -> dict[str, Any]:
    root = str(Path(__file__).parents[1])
    program = f"import sys; sys.path.insert(0, {root!r}); from db.query_process import main; main()"
    # -S: SQLite needs nothing installed, and starts in half the time.
    flags = ("-I", "-S") if task["backend"] == "sqlite" else ("-I",)
    try:
        done = subprocess.run(
            [sys.executable, *flags, "-c", program],
            input=json.dumps(task).encode(),
            capture_output=True,
            timeout=task["seconds"] + _START_SECONDS,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"kind": STOPPED, "reason": f"interrupted by the timeout of {task['seconds']:g} s"}
    if done.returncode == -signal.SIGALRM:
        return {"kind": STOPPED, "reason": f"killed by the timeout of {task['seconds']:g} s"}
    if done.returncode > 0 and b"MemoryError" not in done.stderr:
        raise RuntimeError(done.stderr.decode(errors="replace"))
    if done.returncode != 0:
        return {"kind": STOPPED, "reason": "it went beyond its memory, and was ended"}
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _environment() -> dict[str, str]:
    """What a client of PostgreSQL may need of ours; no setting of the service."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    home = os.environ.get("HOME")
    # One arena of memory for all threads: what is reserved counts.
    return {**kept, **({"HOME": home} if home else {}), "MALLOC_ARENA_MAX": "1"}


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    kind = answer.get("kind")
    if kind is None:
        return answer
    if kind == REFUSED:
        raise QueryRefused(answer["reason"])
    if kind == STOPPED:
        raise QueryStopped(f"the query was stopped: {answer['reason']}")
    if kind == FORBIDDEN:
        raise QueryImpossible(
            "the server does not let the role log in that queries run as: "
            "name another in NGPU_SQL_DATABASE_URL (docs/security.md)"
        )
    raise QueryImpossible("the database does not answer at the moment: ask again")
