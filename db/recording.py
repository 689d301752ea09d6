"""What workers write: rows, checkpoint pointers and outcomes, each only under the pack's fence.

A call is one transaction's worth: it renews the lease first and raises `LeaseLost` with nothing
written when the pack changed hands. Every write may be repeated without effect. Rows name the seed;
numbers that are not finite are stored as NULL.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from numbers import Integral
from typing import Any

from sqlalchemy import Connection, Select, Table, Update, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.clock import now
from db.leasing import delete_beyond, renew
from db.models import (
    carry_results,
    carry_trials,
    checkpoints,
    evaluations,
    packs,
    probe_results,
    seed_runs,
    training_epochs,
)
from db.states import OPEN_SEEDS, SeedState
from db.verdicts import keep_verdict

#: A row of a measured table: its columns, but `seed` instead of `seed_run_id` and `fence`.
Measured = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a worker measured since it last wrote."""

    training_epochs: Sequence[Measured] = ()
    evaluations: Sequence[Measured] = ()
    carry_trials: Sequence[Measured] = ()
    carry_results: Sequence[Measured] = ()
    probe_results: Sequence[Measured] = ()

    def by_table(self) -> Iterable[tuple[Table, Sequence[Measured]]]:
        """The tables with the rows meant for them."""
        yield training_epochs, self.training_epochs
        yield evaluations, self.evaluations
        yield carry_trials, self.carry_trials
        yield carry_results, self.carry_results
        yield probe_results, self.probe_results


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Which pack a worker writes for, and how long each write keeps it."""

    pack_id: int
    fence: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one seed's training ended."""

    seed: int
    #: `finished` or `diverged`.
    state: str
    step: int
    reason: str
    #: As for `move_checkpoint`.
    checkpoint: Mapping[str, Any] | None = None
    #: What computed it, unless that was noted before.
    engine: str | None = None
    instruction_set: str | None = None


def write_rows(
    conn: Connection, lease: Lease, rows: Rows, *, steps: Mapping[int, int], wall_seconds: float
) -> None:
    """Write rows, and how far each seed is.

    Args:
        conn: A write transaction.
        lease: The writer's.
        rows: Rows of seeds that have ended already are left out: a repeated write changes nothing.
        steps: Seed -> steps trained.
        wall_seconds: Seconds the pack has trained, earlier attempts included.

    Raises:
        LeaseLost: The pack is another's; nothing was written.
        ValueError: A row names a seed that is not of the pack.
    """
    _write(conn, lease, rows, steps, wall_seconds)


def move_checkpoint(
    conn: Connection,
    lease: Lease,
    rows: Rows,
    refs: Sequence[Mapping[str, Any]],
    *,
    steps: Mapping[int, int],
    wall_seconds: float,
) -> None:
    """Write the rows up to a checkpoint and point to its files, together.

    Args:
        conn: A write transaction.
        lease: The writer's.
        rows: As for `write_rows`.
        refs: Mappings with `seed`, `step`, `path`, `sha256` and perhaps `bytes`.
        steps: As for `write_rows`.
        wall_seconds: As for `write_rows`.

    Raises:
        LeaseLost: The pack is another's; nothing was written.
        ValueError: A row names a seed that is not of the pack.
    """
    seeds = _write(conn, lease, rows, steps, wall_seconds)
    _point_to(conn, lease, seeds, refs)
    # Faults are counted between checkpoints: a pack that gets on is never given up for them.
    forgotten = {"infra_attempts": 0, "stalls": 0}
    conn.execute(update(packs).where(packs.c.id == lease.pack_id).values(forgotten))


def end_seed(
    conn: Connection, lease: Lease, rows: Rows, ended: Ended, *, wall_seconds: float
) -> bool:
    """Write a seed's last rows, its final checkpoint and its outcome, together.

    Returns:
        Whether this call ended it; False when it had ended before, and then nothing changed.

    Raises:
        LeaseLost: The pack is another's; nothing was written.
        ValueError: A seed is not of the pack, or the state is no outcome.
    """
    if ended.state not in (SeedState.FINISHED, SeedState.DIVERGED):
        raise ValueError(f"state is {ended.state!r}: must be 'finished' or 'diverged'")
    seeds = _write(conn, lease, rows, {}, wall_seconds)
    if ended.checkpoint is not None:
        _point_to(conn, lease, seeds, [ended.checkpoint])
    facts = {
        "of_seed_run": seeds[ended.seed],
        "as": SeedState(ended.state),
        "because": ended.reason,
        "at_step": ended.step,
        "after_seconds": wall_seconds,
    }
    if ended.engine is not None:
        facts |= {"by_engine": ended.engine, "by_set": ended.instruction_set}
    if conn.execute(_ending(ended.engine is not None), facts).rowcount == 0:
        return False
    keep_verdict(conn, seeds[ended.seed])
    return True


@cache
def _ending(names_engine: bool) -> Update:
    s = seed_runs.c
    engine: dict[str, Any] = {
        "engine": bindparam("by_engine"),
        "instruction_set": bindparam("by_set"),
    }
    return (
        update(seed_runs)
        .where(s.id == bindparam("of_seed_run"), s.state.in_(OPEN_SEEDS))
        .values(
            state=bindparam("as"),
            reason=bindparam("because"),
            error=None,
            steps=bindparam("at_step"),
            wall_seconds=bindparam("after_seconds"),
            finished_at=now(),
            **(engine if names_engine else {}),
        )
    )


def note_engine(
    conn: Connection,
    lease: Lease,
    seeds: Sequence[int],
    *,
    engine: str,
    instruction_set: str | None,
) -> None:
    """Note what computes some seeds from here on. Seeds that have ended keep what computed them.

    Raises:
        LeaseLost: The pack is another's; nothing was written.
        ValueError: A seed is not of the pack.
    """
    renew(conn, lease.pack_id, lease.fence, lease.seconds)
    conn.execute(
        update(seed_runs)
        .where(seed_runs.c.id.in_(_Seeds.of_pack(conn, lease.pack_id).still_open(seeds)))
        .values(engine=engine, instruction_set=instruction_set)
    )


def rewind(conn: Connection, lease: Lease, seeds: Sequence[int], step: int) -> None:
    """Delete the rows of some seeds beyond a step, from which they are trained again.

    Seeds that have ended keep theirs.

    Raises:
        LeaseLost: The pack is another's; nothing was deleted.
        ValueError: A seed is not of the pack.
    """
    renew(conn, lease.pack_id, lease.fence, lease.seconds)
    ids = _Seeds.of_pack(conn, lease.pack_id).still_open(seeds)
    delete_beyond(conn, ids, step)
    s = seed_runs.c
    conn.execute(update(seed_runs).where(s.id.in_(ids), s.steps > step).values(steps=step))


def _write(
    conn: Connection, lease: Lease, rows: Rows, steps: Mapping[int, int], wall_seconds: float
) -> "_Seeds":
    renew(conn, lease.pack_id, lease.fence, lease.seconds, progress=True)
    seeds = _Seeds.of_pack(conn, lease.pack_id)
    for table, measured in rows.by_table():
        _upsert(conn, table, seeds.stored(measured, lease.fence))
    _move_steps(conn, seeds, steps, wall_seconds)
    return seeds


@dataclass(frozen=True, kw_only=True)
class _Seeds:
    """The seed runs of a pack by seed."""

    pack_id: int
    ids: Mapping[int, int]
    open: frozenset[int]

    @classmethod
    def of_pack(cls, conn: Connection, pack_id: int) -> "_Seeds":
        found = conn.execute(_of_pack(), {"of_pack": pack_id}).all()
        return cls(
            pack_id=pack_id,
            ids={row.seed: row.id for row in found},
            open=frozenset(row.seed for row in found if row.state in OPEN_SEEDS),
        )

    def __getitem__(self, seed: int) -> int:
        if seed not in self.ids:
            known = ", ".join(map(str, sorted(self.ids)))
            raise ValueError(f"seed {seed} is not of pack {self.pack_id}, which has {known}")
        return self.ids[seed]

    def still_open(self, seeds: Sequence[int]) -> list[int]:
        """The ids of those that have not ended."""
        return [self[seed] for seed in seeds if self[seed] and seed in self.open]

    def stored(self, rows: Sequence[Measured], fence: int) -> list[dict[str, Any]]:
        """The rows of open seeds as the tables hold them."""
        return [
            {
                **{key: _plain(value) for key, value in row.items() if key != "seed"},
                "seed_run_id": self[row["seed"]],
                "fence": fence,
            }
            for row in rows
            if self[row["seed"]] and row["seed"] in self.open
        ]


@cache
def _of_pack() -> Select[int, int, str]:
    s = seed_runs.c
    return select(s.seed, s.id, s.state).where(s.pack_id == bindparam("of_pack"))


def _plain(value: Any) -> Any:
    """A value as both databases take it: NULL for what is not finite, no numpy scalars."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, Integral) else value


def _upsert(conn: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    conn.execute(_upsertion(table, conn.dialect.name), rows)


@cache
def _upsertion(table: Table, database: str) -> Any:
    dialect = postgresql if database == "postgresql" else sqlite
    statement = dialect.insert(table)
    key = [column.name for column in table.primary_key]
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={c.name: statement.excluded[c.name] for c in table.c if c.name not in key},
        # The lease that the caller renewed is the guard. Fences of other packs do not compare: a
        # seed retried in a new pack starts from a low one.
    )


def _point_to(
    conn: Connection, lease: Lease, seeds: _Seeds, rows: Sequence[Mapping[str, Any]]
) -> None:
    _upsert(conn, checkpoints, seeds.stored(rows, lease.fence))


def _move_steps(
    conn: Connection, seeds: _Seeds, steps: Mapping[int, int], wall_seconds: float
) -> None:
    s = seed_runs.c
    # The seeds of a pack are nearly always at one step: one statement.
    for step, group in groupby(sorted(steps, key=steps.__getitem__), key=steps.__getitem__):
        conn.execute(
            update(seed_runs)
            .where(s.id.in_([seeds[seed] for seed in group]), s.state == SeedState.RUNNING)
            .values(steps=step, wall_seconds=wall_seconds)
        )
