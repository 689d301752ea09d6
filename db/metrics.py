"""The record in a few numbers, for monitoring: seven queries for counts, never for rows."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Connection, Double, Table, and_, case, cast, func, or_, select

from db.clock import now
from db.models import events, packs, seed_runs, sweeps
from db.runners import lease_is_held
from db.states import (
    OPEN_SWEEPS,
    Desired,
    EventKind,
    PackState,
    SeedState,
    SweepState,
)

#: Events after which packs wait that did not wait before.
_QUEUEING = (EventKind.SUBMITTED, EventKind.RETRIED, EventKind.EXTENDED)


@dataclass(frozen=True, kw_only=True)
class RecordMetrics:
    """What the record says at one moment."""

    #: By state, every state named.
    sweeps: dict[str, int]
    packs: dict[str, int]
    seed_runs: dict[str, int]
    #: Steps that all seed runs together have trained.
    seed_steps: int
    #: The rates of the seed runs that train now, added up.
    seed_steps_per_second: float
    #: How long the pack has waited that has waited longest; 0 when none waits.
    queue_age_seconds: float
    #: How long ago the worker wrote that has not written for longest; 0 when none trains.
    writer_lag_seconds: float
    #: Packs held under a lease that has run out.
    leases_expired: int
    #: Whether somebody holds the lease asked for.
    leads: bool


def record_metrics(conn: Connection, *, leadership: str) -> RecordMetrics:
    """The record in numbers.

    Args:
        conn: A connection.
        leadership: Name of the scheduler's lease.
    """
    return RecordMetrics(
        sweeps=_by_state(conn, sweeps, sweeps.c.state, SweepState),
        seed_runs=_by_state(conn, seed_runs, seed_runs.c.state, SeedState),
        **_steps(conn),
        **_packs(conn),
        leads=lease_is_held(conn, leadership),
    )


def _by_state(
    conn: Connection, table: Table, state: Column[Any], states: type[StrEnum]
) -> dict[str, int]:
    query = select(state, func.count()).select_from(table).group_by(state)
    found = {row[0]: row[1] for row in conn.execute(query)}
    return {each.value: found.get(each.value, 0) for each in states}


def _steps(conn: Connection) -> dict[str, Any]:
    s = seed_runs.c
    moving = and_(s.state == SeedState.RUNNING, s.wall_seconds > s.attempt_wall_seconds)
    rate = cast(s.steps - s.attempt_step, Double) / (s.wall_seconds - s.attempt_wall_seconds)
    row = conn.execute(
        select(
            func.coalesce(func.sum(s.steps), 0).label("steps"),
            func.coalesce(func.sum(case((moving, rate))), 0.0).label("rate"),
        )
    ).one()
    return {"seed_steps": int(row.steps), "seed_steps_per_second": float(row.rate)}


def _packs(conn: Connection) -> dict[str, Any]:
    p = packs.c
    held = p.state == PackState.LEASED
    lag = conn.execute(
        select(
            now().label("now"),
            func.min(p.progress_at).label("silent_since"),
            func.count(case((p.lease_until < now(), 1))).label("expired"),
        ).where(held)
    ).one()
    # A pack given back waits since its back-off ended or since it was last trained.
    queued = (
        select(func.max(events.c.created_at))
        .where(events.c.sweep_id == p.sweep_id, events.c.kind.in_(_QUEUEING))
        .scalar_subquery()
    )
    queue = conn.execute(
        select(
            now().label("now"),
            func.min(func.coalesce(p.not_before, p.progress_at, queued)).label("since"),
        )
        .select_from(packs)
        .join(sweeps, sweeps.c.id == p.sweep_id)
        .where(
            p.state == PackState.PENDING,
            or_(p.not_before.is_(None), p.not_before <= now()),
            sweeps.c.state.in_(OPEN_SWEEPS),
            sweeps.c.desired == Desired.RUN,
        )
    ).one()
    return {
        "packs": _by_state(conn, packs, p.state, PackState),
        "queue_age_seconds": _seconds(queue.since, queue.now),
        "writer_lag_seconds": _seconds(lag.silent_since, lag.now),
        "leases_expired": lag.expired,
    }


def _seconds(since: datetime | None, until: datetime) -> float:
    return 0.0 if since is None else max(0.0, (until - since).total_seconds())
