"""Runner, worker, scheduler and Ray die or stand still in the middle of a sweep."""

import random
import signal
import time

import pytest

from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec

both_databases = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
RUNNER_GOAL = WORKER_GOAL = SCHEDULER_GOAL = 10.0
HEAD_GOAL = 30.0


@pytest.mark.case(5, "SIGKILL to the runner at 5 moments on Ray, 20 in its own process")
@pytest.mark.parametrize(("runner", "kills"), [("ray", 5), ("local", 20)])
@both_databases
@pytest.mark.timeout(600)
def test_the_runner_is_killed_again_and_again(
    build: Build, entry: Entry, runner: str, kills: int
) -> None:
    moments = random.Random(5)
    stand = build(runner)
    stand.submit(spec(steps=24_000))
    stand.start()
    gone: list[int] = []
    for _ in range(kills):
        stand.wait_for_training()
        time.sleep(moments.uniform(0, 1))
        held = stand.held()
        gone += injections.kill_runner(stand.pid)
        if held:
            entry.recovered(stand.wait_for_new_fences(held), RUNNER_GOAL)
    entry.fired(f"{len(gone)} pids gone", len(set(gone)) == kills)
    entry.fired(f"fences {stand.service.fences(stand.sweep)}")
    stand.settle(seconds=300)
    stand.end()


@pytest.mark.case(6, "SIGKILL, SIGSEGV or SIGABRT to every worker")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
@both_databases
def test_workers_die(build: Build, entry: Entry, name: str) -> None:
    stand = build()
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    held = stand.held()
    gone = injections.kill_worker(stand.pid, signal.Signals[name])
    entry.fired(f"{len(gone)} worker pids gone", len(gone) == 2)
    entry.recovered(stand.wait_for_new_fences(held), WORKER_GOAL)
    counted = stand.service.packs(stand.sweep)
    entry.fired(
        "counted as infrastructure, nothing charged",
        all(row.infra_attempts >= 1 or row.fence > 1 for row in counted)
        and not any(row.user_attempts for row in counted),
    )
    stand.settle()
    stand.end()
