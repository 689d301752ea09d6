"""The runner processes of one scheduler: started, watched, ended, and held back when they fail."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from service.control.local_ray import ray_environment
from service.control.processes import spawn
from service.settings import Settings

#: Seconds after which a runner that should end by itself is told to, and killed after being told.
PATIENCE_SECONDS = 15.0
GRACE_SECONDS = 20.0
#: Longest pause before a runner that keeps failing is started again, and after how many failures
#: in a row its sweep is given up. A runner that lived long enough, or under which the sweep got on
#: for good, starts the count anew.
LONGEST_PAUSE_SECONDS = 60.0
MOST_FAILURES = 10
LONG_LIFE_SECONDS = 60.0
#: Seconds a runner may take to register itself.
REGISTER_SECONDS = 60.0
#: Characters of a log that explain a failure.
TAIL = 4000


@dataclass(kw_only=True)
class Child:
    """One runner process."""

    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    #: When it was first asked to end.
    asked: float | None = None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started


@dataclass(kw_only=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    #: How far the sweep was at the last one.
    progress: float = 0.0


class Children:
    """Runner processes by sweep."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_sweep: dict[str, Child] = {}
        self._failures: dict[str, _Failures] = {}

    def get(self, sweep_id: str) -> Child | None:
        """The sweep's runner, if this scheduler started it and it lives."""
        return self._by_sweep.get(sweep_id)

    def log_path(self, sweep_id: str) -> Path:
        """The file a sweep's runners write to."""
        return self._settings.logs / f"{sweep_id}.log"

    def start(self, sweep_id: str, *, address: str | None, parent: int | None) -> None:
        """Start a sweep's runner; with a parent it lives no longer than that process."""
        arguments = ["--sweep", sweep_id]
        if address is not None:
            arguments += ["--address", address]
        if parent is not None:
            arguments += ["--parent", str(parent)]
        environment = {**self._settings.environment(), **ray_environment(self._settings)}
        process = spawn(
            "service.control.runner",
            arguments,
            environment=environment,
            log=self.log_path(sweep_id),
        )
        self._by_sweep[sweep_id] = Child(process=process)

    def stop(self, sweep_id: str, *, at_once: bool) -> None:
        """Bring a runner's end nearer; call again until it has ended."""
        child = self._by_sweep[sweep_id]
        now = time.monotonic()
        if child.asked is None:
            child.asked = now
        wait = 0.0 if at_once else PATIENCE_SECONDS
        if now - child.asked >= wait + GRACE_SECONDS:
            child.process.kill()
        elif now - child.asked >= wait:
            child.process.terminate()

    def kill_all(self) -> None:
        """Kill every runner, as when the cluster under them has died; they are started again."""
        for child in self._by_sweep.values():
            child.asked = child.asked or time.monotonic()
            child.process.kill()

    def reap(self, progress: Callable[[str], float] = lambda sweep_id: 0.0) -> Iterator[str]:
        """Forget runners that have ended; the sweeps whose runners keep failing.

        Args:
            progress: How far a sweep is; asked when its runner has failed. A runner that is killed
                after its sweep got on is no sign that the sweep cannot be trained.
        """
        for sweep_id, child in list(self._by_sweep.items()):
            status = child.process.poll()
            if status is None:
                continue
            del self._by_sweep[sweep_id]
            if status == 0 or child.asked is not None:
                self._failures.pop(sweep_id, None)
            elif self._count_failure(sweep_id, child, status, progress) >= MOST_FAILURES:
                self._failures.pop(sweep_id)
                yield sweep_id

    def held(self, sweep_id: str) -> bool:
        """Whether the sweep's next runner has to wait."""
        failures = self._failures.get(sweep_id)
        return failures is not None and time.monotonic() < failures.until

    def tail(self, sweep_id: str) -> str:
        """The end of a sweep's log."""
        try:
            return self.log_path(sweep_id).read_text(errors="replace")[-TAIL:]
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """End every runner and wait for it."""
        for child in self._by_sweep.values():
            child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self._by_sweep.values():
            try:
                child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        self._by_sweep.clear()

    def _count_failure(
        self, sweep_id: str, child: Child, status: int, progress: Callable[[str], float]
    ) -> int:
        failures = self._failures.setdefault(sweep_id, _Failures())
        reached = progress(sweep_id)
        got_on = child.age > LONG_LIFE_SECONDS or reached > failures.progress
        failures.count = 1 if got_on else failures.count + 1
        failures.progress = reached
        # 0, 1, 3, 7, …: the first failure is most often a killed process, not a broken sweep.
        pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** (failures.count - 1) - 1)
        failures.until = time.monotonic() + pause
        structlog.get_logger().error(
            "runner died", sweep=sweep_id, status=status, failures=failures.count
        )
        return failures.count
