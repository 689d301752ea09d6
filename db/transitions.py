"""A sweep's own transitions, each one function with a guard.

Everything that changes a sweep locks its row first and packs and seed runs after it, always in
that order, so that no two transactions wait for each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, exists, func, or_, select, update

from db import events
from db.clock import now
from db.errors import SweepNotFound, WrongState
from db.models import packs, seed_runs, sweeps
from db.states import (
    OPEN_PACKS,
    OPEN_SEEDS,
    OPEN_SWEEPS,
    TRAINING,
    UNENDED_SWEEPS,
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
            sweeps.c.desired.in_(TRAINING),
        )
        .values(state=SweepState.RUNNING, started_at=func.coalesce(sweeps.c.started_at, now()))
    )
    if started.rowcount == 0:
        return False
    events.append(conn, sweep_id, EventKind.STARTED)
    return True


def finish_sweep(conn: Connection, sweep_id: str) -> bool:
    """queued | running | paused → finished, if every seed run is terminal and every pack has ended.

    A pack whose last seed has ended stays open until its worker says so, or until the next claim
    finds nothing left of it to train.

    Returns:
        Whether this call made the transition.
    """
    # The lock comes first, in a statement of its own: seeds that an extension adds meanwhile are
    # seen by the next one.
    sweep = lock_sweep(conn, sweep_id)
    open_seeds = exists().where(seed_runs.c.sweep_id == sweep_id, seed_runs.c.state.in_(OPEN_SEEDS))
    open_packs = exists().where(packs.c.sweep_id == sweep_id, packs.c.state.in_(OPEN_PACKS))
    if sweep.state not in UNENDED_SWEEPS:
        return False
    if conn.execute(select(or_(open_seeds, open_packs))).scalar_one():
        return False
    _end(conn, sweep_id, SweepState.FINISHED, EventKind.FINISHED)
    return True


def fail_sweep(
    conn: Connection,
    sweep_id: str,
    error: str,
    *,
    rest: SeedState = SeedState.FAILED,
) -> bool:
    """queued | running | paused → failed: the service gives it up.

    Args:
        conn: A write transaction.
        sweep_id: The sweep.
        error: Why, for its user to read.
        rest: What becomes of its open packs and seed runs: `failed` for that reason, or `cancelled`
            when the reason is others'.

    Returns:
        Whether this call made the transition.
    """
    sweep = lock_sweep(conn, sweep_id)
    if sweep.state not in UNENDED_SWEEPS:
        return False
    end_open_work(conn, sweep_id, PackState(rest), rest, error)
    _end(conn, sweep_id, SweepState.FAILED, EventKind.FAILED, error=error)
    return True


def cancel(conn: Connection, sweep_id: str) -> bool:
    """queued | running | paused → cancelled, at once, whether or not anything else is alive.

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
    require_state(sweep, "be cancelled", UNENDED_SWEEPS)
    end_open_work(conn, sweep_id, PackState.CANCELLED, SeedState.CANCELLED, None)
    conn.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(desired=Desired.CANCEL))
    _end(conn, sweep_id, SweepState.CANCELLED, EventKind.CANCELLED)
    return True


def pause(conn: Connection, sweep_id: str) -> bool:
    """Want a pause: nothing is claimed any more, and workers leave at their next checkpoints.

    They learn it when they renew their leases. The sweep is paused when none of them is left
    (`rest_sweep`). Pausing a sweep twice changes nothing.

    Returns:
        Whether this call asked for it.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: It has ended.
    """
    s = sweeps.c
    asked = conn.execute(
        update(sweeps)
        .where(s.id == sweep_id, s.state.in_(OPEN_SWEEPS), s.desired.in_(TRAINING))
        .values(desired=Desired.PAUSE)
    )
    if asked.rowcount == 0:
        require_state(lock_sweep(conn, sweep_id), "be paused", UNENDED_SWEEPS)
        return False
    events.append(conn, sweep_id, EventKind.PAUSING)
    rest_sweep(conn, sweep_id)
    return True


def rest_sweep(conn: Connection, sweep_id: str) -> bool:
    """queued | running → paused: a pause is wanted, and no worker holds a pack any more.

    Returns:
        Whether this call made the transition.
    """
    s, p = sweeps.c, packs.c
    leased = exists().where(p.sweep_id == s.id, p.state == PackState.LEASED)
    rested = conn.execute(
        update(sweeps)
        .where(s.id == sweep_id, s.state.in_(OPEN_SWEEPS), s.desired == Desired.PAUSE, ~leased)
        .values(state=SweepState.PAUSED)
    )
    if rested.rowcount == 0:
        return False
    events.append(conn, sweep_id, EventKind.PAUSED)
    return True


def resume(conn: Connection, sweep_id: str) -> bool:
    """paused → queued, each pack from its checkpoint; a pause that is still coming is called off.

    Resuming a sweep that runs changes nothing.

    Returns:
        Whether this call took it up.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: It has ended.
    """
    s = sweeps.c
    resumed = conn.execute(
        update(sweeps)
        .where(s.id == sweep_id, s.state.in_(UNENDED_SWEEPS), s.desired == Desired.PAUSE)
        .values(desired=Desired.RUN, state=_queued_if_paused())
    )
    if resumed.rowcount == 0:
        require_state(lock_sweep(conn, sweep_id), "be resumed", UNENDED_SWEEPS)
        return False
    events.append(conn, sweep_id, EventKind.RESUMED)
    return True


def stop(conn: Connection, sweep_id: str) -> bool:
    """Drain: packs that a worker holds train to their end, all others are cancelled at once.

    A held pack that is given back after a fault is still trained: it had begun. The sweep is
    finished when the last one has ended; the cancelled seed runs can be retried. Stopping a sweep
    twice changes nothing.

    Returns:
        Whether this call stopped it.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: It has ended.
    """
    s = sweeps.c
    stopped = conn.execute(
        update(sweeps)
        .where(s.id == sweep_id, s.state.in_(UNENDED_SWEEPS), s.desired != Desired.STOP)
        .values(desired=Desired.STOP, state=_queued_if_paused())
    )
    if stopped.rowcount == 0:
        require_state(lock_sweep(conn, sweep_id), "be stopped", UNENDED_SWEEPS)
        return False
    _cancel_pending(conn, sweep_id)
    events.append(conn, sweep_id, EventKind.STOPPING)
    leased = exists().where(packs.c.sweep_id == sweep_id, packs.c.state == PackState.LEASED)
    if not conn.execute(select(leased)).scalar_one():
        finish_sweep(conn, sweep_id)
    return True


def prioritize(conn: Connection, sweep_id: str, priority: int) -> bool:
    """Let a sweep that has not ended go before those of a smaller priority.

    Packs that are being trained stay where they are; the next ones are claimed by the new order.

    Returns:
        Whether this call changed it.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: It has ended.
    """
    s = sweeps.c
    changed = conn.execute(
        update(sweeps)
        .where(s.id == sweep_id, s.state.in_(UNENDED_SWEEPS), s.priority != priority)
        .values(priority=priority)
    )
    if changed.rowcount == 0:
        require_state(lock_sweep(conn, sweep_id), "be prioritized", UNENDED_SWEEPS)
        return False
    events.append(conn, sweep_id, EventKind.PRIORITIZED, {"priority": priority})
    return True


def _queued_if_paused() -> Any:
    s = sweeps.c
    return case((s.state == SweepState.PAUSED, SweepState.QUEUED.value), else_=s.state)


def _cancel_pending(conn: Connection, sweep_id: str) -> None:
    p = packs.c
    cancelled = conn.execute(
        update(packs)
        .where(p.sweep_id == sweep_id, p.state == PackState.PENDING)
        .values(state=PackState.CANCELLED, fence=p.fence + 1, not_before=None)
        .returning(p.id)
    )
    conn.execute(
        update(seed_runs)
        .where(
            seed_runs.c.pack_id.in_(cancelled.scalars().all()), seed_runs.c.state.in_(OPEN_SEEDS)
        )
        .values(state=SeedState.CANCELLED, finished_at=now())
    )


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
    """A locked sweep has more to train: queue it again if it has ended.

    One that was stopped runs on, since the later wish counts; a paused one stays paused.
    """
    if sweep.state in UNENDED_SWEEPS:
        stopped = (sweeps.c.id == sweep.id, sweeps.c.desired == Desired.STOP)
        conn.execute(update(sweeps).where(*stopped).values(desired=Desired.RUN))
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
