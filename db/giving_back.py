"""How a leased pack goes back: failed (charged), released (not charged), expired or stalled.

Infrastructure faults are not charged to the science but are capped; a failure of the training
itself is charged, and a pack that keeps failing is cut in halves until the seed that fails stands
alone.
"""

from enum import StrEnum
from statistics import median
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from db import events
from db.clock import in_seconds, now
from db.leasing import held, held_by
from db.models import packs, seed_runs, sweeps
from db.states import OPEN_SEEDS, EventKind, PackState, SeedState
from db.submission import insert_pending_packs
from db.transitions import fail_sweep, lock_sweep

#: Infrastructure faults a pack survives between two checkpoints.
INFRASTRUCTURE_CAP = 20
#: A step may take this many times the median before its pack counts as stalled.
STALL_STEPS = 10
#: Longest pause before a pack may be claimed again.
LONGEST_PAUSE_SECONDS = 60.0


class Fate(StrEnum):
    """What became of a pack that was given back."""

    #: It waits to be claimed again.
    PENDING = "pending"
    #: It was cut into two packs, which wait.
    SPLIT = "split"
    #: It was given up, and its open seed runs failed.
    FAILED = "failed"
    #: It was not the caller's any more; nothing changed.
    LOST = "lost"


def pause_seconds(attempts: int) -> float:
    """Seconds to wait after the n-th fault in a row, n >= 1: 1, 2, 4, … 60."""
    return min(LONGEST_PAUSE_SECONDS, 2.0 ** min(attempts - 1, 10))


def fail_pack(conn: Connection, pack_id: int, fence: int, error: str) -> Fate:
    """The training of a pack raised: charged to it.

    Until the sweep's `max_failures` is used up the pack waits and is tried again. Then a pack of
    several open seeds is cut in halves, each with a fresh budget; of a single seed, the seed run
    fails with this error.
    """
    pack = _lock_held(conn, pack_id, fence)
    if pack is None:
        return Fate.LOST
    return _charge(conn, pack, error)


def release_pack(conn: Connection, pack_id: int, fence: int, error: str | None) -> Fate:
    """Give a pack back for a reason that is not its own.

    Args:
        conn: A write transaction.
        pack_id: The pack.
        fence: The fence it was claimed under.
        error: The infrastructure's fault, counted and followed by a pause; None when it is given
            back on purpose, as in an orderly shutdown, which costs nothing.
    """
    pack = _lock_held(conn, pack_id, fence)
    if pack is None:
        return Fate.LOST
    if error is None:
        _wait(conn, pack, pack.error, 0.0)
        return Fate.PENDING
    return _count_fault(conn, pack, error)


def release_held(
    conn: Connection, sweep_id: str, *, owner: str, epoch: int, error: str | None
) -> Fate:
    """Give back, as `release_pack`, whatever pack an owner of one pack at a time has in hand.

    It may be completing one and leasing the next at this moment, which it can only under the fence
    that is taken from it here: afterwards it has none, and gets none.
    """
    while (found := held_by(conn, sweep_id, owner=owner, epoch=epoch)) is not None:
        fate = release_pack(conn, *found, error)
        if fate is not Fate.LOST:
            return fate
    return Fate.LOST


def expire_leases(conn: Connection) -> list[int]:
    """Take back every pack whose lease has run out; counted as an infrastructure fault.

    Returns:
        The ids of the packs taken back.
    """
    p = packs.c
    expired = (p.state == PackState.LEASED) & (p.lease_until < now())
    found = conn.execute(select(p.id, p.fence, p.owner).where(expired).order_by(p.sweep_id, p.id))
    taken = []
    for row in found.all():
        pack = _lock_held(conn, row.id, row.fence)
        if pack is None or not conn.execute(select(p.id).where(p.id == row.id, expired)).first():
            continue  # renewed, or taken over, between the two looks
        _count_fault(conn, pack, f"its worker ({row.owner}) fell silent and the lease ran out")
        taken.append(row.id)
    return taken


def take_stalled(conn: Connection, least_seconds: float) -> list[int]:
    """Take packs away from workers that live and get no further.

    The first stall of a pack since its last checkpoint counts as an infrastructure fault, the next
    ones are charged to it.

    Args:
        conn: A write transaction.
        least_seconds: A pack has stalled when its training has written nothing for so long, nor
            for `STALL_STEPS` times the median step of its configuration.

    Returns:
        The ids of the packs taken away.
    """
    p = packs.c
    silent = (p.state == PackState.LEASED) & (p.progress_at < in_seconds(-least_seconds))
    found = conn.execute(select(p.id, p.fence).where(silent).order_by(p.sweep_id, p.id)).all()
    return [row.id for row in found if _take_if_stalled(conn, row.id, row.fence, least_seconds)]


def _take_if_stalled(conn: Connection, pack_id: int, fence: int, least_seconds: float) -> bool:
    pack = _lock_held(conn, pack_id, fence)
    if pack is None:
        return False
    seconds = max(least_seconds, STALL_STEPS * _median_step(conn, pack.configuration_id))
    stalled = (packs.c.id == pack_id) & (packs.c.progress_at < in_seconds(-seconds))
    if conn.execute(select(packs.c.id).where(stalled)).first() is None:
        return False
    error = f"it got no further for {seconds:.0f} s, though its worker ({pack.owner}) lived"
    stalls = pack.stalls + 1
    events.append(conn, pack.sweep_id, EventKind.PACK_STALLED, {"pack": pack_id, "error": error})
    if stalls == 1:
        _count_fault(conn, pack, error, stalls=stalls)
    else:
        _charge(conn, pack, error, stalls=stalls)
    return True


def _median_step(conn: Connection, configuration_id: int) -> float:
    """Seconds a step took the configuration's packs; 0 while nothing tells."""
    s = seed_runs.c
    moved = (s.steps > s.attempt_step) & (s.wall_seconds > s.attempt_wall_seconds)
    seconds = (s.wall_seconds - s.attempt_wall_seconds) / (s.steps - s.attempt_step)
    query = select(seconds).where(s.configuration_id == configuration_id, moved)
    return median(map(float, conn.execute(query).scalars().all() or [0.0]))


def _lock_held(conn: Connection, pack_id: int, fence: int) -> Row[Any] | None:
    """The pack with its sweep's rule, both locked, if it is held under this fence."""
    sweep_id = conn.execute(select(packs.c.sweep_id).where(packs.c.id == pack_id)).scalar()
    if sweep_id is None:
        return None
    lock_sweep(conn, sweep_id)
    return conn.execute(
        select(packs, sweeps.c.max_failures, sweeps.c.max_failed_seeds)
        .join(sweeps, sweeps.c.id == packs.c.sweep_id)
        .where(held(pack_id, fence))
        .with_for_update(of=packs)
    ).first()


def _open_seed_run_ids(conn: Connection, pack_id: int) -> list[int]:
    s = seed_runs.c
    query = select(s.id).where(s.pack_id == pack_id, s.state.in_(OPEN_SEEDS)).order_by(s.seed)
    return list(conn.execute(query).scalars())


def _charge(conn: Connection, pack: Row[Any], error: str, **counted: int) -> Fate:
    attempts = pack.user_attempts + 1
    if attempts < pack.max_failures:
        _wait(conn, pack, error, pause_seconds(attempts), user_attempts=attempts, **counted)
        return Fate.PENDING
    seed_run_ids = _open_seed_run_ids(conn, pack.id)
    if len(seed_run_ids) > 1:
        return _split(conn, pack, seed_run_ids, error, attempts)
    return _give_up(conn, pack, error, user_attempts=attempts, **counted)


def _count_fault(conn: Connection, pack: Row[Any], error: str, **counted: int) -> Fate:
    faults = pack.infra_attempts + 1
    if faults >= INFRASTRUCTURE_CAP:
        message = f"gave up after {faults} infrastructure faults; the last: {error}"
        return _give_up(conn, pack, message, infra_attempts=faults, **counted)
    _wait(conn, pack, error, pause_seconds(faults), infra_attempts=faults, **counted)
    return Fate.PENDING


def _wait(
    conn: Connection, pack: Row[Any], error: str | None, pause: float, **counted: int
) -> None:
    _take_from_owner(
        conn,
        pack.id,
        state=PackState.PENDING,
        error=error,
        not_before=in_seconds(pause) if pause else None,
        **counted,
    )
    s = seed_runs.c
    conn.execute(
        update(seed_runs)
        .where(s.pack_id == pack.id, s.state == SeedState.RUNNING)
        .values(state=SeedState.PENDING)
    )


def _take_from_owner(conn: Connection, pack_id: int, **values: Any) -> None:
    conn.execute(
        update(packs)
        .where(packs.c.id == pack_id)
        .values(fence=packs.c.fence + 1, owner=None, lease_until=None, **values)
    )


def _split(
    conn: Connection, pack: Row[Any], seed_run_ids: list[int], error: str, attempts: int
) -> Fate:
    _take_from_owner(
        conn, pack.id, state=PackState.SPLIT, error=error, user_attempts=attempts, not_before=None
    )
    middle = (len(seed_run_ids) + 1) // 2
    halves = seed_run_ids[:middle], seed_run_ids[middle:]
    configuration_ids = [pack.configuration_id] * 2
    children = insert_pending_packs(conn, pack.sweep_id, configuration_ids, parent=pack.id)
    for child, half in zip(children, halves, strict=True):
        conn.execute(
            update(seed_runs)
            .where(seed_runs.c.id.in_(half), seed_runs.c.state.in_(OPEN_SEEDS))
            .values(pack_id=child, state=SeedState.PENDING)
        )
    body = {"pack": pack.id, "into": children, "seeds": len(seed_run_ids), "error": error}
    events.append(conn, pack.sweep_id, EventKind.PACK_SPLIT, body)
    return Fate.SPLIT


def _give_up(conn: Connection, pack: Row[Any], error: str, **counted: int) -> Fate:
    _take_from_owner(conn, pack.id, state=PackState.FAILED, error=error, not_before=None, **counted)
    s = seed_runs.c
    failed = conn.execute(
        update(seed_runs)
        .where(s.pack_id == pack.id, s.state.in_(OPEN_SEEDS))
        .values(state=SeedState.FAILED, error=error, finished_at=now())
    )
    body = {"pack": pack.id, "seeds": failed.rowcount, "error": error}
    events.append(conn, pack.sweep_id, EventKind.PACK_FAILED, body)
    _keep_to_budget(conn, pack)
    return Fate.FAILED


def _keep_to_budget(conn: Connection, pack: Row[Any]) -> None:
    """Fail the sweep, whose row is locked, when too many of its seed runs have failed."""
    if pack.max_failed_seeds is None:
        return
    s = seed_runs.c
    query = select(func.count()).where(s.sweep_id == pack.sweep_id, s.state == SeedState.FAILED)
    failed = conn.execute(query).scalar_one()
    if failed > pack.max_failed_seeds:
        reason = f"{failed} seed runs failed: retry.max_failed_seeds is {pack.max_failed_seeds}"
        fail_sweep(conn, pack.sweep_id, reason, rest=SeedState.CANCELLED)
