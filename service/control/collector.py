"""The scheduler's garbage collection: now and then, beside its looks."""

from pathlib import Path

from sqlalchemy import Engine

from service.collection import collect
from service.control.background import Background

#: Seconds between two collections; the first comes that long after the scheduler's start.
COLLECT_SECONDS = 600.0


class Collector(Background):
    """Collects checkpoints of one folder while its scheduler leads.

    Args:
        engine: The record.
        checkpoints: Folder of checkpoints.
        seconds: Between two collections.
    """

    def __init__(
        self, engine: Engine, checkpoints: Path, *, seconds: float = COLLECT_SECONDS
    ) -> None:
        super().__init__(
            lambda: collect(engine, checkpoints),
            name="garbage collection",
            seconds=seconds,
            at_once=False,
        )
