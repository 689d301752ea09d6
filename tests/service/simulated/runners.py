"""Runners: they show life, claim packs for their workers, and end."""

from random import Random

from db import runners
from db.engine import reading
from db.leasing import exhausted
from tests.service.queue_rules import look
from tests.service.simulated.leases import begun, lease
from tests.service.simulated.processes import RUNNER_SECONDS, Runner, Worker
from tests.service.simulated.workers import give_back
from tests.service.simulated.world import World


def run(world: World, random: Random) -> None:
    """A runner shows life, and claims a pack or ends."""
    if not world.runners:
        return
    runner = random.choice(world.sorted_runners())
    if not show_life(world, runner):
        end_runner(world, runner, in_order=False)
    elif world.has_room():
        claim(world, runner)


def show_life(world: World, runner: Runner) -> bool:
    """Whether it is still the sweep's runner."""
    renewed = world.write(
        lambda conn: runners.renew_runner(conn, runner.sweep_id, runner.epoch, RUNNER_SECONDS)
    )
    return renewed is not None


def end_runner(world: World, runner: Runner, *, in_order: bool) -> None:
    """It ends: in order with its packs given back, or killed with its workers left over."""
    if world.runners.get(runner.sweep_id) is runner:
        del world.runners[runner.sweep_id]
    if not in_order:
        world.ghosts.append(runner)
        return
    for worker in runner.workers:
        give_back(world, worker)
    world.write(lambda conn: runners.drop_runner(conn, runner.sweep_id, runner.epoch))


def claim(world: World, runner: Runner) -> None:
    """One look of the searcher at the queue."""
    before = look(world.direct, world.clock.text())
    owner = f"line {next(world.lines)}"
    pack = world.write(lambda conn: lease(conn, runner.sweep_id, owner, runner.epoch))
    if pack is None:
        with reading(world.engine) as conn:
            over = exhausted(conn, runner.sweep_id)
        if over and not runner.workers and runner not in world.ghosts:
            end_runner(world, runner, in_order=True)
        return
    broken = before.broken(runner.sweep_id, pack.pack_id, runner.epoch)
    assert not broken, f"a claim broke a rule: {broken}"
    step = begun(world, pack, before.resumes_at(pack.pack_id))
    worker = Worker(pack=pack, step=step, owner=owner, epoch=runner.epoch)
    world.holders[pack.pack_id] = worker
    runner.workers.append(worker)
