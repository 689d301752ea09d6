"""The scheduler: it takes packs back and does what the real `reconcile` says."""

from random import Random
from typing import Any

from sqlalchemy import Connection

from db import runners, transitions
from db.engine import reading
from db.errors import WrongState
from db.giving_back import expire_leases, take_stalled
from service.control.reconcile import (
    Finish,
    Forget,
    Rest,
    RunnerFacts,
    Start,
    Stop,
    SweepFacts,
    reconcile,
)
from tests.service.simulated.processes import RUNNER_SECONDS, STALL_SECONDS, Runner
from tests.service.simulated.runners import end_runner
from tests.service.simulated.world import World


def tick(world: World, random: Random) -> None:
    """One look of the scheduler, which may die between any two of its actions."""
    leased = world.rows("SELECT id FROM packs WHERE state = 'leased'")
    before = {pack_id: world.charged(pack_id) for (pack_id,) in leased}
    expired = world.write(expire_leases)
    for pack_id in expired:
        world.taken_back(pack_id, before[pack_id], fault=True)
    stalled = world.write(lambda conn: take_stalled(conn, STALL_SECONDS))
    for pack_id in (*expired, *stalled):
        world.holders.pop(pack_id, None)
    with reading(world.engine) as conn:
        rows = {row["id"]: row for row in runners.sweeps_to_reconcile(conn)}
    for action in reconcile([_facts(world, row) for row in rows.values()]):
        if random.random() < 0.1:
            return
        try:
            _perform(world, action, rows[action.sweep_id])
        except WrongState:
            continue


def start_runner(world: World, sweep_id: str) -> None:
    """A runner registers itself."""

    def register(conn: Connection) -> int:
        epoch = runners.register_runner(
            conn, sweep_id, host="h", pid=1, pid_started=1, lease_seconds=RUNNER_SECONDS
        )
        transitions.start_sweep(conn, sweep_id)
        return epoch

    former = world.rows(f"SELECT runner_epoch FROM sweeps WHERE id = '{sweep_id}'")[0][0]
    epoch = world.write(register)
    assert epoch > former, "a new runner must fence the former ones off"
    world.runners[sweep_id] = Runner(sweep_id=sweep_id, epoch=epoch)


def _facts(world: World, row: dict[str, Any]) -> SweepFacts:
    """What the real scheduler would know."""
    runner = world.runners.get(row["id"])
    known = None
    if runner is not None or row["epoch"] is not None:
        known = RunnerFacts(
            here=True,
            alive=runner is not None,
            fresh=bool(row["runner_alive"]),
            current=runner is not None and runner.epoch == row["runner_epoch"],
            adoptable=True,
        )
    return SweepFacts(
        sweep_id=row["id"],
        state=row["state"],
        desired=row["desired"],
        priority=row["priority"],
        most_trials=row["max_concurrent_trials"],
        pending=row["packs_claimable"] + row["packs_waiting"],
        leased=row["packs_leased"],
        runner=known,
    )


def _perform(world: World, action: Any, row: dict[str, Any]) -> None:
    """What the real scheduler does."""
    sweep_id = action.sweep_id
    match action:
        case Start():
            start_runner(world, sweep_id)
        case Stop(at_once=at_once):
            runner = world.runners[sweep_id]
            runner.asked += 1
            if at_once or runner.asked > 2:
                end_runner(world, runner, in_order=at_once)
        case Finish():
            world.write(lambda conn: transitions.finish_sweep(conn, sweep_id))
        case Rest():
            world.write(lambda conn: transitions.rest_sweep(conn, sweep_id))
        case Forget():
            world.write(lambda conn: runners.drop_runner(conn, sweep_id, row["epoch"]))
