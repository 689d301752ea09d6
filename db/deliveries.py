"""Ends of sweeps that are to be told to an address, and what became of it.

An end without a row has not been told; a row says how often it was tried. Each is told at least
once: who hears it twice knows it by its sweep and revision.
"""

from sqlalchemy import Connection, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from db.clock import in_seconds, now
from db.models import deliveries, events
from db.paging import Row, rows_of
from db.states import EventKind

ENDS = (EventKind.FINISHED, EventKind.CANCELLED, EventKind.FAILED)
#: Attempts after which an end is not told any more: two days and a half, with the pauses below.
MOST_ATTEMPTS = 24
LONGEST_PAUSE_SECONDS = 3 * 3600.0
#: Ends older than this are no news: who names an address is not told the whole record.
NEWS_SECONDS = 24 * 3600.0


def due_deliveries(conn: Connection, *, limit: int = 20) -> list[Row]:
    """Ends to be told now, the oldest first: `sweep_id, revision, kind, created_at, attempts`."""
    e, d = events.c, deliveries.c
    told = and_(d.sweep_id == e.sweep_id, d.revision == e.revision)
    is_new = and_(d.sweep_id.is_(None), e.created_at >= in_seconds(-NEWS_SECONDS))
    again = and_(d.delivered_at.is_(None), d.attempts < MOST_ATTEMPTS, d.not_before <= now())
    return rows_of(
        conn.execute(
            select(e.sweep_id, e.revision, e.kind, e.created_at, d.attempts)
            .outerjoin(deliveries, told)
            .where(e.kind.in_(ENDS), or_(is_new, again))
            .order_by(e.created_at, e.sweep_id)
            .limit(limit)
        )
    )


def note_delivery(conn: Connection, end: Row, error: str | None) -> None:
    """Note an attempt: delivered, or (with an error) to be tried again after a growing pause."""
    attempts = (end["attempts"] or 0) + 1
    pause = min(LONGEST_PAUSE_SECONDS, 2.0**attempts)
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    values = {
        "attempts": attempts,
        "error": error,
        "not_before": None if error is None else in_seconds(pause),
        "delivered_at": now() if error is None else None,
    }
    statement = dialect.insert(deliveries).values(
        sweep_id=end["sweep_id"], revision=end["revision"], **values
    )
    conn.execute(
        statement.on_conflict_do_update(index_elements=["sweep_id", "revision"], set_=values)
    )
