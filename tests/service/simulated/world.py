"""The record, everybody who acts on it, and the model that the record is held against."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Engine

from db import submission
from db.engine import writing
from tests.service.simulated.clock import Clock, memory_record
from tests.service.simulated.processes import Runner, Worker

#: Steps of every seed run.
STEPS = 4
#: Seeds whose training raises, whatever they are packed with.
POISON = (3,)
#: Trials that the cluster has room for.
SLOTS = 3


class World:
    """All that there is."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.engine: Engine = memory_record(self.clock)
        #: The same connection without SQLAlchemy, whose looks would take most of the time.
        self.direct: sqlite3.Connection = self.engine.raw_connection().driver_connection  # type: ignore[assignment]
        self.runners: dict[str, Runner] = {}
        #: Workers whose runner is gone, and which do not know that their packs are.
        self.zombies: list[Worker] = []
        #: Runners that everyone thinks dead, or that another has replaced, and which go on.
        self.ghosts: list[Runner] = []
        #: The model: who holds which pack, and what may not change any more.
        self.holders: dict[int, Worker] = {}
        self.expected: dict[str, int] = {}
        self.final: dict[int, str] = {}
        #: Lines whose pack was given back on their behalf, as their process had died.
        self.over: set[str] = set()
        #: Numbers of the lines.
        self.lines = count()
        self._serial = count()

    @contextmanager
    def deterministic(self) -> Iterator[None]:
        """Sweeps are named in their order, not by chance."""
        with patch.object(submission, "new_id", lambda: f"sweep-{next(self._serial):04}"):
            yield

    def close(self) -> None:
        """Drop the record."""
        self.direct.close()
        self.engine.dispose()

    def write(self, act: Callable[[Connection], Any]) -> Any:
        """One transaction."""
        with writing(self.engine) as conn:
            return act(conn)

    def rows(self, sql: str) -> list[Any]:
        """What the record says."""
        return self.direct.execute(sql).fetchall()

    def sorted_runners(self) -> list[Runner]:
        """The runners that live, in the order of their sweeps."""
        return sorted(self.runners.values(), key=lambda each: each.sweep_id)

    def has_room(self) -> bool:
        """Whether the cluster has room for one more trial."""
        return sum(len(each.workers) for each in self.runners.values()) < SLOTS

    def holds(self, worker: Worker) -> bool:
        """Whether the record says that this worker holds its pack."""
        (found,) = self.rows(
            f"SELECT state = 'leased' AND fence = {worker.pack.fence} FROM packs "
            f"WHERE id = {worker.pack.pack_id}"
        )
        return bool(found[0])

    def charged(self, pack_id: int) -> tuple[int, int]:
        """How many faults of its training, and of others, a pack was charged with."""
        ((own, others),) = self.rows(
            f"SELECT user_attempts, infra_attempts FROM packs WHERE id = {pack_id}"
        )
        return own, others

    def taken_back(self, pack_id: int, before: tuple[int, int], *, fault: bool) -> None:
        """A pack that waits again after somebody else's fault: counted as that, and rested."""
        ((state, rest),) = self.rows(f"SELECT state, not_before FROM packs WHERE id = {pack_id}")
        if state != "pending":
            return
        assert self.charged(pack_id) == (before[0], before[1] + fault), "charged to the wrong one"
        rested = rest is not None and rest > self.clock.text()
        assert rested == fault, "a pack rests after a fault, and only then"

    def unended(self) -> list[Any]:
        """Sweeps that have not ended."""
        return self.rows(
            "SELECT id, state, desired FROM sweeps "
            "WHERE state NOT IN ('finished', 'cancelled', 'failed')"
        )
