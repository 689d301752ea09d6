"""A sweep's own transitions, each one function with a guard.

Everything that changes a sweep locks its row first and packs and seed runs after it, always in
that order, so that no two transactions wait for each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, exists, func, select, update

from db import events
from db.clock import now
from db.errors import SweepNotFound, WrongState
from db.models import packs, seed_runs, sweeps
from db.states import (
    OPEN_PACKS,
    OPEN_SEEDS,
    OPEN_SWEEPS,
    Desired,
    EventKind,
    PackState,
    SeedState,
    SweepState,
)


def lock_sweep(conn: Connection, sweep_id: str) -> Row[Any]:
    """The sweep's row, locked to the end of the transaction.

    Raises:
        SweepNotFound: There is none.
    """
    found = conn.execute(select(sweeps).where(sweeps.c.id == sweep_id).with_for_update()).first()
    if found is None:
        raise SweepNotFound(sweep_id)
    return found


def require_state(sweep: Row[Any], verb: str, permitted: Sequence[SweepState]) -> None:
    """Raise `WrongState` unless the (locked) sweep is in one of the states."""
    if sweep.state not in permitted:
        raise WrongState(sweep.id, sweep.state, verb, permitted)


def start_sweep(conn: Connection, sweep_id: str) -> bool:
    """queued → running: a runner has taken it up.

    Returns:
        Whether this call made the transition; False when it runs already or is not to run.
    """
    started = conn.execute(
        update(sweeps)
        .where(
            sweeps.c.id == sweep_id,
            sweeps.c.state == SweepState.QUEUED,
            sweeps.c.desired == Desired.RUN,
        )
        .values(state=SweepState.RUNNING, started_at=func.coalesce(sweeps.c.started_at, now()))
    )
    if started.rowcount == 0:
        return False
    events.append(conn, sweep_id, EventKind.STARTED)
    return True


def finish_sweep(conn: Connection, sweep_id: str) -> bool:
    """queued | running → finished, if every seed run is terminal.

    Returns:
        Whether this call made the transition.
    """
    # The lock comes first, in a statement of its own: seeds that an extension adds meanwhile are
    # seen by the next one.
    sweep = lock_sweep(conn, sweep_id)
    open_seeds = exists().where(seed_runs.c.sweep_id == sweep_id, seed_runs.c.state.in_(OPEN_SEEDS))
    if sweep.state not in OPEN_SWEEPS or conn.execute(select(open_seeds)).scalar_one():
        return False
    _end(conn, sweep_id, SweepState.FINISHED, EventKind.FINISHED)
    return True


def fail_sweep(conn: Connection, sweep_id: str, error: str) -> bool:
    """queued | running → failed: the service cannot run it; open packs and seed runs fail with it.

    Returns:
        Whether this call made the transition.
    """
    sweep = lock_sweep(conn, sweep_id)
    if sweep.state not in OPEN_SWEEPS:
        return False
    end_open_work(conn, sweep_id, PackState.FAILED, SeedState.FAILED, error)
    _end(conn, sweep_id, SweepState.FAILED, EventKind.FAILED, error=error)
    return True


def cancel(conn: Connection, sweep_id: str) -> bool:
    """queued | running → cancelled, at once, whether or not anything else is alive.

    Open packs get a new fence in the same transaction, so no worker can write a row after the
    commit. What was already terminal stays. Cancelling a cancelled sweep changes nothing.

    Returns:
        Whether this call made the transition.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: The sweep ended otherwise.
    """
    sweep = lock_sweep(conn, sweep_id)
    if sweep.state == SweepState.CANCELLED:
        return False
    require_state(sweep, "be cancelled", OPEN_SWEEPS)
    end_open_work(conn, sweep_id, PackState.CANCELLED, SeedState.CANCELLED, None)
    conn.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(desired=Desired.CANCEL))
    _end(conn, sweep_id, SweepState.CANCELLED, EventKind.CANCELLED)
    return True


def end_open_work(
    conn: Connection, sweep_id: str, pack_state: PackState, seed_state: SeedState, error: str | None
) -> None:
    """End every open pack, fencing its worker off, and every open seed run of a locked sweep."""
    conn.execute(
        update(packs)
        .where(packs.c.sweep_id == sweep_id, packs.c.state.in_(OPEN_PACKS))
        .values(
            state=pack_state,
            fence=packs.c.fence + 1,
            owner=None,
            lease_until=None,
            not_before=None,
            error=error,
        )
    )
    conn.execute(
        update(seed_runs)
        .where(seed_runs.c.sweep_id == sweep_id, seed_runs.c.state.in_(OPEN_SEEDS))
        .values(state=seed_state, finished_at=now(), error=error)
    )


def requeue(conn: Connection, sweep: Row[Any]) -> None:
    """Put a locked sweep that has ended back to queued; one that has not ended stays as it is."""
    if sweep.state in OPEN_SWEEPS:
        return
    conn.execute(
        update(sweeps)
        .where(sweeps.c.id == sweep.id)
        .values(state=SweepState.QUEUED, desired=Desired.RUN, finished_at=None, error=None)
    )


def _end(
    conn: Connection, sweep_id: str, state: SweepState, kind: EventKind, error: str | None = None
) -> None:
    conn.execute(
        update(sweeps)
        .where(sweeps.c.id == sweep_id)
        .values(state=state, finished_at=now(), error=error)
    )
    body: Mapping[str, Any] = {"error": error} if error else {}
    events.append(conn, sweep_id, kind, body)
