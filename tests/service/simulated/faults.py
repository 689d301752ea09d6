"""Who dies, hangs, comes back, or acts on what is no longer so."""

from collections.abc import Callable
from random import Random
from typing import Any

from db import transitions
from db.errors import WrongState
from tests.service.simulated.runners import claim, end_runner
from tests.service.simulated.scheduler import start_runner
from tests.service.simulated.workers import act, end_line
from tests.service.simulated.world import World


def crash(world: World, random: Random) -> None:
    """A worker dies silently, hangs or is noticed dead; or a runner is killed."""
    if not world.runners:
        return
    runner = random.choice(world.sorted_runners())
    if not runner.workers or random.random() < 0.2:
        end_runner(world, runner, in_order=random.random() < 0.3)
        return
    worker = random.choice(runner.workers)
    fate = random.choice(["silent", "hung", "noticed", "zombie"])
    if fate == "hung":
        worker.hung = True
        return
    runner.workers.remove(worker)
    if fate == "zombie":
        world.zombies.append(worker)
    elif fate == "noticed":
        end_line(world, worker)
        if random.random() < 0.5:
            world.zombies.append(worker)  # it had only been cut off


def zombie(world: World, random: Random) -> None:
    """A worker that everyone thinks dead does the next thing."""
    if world.zombies:
        worker = random.choice(world.zombies)
        if not act(world, worker, random):
            world.zombies.remove(worker)


def ghost(world: World, random: Random) -> None:
    """A runner that everyone thinks dead goes on, or really dies and leaves its workers."""
    if not world.ghosts:
        return
    runner = random.choice(world.ghosts)
    if random.random() < 0.4:
        world.ghosts.remove(runner)
        world.zombies += runner.workers
    elif runner.workers and random.random() < 0.5:
        worker = random.choice(runner.workers)
        if not act(world, worker, random):
            runner.workers.remove(worker)
    else:
        claim(world, runner)


def stale(world: World, random: Random) -> None:
    """Another scheduler, or one whose facts are old, acts: the guards decide, not the facts."""
    ids = sorted(world.expected)
    if not ids:
        return
    sweep_id = random.choice(ids)
    acts: list[Callable[[], Any]] = [
        lambda: world.write(lambda conn: transitions.finish_sweep(conn, sweep_id)),
        lambda: world.write(lambda conn: transitions.rest_sweep(conn, sweep_id)),
        lambda: world.write(lambda conn: transitions.start_sweep(conn, sweep_id)),
        lambda: _replace(world, sweep_id),
    ]
    try:
        random.choice(acts)()
    except WrongState:
        return


def wait(world: World, random: Random) -> None:
    """Time passes."""
    world.clock.seconds += random.choice([0.5, 2.0, 5.0, 31.0])


def _replace(world: World, sweep_id: str) -> None:
    """A second runner registers itself while the first one lives."""
    former = world.runners.get(sweep_id)
    start_runner(world, sweep_id)
    if former is not None:
        world.ghosts.append(former)
