"""One query of a user in a process of its own, which can be limited and killed.

`db.console` starts it, hands the task over as JSON on stdin and reads the answer from stdout. It
loads little, so that it starts in a few hundredths of a second. A thread would not do: neither a
single operation that takes minutes nor the memory of one query can be taken from a thread.
"""

import json
import math
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: Temporary files of one query may grow to this.
MAX_FILE_BYTES = 256 * 2**20
#: Seconds after its time limit until a query that does not hear is killed.
GRACE_SECONDS = 0.5

#: Why a query has no answer.
REFUSED, STOPPED, UNREACHABLE, FORBIDDEN = "refused", "stopped", "unreachable", "forbidden"


class NoAnswer(Exception):
    """The query has no answer; `kind` is one of the four above."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to ask, of whom, and what it may take."""

    backend: str
    #: The path of a SQLite file, or what psycopg connects with.
    target: Any
    #: Tables and views that may be read.
    relations: Sequence[str]
    text: str
    parameters: Sequence[Any]
    max_rows: int
    max_bytes: int
    max_memory: int
    seconds: float

    @property
    def too_long(self) -> NoAnswer:
        """What to raise when the time is up."""
        return NoAnswer(STOPPED, f"interrupted by the timeout of {self.seconds:g} s")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Columns, and rows of plain JSON values."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    truncated: bool


def capped(task: Task, rows: Iterable[Sequence[Any]]) -> tuple[list[list[Any]], bool]:
    """As many rows as the task may have, and whether there were more."""
    kept: list[list[Any]] = []
    size = 0
    for row in rows:
        if len(kept) == task.max_rows:
            return kept, True
        values = list(row)
        size += len(json.dumps(values))
        if size > task.max_bytes:
            if not kept:
                raise NoAnswer(STOPPED, f"its first row is larger than {task.max_bytes:,} bytes")
            return kept, True
        kept.append(values)
    return kept, False


def _limit(task: Task) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (task.max_memory, task.max_memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nobody handles this alarm: it ends the process in whatever it does.
    signal.setitimer(signal.ITIMER_REAL, task.seconds + GRACE_SECONDS)


def _run(task: Task) -> Answer:
    ask: Callable[[Task], Answer]
    if task.backend == "sqlite":
        from db.sqlite_query import ask
    else:
        from db.postgresql_query import ask
    _limit(task)
    try:
        return ask(task)
    except MemoryError:
        needed = f"it needed more than {math.ceil(task.max_memory / 2**20)} MiB of memory"
        raise NoAnswer(STOPPED, needed) from None


def main() -> None:
    """Answer the task on stdin."""
    task = Task(**json.load(sys.stdin))
    try:
        answer = vars(_run(task))
    except NoAnswer as error:
        answer = {"kind": error.kind, "reason": str(error)}
    json.dump(answer, sys.stdout)
