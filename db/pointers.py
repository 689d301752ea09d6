"""Which checkpoint files the record still needs, and who may be writing more."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from db.models import checkpoints, packs, seed_runs, sweeps
from db.states import PackState


@dataclass(frozen=True, kw_only=True)
class Needed:
    """What must stay of one sweep's checkpoint files."""

    #: Paths that rows point to.
    paths: frozenset[str]
    #: (pack, fence) of the leases that are held: only their holders can still be pointed to.
    leases: frozenset[tuple[int, int]]


def needed_checkpoints(conn: Connection, sweep_id: str) -> Needed:
    """What must stay of a sweep's checkpoint files."""
    pointed = (
        select(checkpoints.c.path)
        .join(seed_runs, seed_runs.c.id == checkpoints.c.seed_run_id)
        .where(seed_runs.c.sweep_id == sweep_id)
    )
    held = select(packs.c.id, packs.c.fence).where(
        packs.c.sweep_id == sweep_id, packs.c.state == PackState.LEASED
    )
    return Needed(
        paths=frozenset(conn.execute(pointed).scalars()),
        leases=frozenset((row.id, row.fence) for row in conn.execute(held)),
    )


def known_sweeps(conn: Connection, ids: Iterable[str]) -> set[str]:
    """Those of the ids that are sweeps."""
    return set(conn.execute(select(sweeps.c.id).where(sweeps.c.id.in_(list(ids)))).scalars())
