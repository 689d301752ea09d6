"""Workers: what a trial does next, each write held against the model."""

from collections.abc import Callable
from random import Random
from typing import Any

from sqlalchemy import Connection

from db import transitions
from db.errors import LeaseLost
from db.giving_back import Fate, fail_pack, release_held, release_pack
from db.leasing import ClaimedPack, complete_pack, forget_checkpoints, is_done, renew
from db.recording import Ended, Rows, end_seed, move_checkpoint, rewind, write_rows
from db.states import TRAINING, PackState
from tests.db.record import evaluation
from tests.service.queue_rules import look
from tests.service.simulated.leases import begun, lease
from tests.service.simulated.processes import LEASE_SECONDS, Worker
from tests.service.simulated.world import POISON, STEPS, World


def work(world: World, random: Random) -> None:
    """Some worker does the next thing."""
    workers = [(each, one) for each in world.runners.values() for one in each.workers]
    if not workers:
        return
    runner, worker = random.choice(workers)
    if not act(world, worker, random):
        runner.workers.remove(worker)


def act(world: World, worker: Worker, random: Random) -> bool:
    """What a trial does next; whether the worker goes on."""
    try:
        if worker.hung or random.random() < 0.2:
            return _show_life(world, worker)
        return _train(world, worker, random)
    except LeaseLost:
        return False


def give_back(world: World, worker: Worker, error: str | None = None) -> None:
    """Release a pack, harmlessly when it is another's."""
    pack = worker.pack
    charged = world.charged(pack.pack_id)
    fate = world.write(lambda conn: release_pack(conn, pack.pack_id, pack.fence, error))
    if fate != Fate.LOST:
        assert world.holders.pop(pack.pack_id) is worker
        world.taken_back(pack.pack_id, charged, fault=error is not None)


def end_line(world: World, worker: Worker) -> None:
    """Release what a worker holds now, as its runner would, which knows only its name."""
    held = [pack for pack, holder in world.holders.items() if holder is worker]
    before = {pack: world.charged(pack) for pack in held}
    fate = world.write(
        lambda conn: release_held(
            conn,
            worker.pack.sweep_id,
            owner=worker.owner,
            epoch=worker.epoch,
            error="the worker died",
        )
    )
    world.over.add(worker.owner)
    if fate != Fate.LOST:
        assert held == [worker.pack.pack_id], "another's pack was given back"
        del world.holders[held[0]]
        world.taken_back(held[0], before[held[0]], fault=True)


def _show_life(world: World, worker: Worker) -> bool:
    wish = _accepted(
        world,
        worker,
        lambda conn: renew(conn, worker.pack.pack_id, worker.pack.fence, LEASE_SECONDS),
    )
    worker.leaving = wish not in TRAINING
    return True


def _train(world: World, worker: Worker, random: Random) -> bool:
    """One step of all seeds that go on, with its rows; perhaps a checkpoint; the end."""
    pack, active = worker.pack, worker.active
    if not active:
        return _complete(world, worker, random)
    if random.random() < 0.05:
        early = _accepted(
            world,
            worker,
            lambda conn: complete_pack(conn, pack.pack_id, pack.fence),
            renews=False,
        )
        assert not early, "a pack was done before its seeds"
    if worker.step == 2 and set(active) & set(POISON):
        return _fail(world, worker)
    if worker.step == STEPS:
        _end(world, worker, active[0], random)
        return True
    if random.random() < 0.05:
        return _go_back(world, worker, random)
    worker.step += 1
    return _write(world, worker, random)


def _write(world: World, worker: Worker, random: Random) -> bool:
    """The rows of the step reached, with or without a checkpoint; whether the worker goes on."""
    active = worker.active
    rows = Rows(evaluations=[evaluation(seed, worker.step) for seed in active])
    steps = dict.fromkeys(active, worker.step)
    if worker.leaving or random.random() < 0.5:
        return _point(world, worker, rows, random)
    _accepted(
        world,
        worker,
        lambda conn: write_rows(conn, worker.lease, rows, steps=steps, wall_seconds=1.0),
        repeat=random.random() < 0.3,
    )
    return True


def _point(world: World, worker: Worker, rows: Rows, random: Random) -> bool:
    """The rows up to a checkpoint and the pointers to it; whether the worker goes on.

    Now and then it is killed in the middle of them. A trial moves all pointers in one transaction,
    but whoever claims the pack next does not rely on it.
    """
    active, repeat = worker.active, random.random() < 0.3
    killed = len(active) > 1 and random.random() < 0.1
    moved = random.sample(active, random.randrange(1, len(active))) if killed else active
    refs = [{"seed": seed, "step": worker.step, "path": "f", "sha256": "0"} for seed in moved]
    steps = dict.fromkeys(active, worker.step)
    _accepted(
        world,
        worker,
        lambda conn: move_checkpoint(conn, worker.lease, rows, refs, steps=steps, wall_seconds=1.0),
        repeat=repeat,
    )
    if killed:
        return False
    if worker.leaving:
        give_back(world, worker)
    return not worker.leaving


def _fail(world: World, worker: Worker) -> bool:
    """The training raised: a fate that is decided only for the holder."""
    pack = worker.pack
    fate = world.write(lambda conn: fail_pack(conn, pack.pack_id, pack.fence, "it raised"))
    if fate != Fate.LOST:
        assert world.holders.pop(pack.pack_id) is worker
    return False


def _complete(world: World, worker: Worker, random: Random) -> bool:
    """The pack is done, or was found to be by a claim that looked for open seeds."""
    pack, held = worker.pack, world.holds(worker)
    if not worker.leaving and random.random() < 0.7:
        return _go_on(world, worker, repeat=random.random() < 0.3)
    assert world.write(lambda conn: complete_pack(conn, pack.pack_id, pack.fence))
    holder = world.holders.pop(pack.pack_id, None)
    assert holder is worker or not held, "a pack was completed under an old fence"
    if random.random() < 0.2:
        # Its process dies before Tune hears of the end.
        fate = world.write(lambda conn: release_pack(conn, pack.pack_id, pack.fence, "died"))
        assert fate == Fate.LOST, "a pack that is done was given back"
    return False


def _go_on(world: World, worker: Worker, *, repeat: bool) -> bool:
    """Complete the pack and lease the next, in one transaction; whether there was one."""
    done, held = worker.pack, world.holds(worker)
    before = look(world.direct, world.clock.text())
    before.packs[done.pack_id]["state"] = PackState.DONE

    def act(conn: Connection) -> ClaimedPack | None:
        again = is_done(conn, done.pack_id, done.fence)
        assert again or complete_pack(conn, done.pack_id, done.fence)
        return lease(conn, done.sweep_id, worker.owner, worker.epoch, again=again)

    pack = world.write(act)
    holder = world.holders.pop(done.pack_id, None)
    assert holder is worker or not held, "a pack was completed under an old fence"
    if pack is None:
        return False
    broken = before.broken(done.sweep_id, pack.pack_id, worker.epoch)
    assert not broken, f"a line went on against a rule: {broken}"
    assert worker.owner not in world.over, "a line went on that was ended"
    step = begun(world, pack, before.resumes_at(pack.pack_id))
    if repeat:  # the answer to the commit was lost
        pack, first = world.write(act), pack
        assert (pack.pack_id, pack.fence) == (first.pack_id, first.fence + 1)
    worker.pack, worker.step, worker.ended = pack, step, set()
    world.holders[pack.pack_id] = worker
    return True


def _end(world: World, worker: Worker, seed: int, random: Random) -> None:
    """One seed has ended."""
    state = "diverged" if seed == 1 else "finished"
    ended = Ended(seed=seed, state=state, step=STEPS, reason="the last step")
    _accepted(
        world,
        worker,
        lambda conn: end_seed(conn, worker.lease, Rows(), ended, wall_seconds=1.0),
        repeat=random.random() < 0.3,
    )
    worker.ended.add(seed)
    if random.random() < 0.3:
        # A scheduler looks just now.
        world.write(lambda conn: transitions.finish_sweep(conn, worker.pack.sweep_id))


def _go_back(world: World, worker: Worker, random: Random) -> bool:
    """Out of memory: again from the start, or a damaged checkpoint."""
    pack = worker.pack
    if random.random() < 0.5:
        _accepted(
            world,
            worker,
            lambda conn: forget_checkpoints(conn, pack.pack_id, pack.fence),
            renews=False,
        )
        give_back(world, worker, "a damaged checkpoint")
        return False
    at = world.rows(
        f"SELECT MIN(COALESCE(k.step, 0)) FROM seed_runs r LEFT JOIN checkpoints k "
        f"ON k.seed_run_id = r.id WHERE r.pack_id = {pack.pack_id} AND r.state = 'running'"
    )[0][0]
    if at is not None:
        step = int(at)
        _accepted(world, worker, lambda conn: rewind(conn, worker.lease, worker.active, step))
        worker.step = step
    return True


def _accepted(
    world: World,
    worker: Worker,
    act: Callable[[Connection], Any],
    *,
    repeat: bool = False,
    renews: bool = True,
) -> Any:
    """A write that the record took; the model must agree that the worker was the holder."""
    result = world.write(act)
    holder = world.holders.get(worker.pack.pack_id)
    assert holder is worker, "a row was written under an old fence"
    if world.holds(worker) and renews:
        ((until,),) = world.rows(f"SELECT lease_until FROM packs WHERE id = {worker.pack.pack_id}")
        assert until == world.clock.text(LEASE_SECONDS), "a write must renew the lease"
    if repeat:  # the answer to the commit was lost
        world.write(act)
    return result
