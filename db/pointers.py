"""Which checkpoint files the record still needs, whose they are, and who may be writing more."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from db.errors import SeedRunNotFound
from db.models import checkpoints, packs, seed_runs, sweeps
from db.paging import Row
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


def checkpoint_of(conn: Connection, seed_run_id: int) -> Row | None:
    """Where a seed run's weights lie: `seed_run_id, step, path, sha256, bytes`; None: nowhere.

    Those of a result that was taken over lie with the seed run it was taken from, if that is left.

    Raises:
        SeedRunNotFound: There is no such seed run.
    """
    s, k = seed_runs.c, checkpoints.c
    run: int | None = seed_run_id
    while run is not None:
        query = (
            select(s.reused_from, k.seed_run_id, k.step, k.path, k.sha256, k.bytes)
            .outerjoin(checkpoints, k.seed_run_id == s.id)
            .where(s.id == run)
        )
        found = conn.execute(query).mappings().first()
        if found is None and run == seed_run_id:
            raise SeedRunNotFound(seed_run_id)
        if found is not None and found["path"] is not None:
            return {key: value for key, value in found.items() if key != "reused_from"}
        run = found["reused_from"] if found is not None else None
    return None
