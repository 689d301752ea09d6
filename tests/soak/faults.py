"""Faults at random times: what dies, stops or is wished, drawn from a seeded generator."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import psutil
from sqlalchemy import Engine

from service.client import Client
from tests.service.live import with_pid_gone
from tests.soak import record
from tests.soak.stack import ACTOR, KEEPER, RUNNER, Stack
from tests.soak.user import Wish

#: Seconds a fault waits for somebody to strike; then it counts as missed.
WAIT_SECONDS = 10.0
#: Seconds a worker is stopped: longer than its lease of 30.
STOPPED_SECONDS = (32.0, 45.0)
#: Seconds the database is away after its crash.
AWAY_SECONDS = (0.5, 4.0)
#: Sweeps that may rest at once: more would leave the others too little to train.
MOST_PAUSED = 2
Say = Callable[[str], None]


class Faults:
    """Strikes at Poisson times, at one kind of fault as often as at another.

    Args:
        seed: Of the generator.
        mean_seconds: Between two faults.
        say: Told every fault.
    """

    def __init__(
        self, stack: Stack, engine: Engine, *, seed: int, mean_seconds: float, say: Say
    ) -> None:
        self._stack = stack
        self._engine = engine
        self._random = Random(f"faults {seed}")
        self._mean = mean_seconds
        self._say = say
        self._kinds: dict[str, Callable[[], bool]] = {
            "worker killed": lambda: self._kill(ACTOR),
            "worker stopped beyond its lease": self._stop_worker,
            "runner killed": lambda: self._kill(RUNNER),
            "Ray head killed": lambda: self._kill(KEEPER),
            "scheduler killed": lambda: self._kill_process(self._stack.scheduler.process.pid),
            "API killed": lambda: self._kill_process(self._stack.api.process.pid),
            "database crashed": self._crash_database,
            "pause": self._pause,
            "resume": self._resume,
            "cancel, twice": self._cancel_twice,
            "extend": self._extend,
            "retry": self._retry,
        }
        self.fired: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.wishes: list[Wish] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._waiting: tuple[str, float] | None = None
        self._next = time.monotonic() + self._random.expovariate(1 / self._mean)

    @property
    def kinds(self) -> list[str]:
        """The names of all kinds."""
        return list(self._kinds)

    def look(self) -> None:
        """Strike if it is time, and do what earlier faults left to be done."""
        self.settle()
        now = time.monotonic()
        if self._waiting is None and now >= self._next:
            self._next += self._random.expovariate(1 / self._mean)
            self._waiting = (self._random.choice(list(self._kinds)), now + WAIT_SECONDS)
        if self._waiting is None:
            return
        kind, until = self._waiting
        if self._kinds[kind]():
            self.fired[kind] += 1
            self._waiting = None
            self._say(kind)
        elif now > until:
            self.missed[kind] += 1
            self._waiting = None

    def settle(self, *, at_once: bool = False) -> None:
        """Let stopped workers go on and the database come back, when it is time (or at once)."""
        now = time.monotonic()
        due = [act for at, act in self._later if at_once or at <= now]
        self._later = [] if at_once else [one for one in self._later if one[0] > now]
        for act in due:
            act()

    def _after(self, seconds: tuple[float, float], act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self._random.uniform(*seconds), act))

    def _kill(self, part: str) -> bool:
        found = self._stack.named(part)
        if not found:
            return False
        victim = self._random.choice(found)
        with_pid_gone(victim.kill)
        return True

    def _kill_process(self, pid: int) -> bool:
        try:
            psutil.Process(pid).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def _stop_worker(self) -> bool:
        found = self._stack.named(ACTOR)
        if not found:
            return False
        victim = self._random.choice(found)
        with_pid_gone(lambda: victim.send_signal(signal.SIGSTOP))
        self._after(STOPPED_SECONDS, lambda: with_pid_gone(victim.resume))
        return True

    def _crash_database(self) -> bool:
        if any(act == self._stack.database.start for _, act in self._later):
            return False
        self._stack.database.crash()
        self._after(AWAY_SECONDS, self._stack.database.start)
        return True

    def _wish(self, name: str, act: Callable[[Client], object]) -> bool:
        self.wishes.append(Wish(name, act))
        return True

    def _choose(self, found: list[str] | None) -> str | None:
        return self._random.choice(found) if found else None

    def _going_on(self) -> list[str] | None:
        return record.ask(self._engine, record.unended)

    def _pause(self) -> bool:
        resting = record.ask(self._engine, record.paused)
        sweep = self._choose(self._going_on())
        if resting is None or len(resting) >= MOST_PAUSED or sweep is None:
            return False
        return self._wish("pause", lambda client: client.pause(sweep))

    def _resume(self) -> bool:
        sweep = self._choose(record.ask(self._engine, record.paused))
        if sweep is None:
            return False
        return self._wish("resume", lambda client: client.resume(sweep))

    def _cancel_twice(self) -> bool:
        sweep = self._choose(self._going_on())
        if sweep is None:
            return False

        def act(client: Client) -> None:
            client.cancel(sweep)
            client.cancel(sweep)

        return self._wish("cancel", act)

    def _extend(self) -> bool:
        known = record.ask(self._engine, lambda conn: record.ended(conn, "finished"))
        sweep = self._choose([*(known or [])[-3:], *(self._going_on() or [])])
        if sweep is None:
            return False
        # Sent again after a lost answer it may add two seeds: both are the sweep's then.
        return self._wish("extend", lambda client: client.extend(sweep, 1))

    def _retry(self) -> bool:
        found = record.ask(self._engine, lambda conn: record.ended(conn, "cancelled", "failed"))
        sweep = self._choose(found)
        if sweep is None:
            return False
        return self._wish("retry", lambda client: client.retry(sweep, cancelled=True))
