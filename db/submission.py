"""What a user adds to a sweep: submit, extend, retry. The rest are `db.transitions`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db import events
from db.clock import now
from db.errors import IdempotencyConflict, SeedsExist, WrongState
from db.identifiers import new_id
from db.models import configurations, packs, seed_runs, sweeps
from db.reuse import reuse_results
from db.states import (
    OPEN_SWEEPS,
    UNENDED_SWEEPS,
    Desired,
    EventKind,
    PackState,
    SeedState,
    SuccessMetric,
    SuccessWhen,
    SweepState,
)
from db.transitions import cancel, lock_sweep, requeue, require_state

__all__ = ["NewConfiguration", "NewPack", "NewSweep", "cancel", "extend", "retry", "submit"]


@dataclass(frozen=True, kw_only=True)
class NewConfiguration:
    """One point of a grid."""

    position: int
    digest: str
    label: str
    #: Axis -> label of the level, in the spec's order.
    axes: Mapping[str, str]
    #: The run configuration as a mapping.
    run: Mapping[str, Any]
    max_steps: int


@dataclass(frozen=True, kw_only=True)
class NewPack:
    """Seeds of one configuration to be trained together."""

    #: Position of the configuration.
    configuration: int
    seeds: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class NewSweep:
    """A validated spec, expanded: everything a submission writes."""

    name: str
    digest: str
    spec: Mapping[str, Any]
    configurations: Sequence[NewConfiguration]
    packs: Sequence[NewPack]
    success_metric: str = SuccessMetric.SEQUENCE_ERROR
    success_length: int
    success_below: float
    success_when: str = SuccessWhen.EVER
    #: None: every evaluated task must pass.
    success_task: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    max_failures: int = 3
    #: Failed seed runs beyond which the sweep fails; None: it never does for them.
    max_failed_seeds: int | None = None
    #: Sweeps of a greater one are trained first.
    priority: int = 0
    #: Packs leased at once; None: as many as the cluster holds.
    max_concurrent_trials: int | None = None
    cpu: int = 1
    #: GPUs, or a share of one, a trial.
    gpu: float = 0.0
    code_version: str
    idempotency_key: str | None = None


class _Place(NamedTuple):
    """What a position in the grid stands for in the tables."""

    id: int
    max_steps: int


def submit(conn: Connection, sweep: NewSweep, *, new: bool = False) -> tuple[str, bool]:
    """Write a sweep with every configuration, seed run and pack, in the caller's transaction.

    The same spec gives the sweep that is there already, however many submit it at once. Seed runs
    that the same code has trained before, in any sweep, are taken over.

    Args:
        conn: A write transaction.
        sweep: What to write.
        new: Make another sweep of a spec that was submitted before, and train all of it.

    Returns:
        The sweep's id, and whether this call created it.

    Raises:
        IdempotencyConflict: The sweep's idempotency key was used for another spec.
    """
    sweep_id = new_id()
    key = f"{sweep.digest}:{sweep_id}" if new else sweep.digest
    if not _insert_sweep(conn, sweep_id, key, sweep):
        return _existing(conn, key, sweep), False
    positions = _insert_configurations(conn, sweep_id, sweep.configurations)
    seeds = _insert_packs(conn, sweep_id, positions, sweep.packs, sweep.code_version)
    counts = {"configurations": len(positions), "seed_runs": seeds, "packs": len(sweep.packs)}
    if not new and (reused := reuse_results(conn, sweep_id, sweep.code_version)):
        counts["reused"] = reused
    events.append(conn, sweep_id, EventKind.SUBMITTED, counts)
    return sweep_id, True


def _insert_sweep(conn: Connection, sweep_id: str, key: str, sweep: NewSweep) -> bool:
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    inserted = conn.execute(
        dialect.insert(sweeps)
        .values(
            id=sweep_id,
            name=sweep.name,
            digest=sweep.digest,
            dedupe_key=key,
            idempotency_key=sweep.idempotency_key,
            spec=dict(sweep.spec),
            labels=dict(sweep.labels),
            state=SweepState.QUEUED,
            desired=Desired.RUN,
            revision=0,
            runner_epoch=0,
            success_metric=sweep.success_metric,
            success_length=sweep.success_length,
            success_below=sweep.success_below,
            success_when=sweep.success_when,
            success_task=sweep.success_task,
            max_failures=sweep.max_failures,
            max_failed_seeds=sweep.max_failed_seeds,
            priority=sweep.priority,
            max_concurrent_trials=sweep.max_concurrent_trials,
            cpu=sweep.cpu,
            gpu=sweep.gpu,
            code_version=sweep.code_version,
            created_at=now(),
        )
        # Waits for a submission of the same spec that has not committed yet.
        .on_conflict_do_nothing()
        .returning(sweeps.c.id)
    )
    return inserted.first() is not None


def _existing(conn: Connection, key: str, sweep: NewSweep) -> str:
    """The sweep that has the idempotency key, else the one of the same spec."""
    s, wanted = sweeps.c, sweep.idempotency_key
    matches = s.dedupe_key == key
    if wanted is not None:
        matches = or_(matches, s.idempotency_key == wanted)
    found = conn.execute(select(s.id, s.digest, s.idempotency_key).where(matches)).all()
    named = [row for row in found if wanted is not None and row.idempotency_key == wanted]
    row = (named or found)[0]
    if row.digest != sweep.digest:
        raise IdempotencyConflict(str(wanted), row.id)
    if wanted is not None and row.idempotency_key is None:
        conn.execute(
            update(sweeps)
            .where(sweeps.c.id == row.id, sweeps.c.idempotency_key.is_(None))
            .values(idempotency_key=wanted)
        )
    return row.id


def _insert_configurations(
    conn: Connection, sweep_id: str, news: Sequence[NewConfiguration]
) -> dict[int, _Place]:
    """Position -> (id, max_steps) of the configurations written."""
    rows = [
        {
            "sweep_id": sweep_id,
            "position": new.position,
            "digest": new.digest,
            "label": new.label,
            "axes": dict(new.axes),
            "run": dict(new.run),
            "max_steps": new.max_steps,
        }
        for new in news
    ]
    conn.execute(insert(configurations), rows)
    return _positions(conn, sweep_id)


def _positions(conn: Connection, sweep_id: str) -> dict[int, _Place]:
    c = configurations.c
    found = conn.execute(select(c.position, c.id, c.max_steps).where(c.sweep_id == sweep_id))
    return {row.position: _Place(row.id, row.max_steps) for row in found}


def _insert_packs(
    conn: Connection,
    sweep_id: str,
    positions: Mapping[int, _Place],
    news: Sequence[NewPack],
    code_version: str,
) -> int:
    """Write packs and their seed runs; returns the number of seed runs."""
    pack_ids = insert_pending_packs(
        conn, sweep_id, [positions[new.configuration].id for new in news]
    )
    rows = [
        {
            "sweep_id": sweep_id,
            "configuration_id": positions[new.configuration].id,
            "pack_id": pack_id,
            "seed": seed,
            "state": SeedState.PENDING,
            "steps": 0,
            "max_steps": positions[new.configuration].max_steps,
            "wall_seconds": 0.0,
            "attempt_step": 0,
            "attempt_wall_seconds": 0.0,
            "attempts": 0,
            "code_version": code_version,
        }
        for pack_id, new in zip(pack_ids, news, strict=True)
        for seed in new.seeds
    ]
    if rows:
        conn.execute(insert(seed_runs), rows)
    return len(rows)


def insert_pending_packs(
    conn: Connection, sweep_id: str, configuration_ids: Sequence[int], parent: int | None = None
) -> list[int]:
    """Write a pack a configuration id given; their ids, in the order given."""
    if not configuration_ids:
        return []
    rows = [
        {
            "sweep_id": sweep_id,
            "configuration_id": configuration_id,
            "parent_id": parent,
            "state": PackState.PENDING,
            "fence": 0,
            "epoch": 0,
            "user_attempts": 0,
            "infra_attempts": 0,
        }
        for configuration_id in configuration_ids
    ]
    written = insert(packs).returning(packs.c.id, sort_by_parameter_order=True)
    return list(conn.execute(written, rows).scalars())


def extend(
    conn: Connection,
    sweep_id: str,
    *,
    spec: Mapping[str, Any],
    packs: Sequence[NewPack],
    code_version: str,
) -> int:
    """Add seeds to a sweep that has finished or not ended; a finished one is queued again.

    The stored spec becomes `spec` (the same with more seeds), while the sweep's digest stays that
    of its submission: who submits the original spec again still gets this sweep.

    Args:
        conn: A write transaction.
        sweep_id: The sweep.
        spec: The spec with the larger number of seeds.
        packs: The new seeds only, in packs.
        code_version: The code that will train them.

    Returns:
        The number of seed runs added.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: The sweep was cancelled or has failed.
        SeedsExist: Some of the seeds are there already; nothing was added.
    """
    sweep = lock_sweep(conn, sweep_id)
    require_state(sweep, "be extended", (*OPEN_SWEEPS, SweepState.FINISHED, SweepState.PAUSED))
    positions = _positions(conn, sweep_id)
    _refuse_existing(conn, sweep_id, positions, packs)
    added = _insert_packs(conn, sweep_id, positions, packs, code_version)
    if added == 0:
        return 0
    conn.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(spec=dict(spec)))
    requeue(conn, sweep)
    counts = {"seed_runs": added}
    if reused := reuse_results(conn, sweep_id, code_version):
        counts["reused"] = reused
    events.append(conn, sweep_id, EventKind.EXTENDED, counts)
    return added


def _refuse_existing(
    conn: Connection, sweep_id: str, positions: Mapping[int, _Place], news: Sequence[NewPack]
) -> None:
    s = seed_runs.c
    stored = conn.execute(select(s.configuration_id, s.seed).where(s.sweep_id == sweep_id))
    known = {(row.configuration_id, row.seed) for row in stored}
    wanted = [(positions[new.configuration].id, seed) for new in news for seed in new.seeds]
    if twice := sorted({pair[1] for pair in wanted if pair in known}):
        raise SeedsExist(sweep_id, twice)


def retry(conn: Connection, sweep_id: str, *, include_cancelled: bool = False) -> int:
    """Queue failed seed runs again, in new packs with a fresh budget of failures.

    Seeds that failed in one pack stay together; each goes on from its checkpoint if it has one.

    Args:
        conn: A write transaction.
        sweep_id: The sweep; it goes back to queued if it had ended.
        include_cancelled: Cancelled seed runs too, which is how a cancelled sweep is taken up
            again.

    Returns:
        The number of seed runs queued; with none, nothing changes.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: The sweep is cancelled and `include_cancelled` is not set.
    """
    sweep = lock_sweep(conn, sweep_id)
    if sweep.state == SweepState.CANCELLED and not include_cancelled:
        ended = (SweepState.FINISHED, SweepState.FAILED)
        verb = "be retried without its cancelled seed runs"
        raise WrongState(sweep_id, sweep.state, verb, (*UNENDED_SWEEPS, *ended))
    again = [SeedState.FAILED, *([SeedState.CANCELLED] if include_cancelled else [])]
    seeds = _retry_seeds(conn, sweep_id, again)
    if seeds:
        requeue(conn, sweep)
        events.append(conn, sweep_id, EventKind.RETRIED, {"seed_runs": seeds})
    return seeds


def _retry_seeds(conn: Connection, sweep_id: str, states: Sequence[SeedState]) -> int:
    s = seed_runs.c
    chosen = conn.execute(
        select(s.id, s.pack_id, s.configuration_id)
        .where(s.sweep_id == sweep_id, s.state.in_(states))
        .order_by(s.pack_id, s.id)
    ).all()
    former = [list(group) for _, group in groupby(chosen, key=lambda row: row.pack_id)]
    pack_ids = insert_pending_packs(conn, sweep_id, [group[0].configuration_id for group in former])
    for pack_id, group in zip(pack_ids, former, strict=True):
        conn.execute(
            update(seed_runs)
            .where(s.id.in_([row.id for row in group]), s.state.in_(states))
            .values(
                state=SeedState.PENDING,
                pack_id=pack_id,
                error=None,
                reason=None,
                finished_at=None,
            )
        )
    return len(chosen)
