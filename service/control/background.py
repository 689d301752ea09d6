"""A job that the scheduler has done now and then, in a thread: no look waits for disk or net."""

import threading
import time
from collections.abc import Callable

import structlog


class Background:
    """One job, never twice at once; what it raises is said in the log, and it is tried again.

    Args:
        job: What is done.
        name: Of the thread, and in the log.
        seconds: Between two beginnings.
        at_once: Whether the first look begins it; else it comes `seconds` after this was made.
    """

    def __init__(
        self, job: Callable[[], object], *, name: str, seconds: float, at_once: bool
    ) -> None:
        self._job = job
        self._name = name
        self._seconds = seconds
        self._last = float("-inf") if at_once else time.monotonic()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin if it is time and the last one is over."""
        running = self._thread is not None and self._thread.is_alive()
        if running or time.monotonic() - self._last < self._seconds:
            return
        self._last = time.monotonic()
        # A daemon: it may be left at any point.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._job()
        except Exception as error:
            structlog.get_logger().warning(f"{self._name} failed", error=repr(error))
