"""What happened to a sweep, numbered without gaps in the order of commit."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from db.clock import now
from db.errors import SweepNotFound
from db.models import events, sweeps
from db.paging import Row, rows_of
from db.states import EventKind


def append(
    conn: Connection, sweep_id: str, kind: EventKind, body: Mapping[str, Any] | None = None
) -> int:
    """Write an event; its revision is taken under the sweep's row, in the caller's transaction.

    Whoever reads revision r may therefore be sure that all before it are there too.

    Returns:
        The event's revision: 1, 2, 3, … within the sweep.
    """
    taken = (
        update(sweeps)
        .where(sweeps.c.id == sweep_id)
        .values(revision=sweeps.c.revision + 1)
        .returning(sweeps.c.revision)
    )
    revision = conn.execute(taken).scalar_one_or_none()
    if revision is None:
        raise SweepNotFound(sweep_id)
    row = {"sweep_id": sweep_id, "revision": revision, "kind": kind, "body": dict(body or {})}
    conn.execute(insert(events).values(**row, created_at=now()))
    return revision


def events_since(conn: Connection, sweep_id: str, after: int = 0, limit: int = 500) -> list[Row]:
    """The events with a revision greater than `after`, oldest first."""
    found = (
        select(events)
        .where(events.c.sweep_id == sweep_id, events.c.revision > after)
        .order_by(events.c.revision)
        .limit(limit)
    )
    return rows_of(conn.execute(found))
