"""The record's time, moved by hand, and an empty record that takes its time from it."""

import sqlite3
from datetime import datetime, timedelta

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from db import guards, models
from db.engine import _begin_sqlite, writing

EPOCH = datetime(2026, 1, 1)


class Clock:
    """The record's time, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def strftime(self, form: str, moment: str, change: str = "0 seconds") -> str:
        """SQLite's function of the name, as far as `db.clock` calls it."""
        assert moment == "now"
        return self.text(float(change.split()[0]))

    def text(self, later: float = 0.0) -> str:
        """A time so many seconds from now, as the record writes it."""
        then = EPOCH + timedelta(seconds=self.seconds + later)
        return then.isoformat(sep=" ", timespec="milliseconds")


def memory_record(clock: Clock) -> Engine:
    """An empty record in this process's memory that takes its time from the clock."""
    engine = create_engine("sqlite://", poolclass=StaticPool)

    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("strftime", -1, clock.strftime)

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", _begin_sqlite)
    with writing(engine) as conn:
        models.metadata.create_all(conn)
        guards.create_guards(conn)
    return engine
