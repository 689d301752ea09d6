"""Who trains which pack: claims, renewals and their ends.

A lease is a pack's fence, a number that grows whenever the pack changes hands. Every function that
acts for a worker names the fence it was given and does nothing under another one, so a worker that
was thought dead and comes back cannot harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from db.clock import in_seconds, now
from db.errors import LeaseLost
from db.models import (
    carry_results,
    carry_trials,
    checkpoints,
    configurations,
    evaluations,
    packs,
    probe_results,
    runners,
    seed_runs,
    sweeps,
    training_epochs,
)
from db.states import (
    OPEN_PACKS,
    OPEN_SEEDS,
    OPEN_SWEEPS,
    TRAINING,
    Desired,
    PackState,
    SeedState,
)

#: Every table with rows a worker wrote at some step of a seed run.
MEASURED = (evaluations, training_epochs, carry_trials, carry_results, probe_results)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where the record says a seed's checkpoint lies."""

    seed: int
    step: int
    path: str
    sha256: str
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class ClaimedPack:
    """A leased pack and what its worker needs to train it."""

    pack_id: int
    fence: int
    sweep_id: str
    configuration_id: int
    #: The run configuration as a mapping.
    run: dict[str, Any]
    #: The seeds that are not terminal, ascending.
    seeds: tuple[int, ...]
    #: One a seed, all at one step; empty: start at step 0.
    resume: tuple[Checkpoint, ...]
    #: Seconds that earlier attempts trained.
    wall_seconds: float
    cpu: int
    gpu: float


def claim_pack(
    conn: Connection,
    sweep_id: str,
    *,
    owner: str,
    epoch: int,
    lease_seconds: float,
    host: str | None = None,
    code_version: str | None = None,
    again: bool = False,
) -> ClaimedPack | None:
    """Lease the first pack that waits, or that a runner of an older epoch still holds.

    In the same transaction the rows beyond the point to resume from are deleted: one curve never
    mixes two executions.

    Args:
        conn: A write transaction.
        sweep_id: The sweep.
        owner: Who claims, for people to read.
        epoch: The claimant's, as `register_runner` gave it; one older than the sweep's gets
            nothing.
        lease_seconds: How long the lease lasts unless it is renewed.
        host: Where the seeds will train.
        code_version: What they will train with, if not what they were submitted with.
        again: Take up only what this owner holds already, when it was never told.

    Returns:
        The pack, or None: none can be leased now (its pause, its sweep's limit of trials, a sweep
        that goes first), or the sweep is not to run.
    """
    facts = {"of_sweep": sweep_id, "of_epoch": epoch} | ({"of_owner": owner} if again else {})
    while (pack := conn.execute(_claimable(again), facts).first()) is not None:
        seeds = _open_seeds(conn, pack.id)
        if not seeds:
            # Its worker died between the last seed's end and the pack's.
            _leave(conn, pack.id, PackState.DONE)
            continue
        fence = _lease(conn, pack.id, owner, epoch, lease_seconds)
        resume = _resume(conn, seeds)
        wall_seconds = max(row.wall_seconds for row in seeds)
        _begin_attempt(conn, pack.id, resume, wall_seconds, host, code_version)
        return ClaimedPack(
            pack_id=pack.id,
            fence=fence,
            sweep_id=sweep_id,
            configuration_id=pack.configuration_id,
            run=pack.run,
            seeds=tuple(row.seed for row in seeds),
            resume=resume,
            wall_seconds=wall_seconds,
            cpu=pack.cpu,
            gpu=pack.gpu,
        )
    return None


def _is_of(owner: Any, epoch: Any) -> ColumnElement[bool]:
    p = packs.c
    return and_(p.state == PackState.LEASED, p.epoch == epoch, p.owner == owner)


def held_by(conn: Connection, sweep_id: str, *, owner: str, epoch: int) -> tuple[int, int] | None:
    """Pack and fence of what an owner of one pack at a time has in hand."""
    p = packs.c
    held = conn.execute(select(p.id, p.fence).where(p.sweep_id == sweep_id, _is_of(owner, epoch)))
    row = held.first()
    return None if row is None else (row.id, row.fence)


# Statements of every seed are built once: to build one costs more than to run it.


@cache
def _claimable(again: bool) -> Select[*tuple[Any, ...]]:
    p = packs.c
    epoch: BindParameter[int] = bindparam("of_epoch")
    waits = and_(p.state == PackState.PENDING, or_(p.not_before.is_(None), p.not_before <= now()))
    orphaned = and_(p.state == PackState.LEASED, p.epoch < epoch)
    if again:
        free = _is_of(bindparam("of_owner"), epoch)
    else:
        free = or_(and_(waits, _has_its_turn()), orphaned)
    return (
        select(p.id, p.configuration_id, configurations.c.run, sweeps.c.cpu, sweeps.c.gpu)
        .join(sweeps, sweeps.c.id == p.sweep_id)
        .join(configurations, configurations.c.id == p.configuration_id)
        .where(
            p.sweep_id == bindparam("of_sweep"),
            sweeps.c.desired.in_(TRAINING),
            sweeps.c.state.in_(OPEN_SWEEPS),
            sweeps.c.runner_epoch <= epoch,
            free,
        )
        .order_by(p.id)
        .limit(1)
        .with_for_update(of=packs, skip_locked=True)
    )


def _has_its_turn() -> ColumnElement[bool]:
    """Whether a sweep may claim one more pack, as far as its schedule says."""
    return and_(_room(sweeps.c), ~_outranked())


def _room(s: Any) -> ColumnElement[bool]:
    """Whether a sweep may have one more trial at once."""
    other = packs.alias()
    leased = (
        select(func.count())
        .where(other.c.sweep_id == s.id, other.c.state == PackState.LEASED)
        .scalar_subquery()
    )
    return or_(s.max_concurrent_trials.is_(None), leased < s.max_concurrent_trials)


def _outranked() -> ColumnElement[bool]:
    """Whether a sweep of a greater priority has a runner, and a pack for it to claim.

    One without a runner keeps nobody waiting: it may not be able to run.
    """
    s, p, r = sweeps.alias().c, packs.alias().c, runners.c
    return exists().where(
        s.priority > sweeps.c.priority,
        s.state.in_(OPEN_SWEEPS),
        s.desired.in_(TRAINING),
        r.sweep_id == s.id,
        r.lease_until >= now(),
        p.sweep_id == s.id,
        p.state == PackState.PENDING,
        or_(p.not_before.is_(None), p.not_before <= now()),
        _room(s),
    )


def _open_seeds(conn: Connection, pack_id: int) -> Sequence[Row[*tuple[Any, ...]]]:
    return conn.execute(_open_seeds_of_pack(), {"of_pack": pack_id}).all()


@cache
def _open_seeds_of_pack() -> Select[*tuple[Any, ...]]:
    s = seed_runs.c
    return (
        select(s.id, s.seed, s.wall_seconds, s.attempts)
        .where(s.pack_id == bindparam("of_pack"), s.state.in_(OPEN_SEEDS))
        .order_by(s.seed)
    )


def _lease(conn: Connection, pack_id: int, owner: str, epoch: int, seconds: float) -> int:
    to = {"of_pack": pack_id, "to_owner": owner, "to_epoch": epoch, "for_seconds": float(seconds)}
    return int(conn.execute(_leasing(), to).scalar_one())


@cache
def _leasing() -> Any:
    return (
        update(packs)
        .where(packs.c.id == bindparam("of_pack"))
        .values(
            state=PackState.LEASED,
            fence=packs.c.fence + 1,
            owner=bindparam("to_owner"),
            epoch=bindparam("to_epoch"),
            lease_until=in_seconds("for_seconds"),
            progress_at=now(),
            not_before=None,
        )
        .returning(packs.c.fence)
    )


def _resume(conn: Connection, seeds: Sequence[Row[*tuple[Any, ...]]]) -> tuple[Checkpoint, ...]:
    """The seeds' checkpoints if all are at one step, else none; rows beyond them are deleted."""
    if not any(row.attempts for row in seeds):
        return ()  # nothing was ever measured of them
    c = checkpoints.c
    ids = [row.id for row in seeds]
    found = conn.execute(
        select(seed_runs.c.seed, c.step, c.path, c.sha256, c.bytes)
        .join(seed_runs, seed_runs.c.id == c.seed_run_id)
        .where(c.seed_run_id.in_(ids))
        .order_by(seed_runs.c.seed)
    ).all()
    if len(found) == len(ids) and len({row.step for row in found}) == 1:
        delete_beyond(conn, ids, found[0].step)
        return tuple(Checkpoint(**row._mapping) for row in found)
    _start_over(conn, ids)
    return ()


def delete_beyond(conn: Connection, seed_run_ids: Sequence[int], step: int) -> None:
    """Delete what seed runs measured after a step."""
    for table in MEASURED:
        conn.execute(
            delete(table).where(table.c.seed_run_id.in_(seed_run_ids), table.c.step > step)
        )


def _start_over(conn: Connection, seed_run_ids: Sequence[int]) -> None:
    for table in (*MEASURED, checkpoints):
        conn.execute(delete(table).where(table.c.seed_run_id.in_(seed_run_ids)))


def _begin_attempt(
    conn: Connection,
    pack_id: int,
    resume: Sequence[Checkpoint],
    wall_seconds: float,
    host: str | None,
    code_version: str | None,
) -> None:
    facts = {
        "of_pack": pack_id,
        "from_step": resume[0].step if resume else 0,
        "after_seconds": wall_seconds,
        "on_host": host,
        "with_code": code_version,
    }
    conn.execute(_attempt(), facts)


@cache
def _attempt() -> Update:
    s = seed_runs.c
    step: BindParameter[int] = bindparam("from_step")
    seconds: BindParameter[float] = bindparam("after_seconds")
    return (
        update(seed_runs)
        .where(s.pack_id == bindparam("of_pack"), s.state.in_(OPEN_SEEDS))
        .values(
            state=SeedState.RUNNING,
            steps=step,
            attempt_step=step,
            wall_seconds=seconds,
            attempt_wall_seconds=seconds,
            attempts=s.attempts + 1,
            started_at=func.coalesce(s.started_at, now()),
            host=func.coalesce(bindparam("on_host", type_=Text()), s.host),
            code_version=func.coalesce(bindparam("with_code", type_=Text()), s.code_version),
        )
    )


def held(pack_id: Any, fence: Any) -> ColumnElement[bool]:
    """The guard of every write for a pack: it is leased under this fence."""
    p = packs.c
    return and_(p.id == pack_id, p.fence == fence, p.state == PackState.LEASED)


def renew(
    conn: Connection, pack_id: int, fence: int, lease_seconds: float, *, progress: bool = False
) -> Desired:
    """Prolong a lease; its row stays locked to the end of the transaction.

    Args:
        conn: A write transaction.
        pack_id: The pack.
        fence: The fence it was claimed under.
        lease_seconds: From now.
        progress: The training moved, as opposed to: its process lives.

    Returns:
        What the user wants of the pack's sweep.

    Raises:
        LeaseLost: The pack changed hands, was cancelled or has ended.
    """
    lease = {"of_pack": pack_id, "of_fence": fence, "for_seconds": float(lease_seconds)}
    renewed = conn.execute(_renewal(progress), lease).scalar()
    if renewed is None:
        raise LeaseLost(pack_id, fence)
    return Desired(renewed)


@cache
def _renewal(progress: bool) -> Any:
    moved = {"progress_at": now()} if progress else {}
    wanted = select(sweeps.c.desired).where(sweeps.c.id == packs.c.sweep_id).scalar_subquery()
    return (
        update(packs)
        .where(held(bindparam("of_pack"), bindparam("of_fence")))
        .values(lease_until=in_seconds("for_seconds"), **moved)
        .returning(wanted)
    )


def complete_pack(conn: Connection, pack_id: int, fence: int) -> bool:
    """leased → done, if every seed run of it is terminal.

    Returns:
        Whether the pack is done; True also when it was completed before under this fence.

    Raises:
        LeaseLost: The pack is another's.
    """
    if conn.execute(_completion(), {"of_pack": pack_id, "of_fence": fence}).rowcount:
        return True
    found = conn.execute(select(packs).where(packs.c.id == pack_id).with_for_update()).first()
    if found is None or found.fence != fence:
        raise LeaseLost(pack_id, fence)
    if found.state == PackState.DONE:
        return True
    if found.state != PackState.LEASED:
        raise LeaseLost(pack_id, fence)
    if _open_seeds(conn, pack_id):
        return False
    _leave(conn, pack_id, PackState.DONE)
    return True


@cache
def _completion() -> Update:
    s = seed_runs.c
    is_open = exists().where(s.pack_id == packs.c.id, s.state.in_(OPEN_SEEDS))
    return (
        update(packs)
        .where(held(bindparam("of_pack"), bindparam("of_fence")), ~is_open)
        .values(state=PackState.DONE, owner=None, lease_until=None, not_before=None)
    )


def is_done(conn: Connection, pack_id: int, fence: int) -> bool:
    """Whether the pack was completed under this fence."""
    p = packs.c
    done = and_(p.id == pack_id, p.fence == fence, p.state == PackState.DONE)
    return conn.execute(select(p.id).where(done)).first() is not None


def _leave(conn: Connection, pack_id: int, state: PackState) -> None:
    """End a locked pack; its fence stays, so that completing twice can be told from losing."""
    conn.execute(
        update(packs)
        .where(packs.c.id == pack_id)
        .values(state=state, owner=None, lease_until=None, not_before=None)
    )


def forget_checkpoints(conn: Connection, pack_id: int, fence: int) -> None:
    """Drop a leased pack's checkpoints and rows: its next attempt starts at step 0.

    Raises:
        LeaseLost: The pack is another's; nothing was dropped.
    """
    found = conn.execute(select(packs.c.id).where(held(pack_id, fence)).with_for_update()).first()
    if found is None:
        raise LeaseLost(pack_id, fence)
    _start_over(conn, [row.id for row in _open_seeds(conn, pack_id)])


def outranked(conn: Connection, sweep_id: str) -> bool:
    """Whether a sweep may claim nothing because one of a greater priority goes first."""
    query = select(sweeps.c.id).where(sweeps.c.id == sweep_id, _outranked())
    return conn.execute(query).first() is not None


def exhausted(conn: Connection, sweep_id: str) -> bool:
    """Whether a runner of the sweep has nothing to wait for.

    That is: no pack is pending or leased, the sweep is not to run any more, or it is to pause and
    the last worker has left. Until then the pause may be called off.
    """
    p, s = packs.c, sweeps.c
    claimable = and_(s.desired.in_(TRAINING), p.state.in_(OPEN_PACKS))
    leaving = and_(s.desired == Desired.PAUSE, p.state == PackState.LEASED)
    wanted = conn.execute(
        select(s.id).where(
            s.id == sweep_id,
            s.state.in_(OPEN_SWEEPS),
            exists().where(p.sweep_id == s.id, or_(claimable, leaving)),
        )
    )
    return wanted.first() is None
