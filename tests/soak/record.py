"""What the soak reads from the record: how much is done, and every number that was measured."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from db import invariants
from db.clock import now
from db.engine import reading
from db.models import configurations, events, packs, seed_runs, sweeps
from db.states import OPEN_SWEEPS, TRAINING, UNENDED_SWEEPS, Desired, PackState, SeedState
from tests.sweeps.tiny import MEASURED

T = TypeVar("T")
#: One seed run by what decides its numbers: its configuration's digest and its seed.
Key = tuple[str, int]
#: Everything one seed run measured: rows by table, without ids, fences and times.
Measured = dict[str, list[tuple[Any, ...]]]


def ask(engine: Engine, question: Callable[[Connection], T]) -> T | None:
    """The answer of the record; None while it is away."""
    try:
        with reading(engine) as conn:
            return question(conn)
    except DBAPIError:
        return None


def waiting_seeds(conn: Connection) -> int:
    """Seed runs that wait in sweeps which may train now."""
    s = seed_runs.c
    return conn.execute(
        select(func.count())
        .select_from(seed_runs.join(sweeps, sweeps.c.id == s.sweep_id))
        .where(
            s.state == SeedState.PENDING,
            sweeps.c.state.in_(OPEN_SWEEPS),
            sweeps.c.desired.in_(TRAINING),
        )
    ).scalar_one()


def clock(conn: Connection) -> Any:
    """The record's time."""
    return conn.execute(select(now())).scalar_one()


def results_between(conn: Connection, begin: Any, end: Any) -> int:
    """Seed runs that ended with a result in an interval."""
    s = seed_runs.c
    return conn.execute(
        select(func.count()).where(
            s.state.in_((SeedState.FINISHED, SeedState.DIVERGED)),
            s.finished_at >= begin,
            s.finished_at < end,
        )
    ).scalar_one()


def by_state(conn: Connection) -> dict[str, int]:
    """Sweeps by state."""
    query = select(sweeps.c.state, func.count()).group_by(sweeps.c.state)
    return {row[0]: row[1] for row in conn.execute(query)}


def unended(conn: Connection) -> list[str]:
    """Sweeps that go on, the oldest first."""
    query = select(sweeps.c.id).where(sweeps.c.state.in_(UNENDED_SWEEPS)).order_by(sweeps.c.id)
    return list(conn.execute(query).scalars())


def paused(conn: Connection) -> list[str]:
    """Sweeps that are to pause, or have."""
    query = select(sweeps.c.id).where(
        sweeps.c.state.in_(UNENDED_SWEEPS), sweeps.c.desired == Desired.PAUSE
    )
    return list(conn.execute(query.order_by(sweeps.c.id)).scalars())


def ended(conn: Connection, *states: str) -> list[str]:
    """Sweeps of these states, the oldest first."""
    query = select(sweeps.c.id).where(sweeps.c.state.in_(states)).order_by(sweeps.c.id)
    return list(conn.execute(query).scalars())


def seeds_of(conn: Connection, sweep_id: str) -> list[Key]:
    """The seed runs of a sweep."""
    s, c = seed_runs.c, configurations.c
    query = select(c.digest, s.seed).join(configurations, c.id == s.configuration_id)
    return [(row.digest, row.seed) for row in conn.execute(query.where(s.sweep_id == sweep_id))]


def measured(conn: Connection, sweep_id: str) -> dict[Key, Measured]:
    """Every number of a sweep's seed runs that have a result."""
    s, c = seed_runs.c, configurations.c
    ended_runs = (
        select(c.digest, s.seed, s.id, s.state, s.steps, s.reason)
        .join(configurations, c.id == s.configuration_id)
        .where(s.sweep_id == sweep_id, s.state.in_((SeedState.FINISHED, SeedState.DIVERGED)))
    )
    key_of: dict[int, Key] = {}
    found: dict[Key, Measured] = {}
    for row in conn.execute(ended_runs):
        key = key_of[row.id] = (row.digest, row.seed)
        found[key] = defaultdict(list, end=[(row.state, row.steps, row.reason)])
    for table in MEASURED:
        columns = [column for column in table.c if column.name not in ("seed_run_id", "fence")]
        rows = conn.execute(
            select(table.c.seed_run_id, *columns)
            .join(seed_runs, s.id == table.c.seed_run_id)
            .where(s.sweep_id == sweep_id)
        )
        for seed_run, *values in rows:
            if seed_run in key_of:
                found[key_of[seed_run]][table.name].append(tuple(values))
    for rows_by_table in found.values():
        for rows in rows_by_table.values():
            rows.sort(key=repr)
    return found


def attempts(conn: Connection) -> tuple[int, int]:
    """Seed runs with a result, and how often such were begun."""
    s = seed_runs.c
    query = select(func.count(), func.coalesce(func.sum(s.attempts), 0))
    row = conn.execute(query.where(s.state.in_((SeedState.FINISHED, SeedState.DIVERGED)))).one()
    return row[0], int(row[1])


def broken(conn: Connection) -> list[str]:
    """What cannot be at any moment, and is: broken invariants, limits passed, events missing."""
    found = [f"{each.invariant}: {each.ids}" for each in invariants.broken(conn)]
    return [*found, *_too_many_trials(conn), *_gaps(conn)]


def _too_many_trials(conn: Connection) -> Iterable[str]:
    leased = func.count(packs.c.id)
    query = (
        select(sweeps.c.id, leased, sweeps.c.max_concurrent_trials)
        .join(packs, packs.c.sweep_id == sweeps.c.id)
        .where(packs.c.state == PackState.LEASED)
        .group_by(sweeps.c.id)
        .having(leased > sweeps.c.max_concurrent_trials)
    )
    for row in conn.execute(query):
        yield f"sweep {row[0]} has {row[1]} trials at once, it may have {row[2]}"


def _gaps(conn: Connection) -> Iterable[str]:
    query = (
        select(sweeps.c.id)
        .outerjoin(events, events.c.sweep_id == sweeps.c.id)
        .group_by(sweeps.c.id)
        .having(func.count(events.c.sweep_id) != sweeps.c.revision)
    )
    for row in conn.execute(query):
        yield f"the events of sweep {row[0]} have a gap"
