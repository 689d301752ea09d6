"""What must hold of any record at any moment: combinations of states that cannot be.

Each invariant is a query for what breaks it. Transactions keep them; a finding is a fault of the
program, or of somebody who wrote to the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, or_, select

from db.clock import in_seconds, now
from db.models import checkpoints, configurations, packs, seed_runs, sweeps
from db.paging import Row, rows_of
from db.states import (
    ENDED_SWEEPS,
    OPEN_PACKS,
    OPEN_SEEDS,
    OPEN_SWEEPS,
    PackState,
    SeedState,
)

#: Rows named a broken invariant.
SHOWN = 5
_ENDED_PACKS = (PackState.DONE, PackState.FAILED, PackState.CANCELLED, PackState.SPLIT)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """An invariant that does not hold."""

    #: What should be, as a sentence.
    invariant: str
    #: How many rows break it, and the ids of the first of them.
    number: int
    ids: Sequence[Any]


def broken(conn: Connection) -> list[Broken]:
    """The invariants that do not hold."""
    found = []
    for invariant, query in _INVARIANTS.items():
        rows = query.subquery()
        number = conn.execute(select(func.count()).select_from(rows)).scalar_one()
        if number:
            ids = conn.execute(query.order_by(rows.c[0].name).limit(SHOWN)).scalars().all()
            found.append(Broken(invariant=invariant, number=number, ids=ids))
    return found


def _seeds(*conditions: Any) -> Select[Any]:
    """The ids of seed runs with their pack at hand."""
    s, p = seed_runs.c, packs.c
    return select(s.id.label("id")).join(packs, p.id == s.pack_id).where(*conditions)


_s, _p, _k = seed_runs.c, packs.c, checkpoints.c
_open_seed = _s.state.in_(OPEN_SEEDS)
_INVARIANTS: dict[str, Select[Any]] = {
    "a sweep that has ended has no seed run that trains or waits": (
        select(sweeps.c.id.label("id")).where(
            sweeps.c.state.in_(ENDED_SWEEPS),
            exists().where(_s.sweep_id == sweeps.c.id, _open_seed),
        )
    ),
    "a sweep that has ended has no pack that is held or waits": (
        select(sweeps.c.id.label("id")).where(
            sweeps.c.state.in_(ENDED_SWEEPS),
            exists().where(_p.sweep_id == sweeps.c.id, _p.state.in_(OPEN_PACKS)),
        )
    ),
    "a seed run that trains is of a pack somebody holds": _seeds(
        _s.state == SeedState.RUNNING, _p.state != PackState.LEASED
    ),
    "a pack that has ended has no seed run that trains or waits": _seeds(
        _open_seed, _p.state.in_(_ENDED_PACKS)
    ),
    "a seed run and its pack are of one configuration and sweep": _seeds(
        or_(_s.configuration_id != _p.configuration_id, _s.sweep_id != _p.sweep_id)
    ),
    "a seed run's configuration is of its sweep": (
        select(_s.id.label("id"))
        .join(configurations, configurations.c.id == _s.configuration_id)
        .where(configurations.c.sweep_id != _s.sweep_id)
    ),
    "a seed run has an end exactly when it has ended": _seeds(
        or_(
            and_(_open_seed, _s.finished_at.is_not(None)),
            and_(~_open_seed, _s.finished_at.is_(None)),
        )
    ),
    "no seed run took more steps than it may": _seeds(_s.steps > _s.max_steps),
    "a checkpoint is of a step its seed run has taken": (
        select(_k.seed_run_id.label("id"))
        .join(seed_runs, _s.id == _k.seed_run_id)
        .where(_k.step > _s.steps, _s.state != SeedState.PENDING)
    ),
    "a finished seed run that was trained here has its checkpoint": (
        select(_s.id.label("id"))
        .outerjoin(checkpoints, _k.seed_run_id == _s.id)
        .where(_s.state == SeedState.FINISHED, _s.reused_from.is_(None), _k.seed_run_id.is_(None))
    ),
}


def expired_leases(conn: Connection, *, for_seconds: float) -> list[Row]:
    """Packs whose lease ran out that long ago, not taken back: `id, sweep_id, owner`."""
    p = packs.c
    silent = and_(p.state == PackState.LEASED, p.lease_until < in_seconds(-for_seconds))
    return rows_of(conn.execute(select(p.id, p.sweep_id, p.owner).where(silent).order_by(p.id)))


def waiting_sweeps(conn: Connection) -> int:
    """How many sweeps want to be trained."""
    query = select(func.count()).select_from(sweeps).where(sweeps.c.state.in_(OPEN_SWEEPS))
    return conn.execute(query).scalar_one()


def seconds_ahead(conn: Connection) -> float:
    """How far this machine's clock is ahead of the database's; the question's way is in it."""
    told = conn.execute(select(now())).scalar_one()
    return (datetime.now(UTC) - told).total_seconds()


def pointed_files(conn: Connection) -> list[Row]:
    """Every checkpoint the record points to: `seed_run_id, state, path`."""
    return rows_of(
        conn.execute(
            select(_k.seed_run_id, _s.state, _k.path)
            .join(seed_runs, _s.id == _k.seed_run_id)
            .order_by(_k.seed_run_id)
        )
    )
