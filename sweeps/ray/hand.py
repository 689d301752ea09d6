"""The trials of one runner, and the packs among them that wait for an actor."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from sweeps.recorder import Fenced, PackQueue, PackWork

#: Seconds between renewals of a pack that waits for its actor; a lease lasts 30.
RENEW_SECONDS = 5.0

ConnectQueue = Callable[[], PackQueue]


class Hand:
    """The trials this runner has begun. Shared by searcher, callback and renewing thread.

    Tune copies and pickles what it is given, so the connection is made on first use and copies
    stay the same object.
    """

    def __init__(self, connect_queue: ConnectQueue) -> None:
        self._connect_queue = connect_queue
        self._queue: PackQueue | None = None
        self._lock = threading.Lock()
        #: Trial -> the pack it began with.
        self._live: dict[str, PackWork] = {}
        self._waiting: dict[int, PackWork] = {}
        #: Whether the queue had nothing to lease since a trial began or ended.
        self.idle = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Hand, (self._connect_queue,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hand":
        return self

    @property
    def queue(self) -> PackQueue:
        """The queue, as this process sees it."""
        if self._queue is None:
            self._queue = self._connect_queue()
        return self._queue

    def __len__(self) -> int:
        return len(self._live)

    def take(self, trial_id: str, work: PackWork) -> None:
        """Hold a pack that was claimed for a trial."""
        with self._lock:
            self.idle = False
            self._live[trial_id] = work
            self._waiting[work.pack_id] = work

    def started(self, pack_id: int) -> None:
        """The trial's actor renews the lease from here on."""
        with self._lock:
            self._waiting.pop(pack_id, None)

    def ended(self, trial_id: str) -> None:
        """The trial's slot is free."""
        with self._lock:
            self.idle = False
            work = self._live.pop(trial_id, None)
            if work is not None:
                self._waiting.pop(work.pack_id, None)

    def release(self, work: PackWork, error: str | None) -> None:
        """Give back what the trial that began with a pack holds now, if it holds any."""
        try:
            self.queue.release_held(work.holder, error)
        except Exception as fault:
            warn("pack not released", fault, holder=work.holder)

    def release_all(self) -> None:
        """Give back what this runner leaves unfinished, when all its actors have ended."""
        for work in list(self._live.values()):
            self.release(work, None)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Keep the leases of packs that wait for an actor, in a thread."""
        closed = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(closed,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            closed.set()
            thread.join()

    def _renew_until(self, closed: threading.Event) -> None:
        while not closed.wait(RENEW_SECONDS):
            with self._lock:
                waiting = list(self._waiting.values())
            for work in waiting:
                self._renew(work)

    def _renew(self, work: PackWork) -> None:
        try:
            self.queue.renew(work.pack_id, work.fence)
        except Fenced:
            self.started(work.pack_id)
        except Exception as error:
            warn("lease of a waiting pack not renewed", error, pack=work.pack_id)


def warn(event: str, error: Exception, **facts: Any) -> None:
    """Log a fault of the record that the runner survives."""
    structlog.get_logger().warning(event, error=repr(error), **facts)
