"""What users wish: sweeps, and changes of their minds."""

from collections.abc import Callable
from random import Random
from typing import Any

from db import submission, transitions
from db.errors import WrongState
from db.submission import NewPack
from tests.db.record import new_sweep
from tests.service.simulated.world import STEPS, World


def wish(world: World, random: Random) -> None:
    """Somebody wishes something."""
    ids = sorted(world.expected)
    if not ids or (len(ids) < 3 and random.random() < 0.5):
        return submit(world, random)
    sweep_id = random.choice(ids)
    wishes: list[Callable[[], Any]] = [
        lambda: world.write(lambda conn: transitions.pause(conn, sweep_id)),
        lambda: world.write(lambda conn: transitions.resume(conn, sweep_id)),
        lambda: world.write(lambda conn: transitions.resume(conn, sweep_id)),
        lambda: world.write(lambda conn: transitions.stop(conn, sweep_id)),
        lambda: _cancel(world, sweep_id),
        lambda: _retry(world, sweep_id, random.random() < 0.7),
        lambda: _extend(world, sweep_id),
        lambda: world.write(
            lambda conn: transitions.prioritize(conn, sweep_id, random.randrange(3))
        ),
    ]
    try:
        random.choice(wishes)()
    except WrongState:
        return None


def submit(world: World, random: Random) -> None:
    """Another sweep."""
    seeds, together = random.randrange(1, 7), random.randrange(1, 4)
    new = new_sweep(
        seeds=seeds,
        together=together,
        max_steps=STEPS,
        max_failures=random.randrange(1, 3),
        max_failed_seeds=random.choice([None, None, 0, 2]),
        max_concurrent_trials=random.choice([None, None, 1]),
        priority=random.randrange(2),
    )
    with world.deterministic():
        sweep_id, _ = world.write(lambda conn: submission.submit(conn, new))
    world.expected[sweep_id] = seeds


def _cancel(world: World, sweep_id: str) -> None:
    """The end, at once."""
    world.write(lambda conn: transitions.cancel(conn, sweep_id))
    for pack_id, worker in list(world.holders.items()):
        if worker.pack.sweep_id == sweep_id:
            del world.holders[pack_id]


def _retry(world: World, sweep_id: str, cancelled: bool) -> None:
    """Another chance for what has no result."""
    world.write(lambda conn: submission.retry(conn, sweep_id, include_cancelled=cancelled))


def _extend(world: World, sweep_id: str) -> None:
    """One seed more."""
    pack = NewPack(configuration=0, seeds=[world.expected[sweep_id]])
    world.expected[sweep_id] += world.write(
        lambda conn: submission.extend(conn, sweep_id, spec={}, packs=[pack], code_version="v")
    )
