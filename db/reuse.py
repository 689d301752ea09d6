"""Taking over seed runs that were trained before: same configuration, same seed, same code.

A seed's result does not depend on its sweep, so it need not be computed again. The rows are copied:
each sweep stays whole when another is deleted. Checkpoints stay with the sweep that wrote them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, exists, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.leasing import MEASURED
from db.models import configurations, packs, seed_runs
from db.states import OPEN_SEEDS, RESULTS, PackState, SeedState
from db.verdicts import keep_verdicts

#: Columns that tell how a seed run was trained, and what came of it.
_TOLD = (
    "state", "steps", "wall_seconds", "reason", "attempts", "started_at", "finished_at",
    "code_version", "host", "engine", "instruction_set",
)  # fmt: skip


def names_code(code_version: str) -> bool:
    """Whether a version says which code it is: that of a changed checkout does not."""
    return code_version != "unknown" and not code_version.endswith("-dirty")


def reusable(
    conn: Connection, digests: Sequence[str], seeds: range, code_version: str
) -> Mapping[str, int]:
    """How many of some seeds have a result already.

    Args:
        conn: A connection.
        digests: Of configurations.
        seeds: Consecutive seeds.
        code_version: The code that would train them.

    Returns:
        Configuration digest -> its seeds with a result; nothing for a digest without any.
    """
    if not names_code(code_version):
        return {}
    s, c = seed_runs.c, configurations.c
    found = conn.execute(
        select(c.digest, func.count(s.seed.distinct()).label("seeds"))
        .join(seed_runs, s.configuration_id == c.id)
        .where(
            c.digest.in_(set(digests)),
            s.seed >= seeds.start,
            s.seed < seeds.stop,
            s.state.in_(RESULTS),
            s.code_version == code_version,
        )
        .group_by(c.digest)
    )
    return {row.digest: row.seeds for row in found}


def reuse_results(conn: Connection, sweep_id: str, code_version: str) -> int:
    """Give pending seed runs that no worker has held the results of equal ones of other sweeps.

    Args:
        conn: The write transaction that made the seed runs.
        sweep_id: Their sweep.
        code_version: The code that would train them.

    Returns:
        The number of seed runs that need no training.
    """
    if not names_code(code_version) or not conn.execute(_any(sweep_id, code_version)).scalar_one():
        return 0
    source, s = seed_runs.alias("source"), seed_runs.c
    taken = conn.execute(
        update(seed_runs)
        .where(
            s.sweep_id == sweep_id,
            s.state == SeedState.PENDING,
            s.attempts == 0,
            source.c.seed == s.seed,
            source.c.id == _first_equal(code_version).scalar_subquery(),
        )
        .values({name: source.c[name] for name in _TOLD} | {"reused_from": source.c.id})
        .returning(s.id)
    )
    ids = list(taken.scalars())
    for table in MEASURED:
        _copy(conn, table, sweep_id)
    keep_verdicts(conn, sweep_id)
    _close_packs(conn, sweep_id)
    return len(ids)


def _any(sweep_id: str, code_version: str) -> Select[Any]:
    """Whether any other sweep has results of one of the sweep's configurations."""
    mine, theirs, s = configurations.alias().c, configurations.alias().c, seed_runs.c
    return select(
        exists().where(
            mine.sweep_id == sweep_id,
            theirs.digest == mine.digest,
            theirs.sweep_id != sweep_id,
            s.configuration_id == theirs.id,
            s.state.in_(RESULTS),
            s.code_version == code_version,
        )
    )


def _first_equal(code_version: str) -> Select[Any]:
    """The oldest result of the same configuration and seed; correlated to `seed_runs`."""
    equal, theirs = seed_runs.alias("equal").c, configurations.alias("theirs").c
    mine = configurations.alias("mine").c
    return (
        select(func.min(equal.id))
        .where(
            mine.id == seed_runs.c.configuration_id,
            theirs.digest == mine.digest,
            theirs.sweep_id != seed_runs.c.sweep_id,
            equal.configuration_id == theirs.id,
            equal.seed == seed_runs.c.seed,
            equal.state.in_(RESULTS),
            equal.code_version == code_version,
        )
        .correlate(seed_runs)
    )


def _copy(conn: Connection, table: Table, sweep_id: str) -> None:
    """Copy what was measured of the reused seed runs that have no rows of their own yet."""
    # Rows of no pack's lease: their fence is 0.
    own = {"seed_run_id": seed_runs.c.id, "fence": literal(0)}
    rows = (
        select(*(own.get(column.name, column).label(column.name) for column in table.c))
        .join(seed_runs, seed_runs.c.reused_from == table.c.seed_run_id)
        .where(seed_runs.c.sweep_id == sweep_id)
    )
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).from_select(table.c.keys(), rows)
    conn.execute(statement.on_conflict_do_nothing())


def _close_packs(conn: Connection, sweep_id: str) -> None:
    """End the packs that nothing is left to train of."""
    open_seed = exists().where(seed_runs.c.pack_id == packs.c.id, seed_runs.c.state.in_(OPEN_SEEDS))
    conn.execute(
        update(packs)
        .where(packs.c.sweep_id == sweep_id, packs.c.state == PackState.PENDING, ~open_seed)
        .values(state=PackState.DONE)
    )
