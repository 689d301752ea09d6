"""The scheduler's garbage collection: now and then, in a thread: no look waits for a disk."""

import threading
import time
from pathlib import Path

import structlog
from sqlalchemy import Engine

from service.collection import collect

#: Seconds between two collections; the first comes that long after the scheduler's start.
COLLECT_SECONDS = 600.0


class Collector:
    """Collects checkpoints of one folder while its scheduler leads.

    Args:
        engine: The record.
        checkpoints: Folder of checkpoints.
        seconds: Between two collections.
    """

    def __init__(
        self, engine: Engine, checkpoints: Path, *, seconds: float = COLLECT_SECONDS
    ) -> None:
        self._engine = engine
        self._checkpoints = checkpoints
        self._seconds = seconds
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Start a collection if one is due and none runs."""
        running = self._thread is not None and self._thread.is_alive()
        if running or time.monotonic() - self._last < self._seconds:
            return
        self._last = time.monotonic()
        # A daemon: a collection may be left at any file.
        self._thread = threading.Thread(target=self._collect, name="collector", daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        try:
            collect(self._engine, self._checkpoints)
        except Exception as error:
            structlog.get_logger().warning("checkpoints not collected", error=repr(error))
