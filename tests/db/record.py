"""Sweeps and rows to fill a record with, for the tests of this folder."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, select

from db.engine import reading, writing
from db.leasing import ClaimedPack, claim_pack, complete_pack
from db.models import packs, seed_runs
from db.recording import Ended, Lease, Rows, end_seed
from db.submission import NewConfiguration, NewPack, NewSweep, submit

LENGTH = 201
LEASE_SECONDS = 30.0

T = TypeVar("T")
_serial = count()


def new_sweep(
    *,
    configurations: int = 1,
    seeds: int = 2,
    together: int = 1,
    max_steps: int = 1000,
    **changes: Any,
) -> NewSweep:
    """A sweep of configurations × seeds, `together` seeds a pack; each call another digest."""
    digest = f"digest-{next(_serial)}"
    values: dict[str, Any] = {
        "name": "figure2",
        "digest": digest,
        "spec": {"name": "figure2", "seeds": {"first": 0, "count": seeds}},
        "labels": {"paper": "arXiv:1611.00736"},
        "configurations": [
            NewConfiguration(
                position=position,
                digest=f"{digest}-{position}",
                label=f"{24 * (position + 1)} · classical",
                axes={"filters": str(24 * (position + 1)), "variant": "classical"},
                run={"model": {"family": "neural_gpu", "filters": 24 * (position + 1)}},
                max_steps=max_steps,
            )
            for position in range(configurations)
        ],
        "packs": [
            pack for position in range(configurations) for pack in _packs(position, seeds, together)
        ],
        "success_length": LENGTH,
        "success_below": 0.01,
        "code_version": "v0",
    }
    return NewSweep(**{**values, **changes})


def _packs(position: int, seeds: int, together: int) -> Iterable[NewPack]:
    for first in range(0, seeds, together):
        yield NewPack(configuration=position, seeds=range(first, min(first + together, seeds)))


def submitted(engine: Engine, **changes: Any) -> str:
    """The id of a fresh sweep."""
    with writing(engine) as conn:
        return submit(conn, new_sweep(**changes))[0]


def claim(engine: Engine, sweep_id: str, *, epoch: int = 1) -> ClaimedPack | None:
    """One claim in a transaction of its own."""
    with writing(engine) as conn:
        return claim_pack(
            conn, sweep_id, owner=f"test {epoch}", epoch=epoch, lease_seconds=LEASE_SECONDS
        )


def claimed(engine: Engine, sweep_id: str, *, epoch: int = 1) -> ClaimedPack:
    """One claim that must succeed."""
    pack = claim(engine, sweep_id, epoch=epoch)
    assert pack is not None
    return pack


def lease_of(pack: ClaimedPack) -> Lease:
    return Lease(pack_id=pack.pack_id, fence=pack.fence, seconds=LEASE_SECONDS)


def evaluation(seed: int, step: int, wrong: int = 128, **changes: Any) -> dict[str, Any]:
    """A test of 128 sequences of 202 symbols each."""
    values = {
        "seed": seed,
        "step": step,
        "task": "badd",
        "length": LENGTH,
        "sequences": 128,
        "wrong_sequences": wrong,
        "symbols": 128 * 202,
        "wrong_symbols": wrong,
    }
    return {**values, **changes}


def epoch(seed: int, step: int, **changes: Any) -> dict[str, Any]:
    """A training epoch."""
    values = {
        "seed": seed,
        "step": step,
        "task": "badd",
        "length": 12,
        "curriculum_length": 9,
        "loss": 0.5,
        "sequences": 64,
        "wrong_sequences": 16,
        "symbols": 640,
        "wrong_symbols": 64,
        "learning_rate": 0.001,
        "pull": 0.0005,
    }
    return {**values, **changes}


def end(
    engine: Engine, pack: ClaimedPack, seed: int, state: str = "finished", step: int = 1000
) -> bool:
    """End one seed without more rows."""
    ended = Ended(seed=seed, state=state, step=step, reason="the last step")
    with writing(engine) as conn:
        return end_seed(conn, lease_of(pack), Rows(), ended, wall_seconds=10.0)


def trained(engine: Engine, pack: ClaimedPack) -> None:
    """End every seed of a pack, and the pack."""
    for seed in pack.seeds:
        end(engine, pack, seed)
    with writing(engine) as conn:
        assert complete_pack(conn, pack.pack_id, pack.fence)


def ask(engine: Engine, question: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """A named query in a transaction of its own."""
    with reading(engine) as conn:
        return question(conn, *arguments, **options)


def states(engine: Engine, sweep_id: str) -> dict[int, str]:
    """Seed -> state, of a sweep with one configuration."""
    s = seed_runs.c
    with reading(engine) as conn:
        found = conn.execute(select(s.seed, s.state).where(s.sweep_id == sweep_id)).all()
    return {row.seed: row.state for row in found}


def pack_states(engine: Engine, sweep_id: str) -> list[str]:
    """The states of a sweep's packs in the order they were made."""
    query = select(packs.c.state).where(packs.c.sweep_id == sweep_id).order_by(packs.c.id)
    with reading(engine) as conn:
        return list(conn.execute(query).scalars())


def number(conn: Connection, table: Any) -> int:
    """How many rows a table has."""
    return conn.execute(select(func.count()).select_from(table)).scalar_one()


def at_once(workers: int, act: Callable[[int], T]) -> list[T]:
    """The results of `act(0)`, `act(1)`, … on that many threads."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(act, range(workers)))
