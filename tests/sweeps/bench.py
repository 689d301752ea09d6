"""A trial on a bench: a record and checkpoints in a folder, and workers that die at any write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngpu_core.config import RunConfig
from service.control.recording import SqlQueue
from sweeps.recorder import PackWork
from sweeps.trial import TrialEnd, run_trial
from tests.sweeps.tiny import open_record, queue_of, recorders, submit_sweep


class Killed(BaseException):
    """The worker's process ends here."""


class KilledAtCall:
    """A recorder whose process dies at its n-th call, just before or just after the commit."""

    def __init__(self, recorder: Any, call: int, committed: bool, act: Callable[[], Any]) -> None:
        self._recorder = recorder
        self._left = call
        self._committed = committed
        self._act = act

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._recorder, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= name != "renew"
            if self._left == 0 and not self._committed:
                self._act()
            result = method(*args, **kwargs)
            if self._left == 0 and self._committed:
                self._act()
            return result

        return call


def die() -> None:
    raise Killed


class Bench:
    """A record, a folder of checkpoints, and one sweep of a configuration."""

    def __init__(self, folder: Path, run: RunConfig, packs: list[list[int]], **extra: Any) -> None:
        self.url, self.engine = open_record(folder)
        self.checkpoints = folder / "checkpoints"
        self.sweep = submit_sweep(self.engine, [run], packs, **extra)

    def queue(self) -> SqlQueue:
        return queue_of(self.url, self.engine, self.sweep)

    def trial(self, work: PackWork, recorder: Any = None, flush_seconds: float = 0.0) -> TrialEnd:
        return run_trial(
            work,
            recorder or recorders(self.url)(work),
            checkpoints=self.checkpoints,
            flush_seconds=flush_seconds,
            checkpoint_seconds=0.0,
        )

    def trial_killed_at(self, call: int, committed: bool = True) -> bool:
        """Train the first claimable pack up to a call; whether that call ever came."""
        work = self.queue().claim()
        if work is None:
            return False  # earlier ones have come to an end
        try:
            self.trial(work, KilledAtCall(recorders(self.url)(work), call, committed, die))
        except Killed:
            return True
        return False

    def finish(self, flush_seconds: float = 0.0) -> None:
        queue = self.queue()
        while (work := queue.claim()) is not None:
            self.trial(work, flush_seconds=flush_seconds)

    def files(self) -> list[str]:
        root = self.checkpoints
        return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def claimed(queue: SqlQueue) -> PackWork:
    work = queue.claim()
    assert work is not None
    return work
