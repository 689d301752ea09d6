"""The lease of a trial's pack, kept alive while the trial computes."""

import faulthandler
import os
import threading
from collections.abc import Callable
from functools import cache
from types import TracebackType

import structlog

from sweeps.recorder import Fenced, Recorder

#: Seconds between two signs of life while no row is written; a lease lasts 30.
RENEW_SECONDS = 5.0
#: Seconds after the loss of its lease in which a trial must notice, or it counts as hung.
NOTICE_SECONDS = 15.0
#: Seconds without a moment for any thread after which a process counts as frozen. Far beyond its
#: lease: the first use of a GPU may hold the interpreter for long, and is quick the next time.
FROZEN_SECONDS = 90.0


def leave_process() -> None:
    """End a process whose training hangs, and say where; nothing else would free its place."""
    faulthandler.dump_traceback()
    os._exit(1)


class FreezeWatch(threading.Thread):
    """Ends the process, with its trace, once no thread of it has run for `FROZEN_SECONDS`.

    That is a training which holds the interpreter for ever, or a process that was stopped and
    comes back. The clock is the C library's, so it needs no thread of Python to run out.
    """

    def __init__(self) -> None:
        super().__init__(name="freeze-watch", daemon=True)
        self._closed = threading.Event()

    def run(self) -> None:
        """Wind the clock up until closed."""
        while True:
            faulthandler.dump_traceback_later(FROZEN_SECONDS, exit=True)
            if self._closed.wait(RENEW_SECONDS):
                faulthandler.cancel_dump_traceback_later()
                return

    def close(self) -> None:
        """Stop the clock."""
        self._closed.set()
        self.join()


@cache
def watch_process() -> FreezeWatch:
    """The one watch of a process that may be ended, from the first call to the process's end."""
    watch = FreezeWatch()
    watch.start()
    return watch


def stay() -> None:
    """Leave a hung training alone: the process has other things to do."""


class LeaseKeeper(threading.Thread):
    """Renews the lease in a thread; `check` notices a lost lease, `leaving` a wish to pause.

    Args:
        recorder: The trial's.
        on_hang: Called in the thread when the trial did not notice that its lease is lost. Unless
            it stays, the process is one that may be ended, also when it freezes.
        told_to_leave: Whether this machine is about to be taken away.
    """

    def __init__(
        self,
        recorder: Recorder,
        on_hang: Callable[[], None] = stay,
        told_to_leave: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._recorder = recorder
        self._on_hang = on_hang
        self._closed = threading.Event()
        self._lost = threading.Event()
        self._told_to_leave = told_to_leave
        self._pausing = False

    def __enter__(self) -> "LeaseKeeper":
        self.start()
        if self._on_hang is not stay:
            watch_process()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self.join()

    @property
    def leaving(self) -> bool:
        """Whether the worker is to give the pack back at its next checkpoint."""
        return self._pausing or self._told_to_leave()

    def check(self) -> None:
        """Raise `Fenced` when a renewal found the pack taken."""
        if self._lost.is_set():
            raise Fenced("the pack was taken from this worker")

    def run(self) -> None:
        """Renew until closed; a record that is away is tried again, the flushes judge it."""
        while not self._closed.wait(RENEW_SECONDS):
            try:
                self._pausing = not self._recorder.renew()
            except Fenced:
                self._lost.set()
                if not self._closed.wait(NOTICE_SECONDS):
                    self._on_hang()
                return
            except Exception as error:
                structlog.get_logger().warning("lease not renewed", error=repr(error))
