"""One life of a world: steps at random, then everybody's work to its end."""

from collections.abc import Callable, Sequence
from random import Random

from sqlalchemy import Connection

from db import transitions
from db.errors import WrongState
from db.states import Desired
from tests.service.simulated import faults, scheduler, users, workers
from tests.service.simulated import runners as running
from tests.service.simulated.checks import check, check_end
from tests.service.simulated.world import World

#: What may happen next, and how often it does.
ACTS: Sequence[tuple[int, Callable[[World, Random], None]]] = (
    (3, users.wish),
    (4, scheduler.tick),
    (6, running.run),
    (12, workers.work),
    (6, faults.zombie),
    (2, faults.ghost),
    (1, faults.stale),
    (3, faults.crash),
    (2, faults.wait),
)
_BY_CHANCE = [act for weight, act in ACTS for _ in range(weight)]
#: Rounds in which everything must have ended that is left to itself.
ROUNDS = 400


def live(numbers: Sequence[int]) -> None:
    """One world, from nothing to the end of all its sweeps; each number decides one step."""
    world = World()
    try:
        users.submit(world, Random(0))
        scheduler.tick(world, Random(0))
        for number in numbers:
            random = Random(number)
            random.choice(_BY_CHANCE)(world, random)
            check(world)
        _settle(world)
    finally:
        world.close()


def _settle(world: World) -> None:
    """Everybody does his work until nothing is left to do; then everything has ended."""
    random = Random(0)
    for _ in range(ROUNDS):
        for sweep_id in world.expected:
            world.write(lambda conn, sweep_id=sweep_id: _resume_if_paused(conn, sweep_id))
        world.clock.seconds += 5.0
        scheduler.tick(world, Random(1))
        for runner in list(world.runners.values()):
            running.show_life(world, runner)
            if world.has_room():
                running.claim(world, runner)
        _all_work(world, random)
        check(world)
        if not world.runners and not world.unended():
            break
    check_end(world)


def _all_work(world: World, random: Random) -> None:
    for runner in list(world.runners.values()):
        for worker in list(runner.workers):
            worker.leaving = False
            if worker.hung and not world.holds(worker):
                runner.workers.remove(worker)  # it noticed that its lease is lost
            elif not workers.act(world, worker, random):
                runner.workers.remove(worker)


def _resume_if_paused(conn: Connection, sweep_id: str) -> None:
    if transitions.lock_sweep(conn, sweep_id).desired == Desired.PAUSE:
        try:
            transitions.resume(conn, sweep_id)
        except WrongState:
            return
