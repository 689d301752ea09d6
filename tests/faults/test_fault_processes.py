"""Runner, worker, scheduler and Ray die or stand still in the middle of a sweep."""

import random
import signal
import time

import psutil
import pytest

from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec
from tests.service.live import alive

both_databases = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
#: Seconds to the first row written after the fault.
GOAL = 10.0
HEAD_GOAL = 30.0
#: Seconds of a lease, and beyond it for the scheduler to take it back and a pause of one second.
LEASE = 30.0


@pytest.mark.case(3, "SIGKILL to the scheduler below `ngpu serve`")
@both_databases
def test_the_scheduler_dies(build: Build, entry: Entry) -> None:
    stand = build()
    stand.submit(spec())
    stand.start(web=True)
    stand.wait_for_training()
    runners = stand.service.named(injections.RUNNER)
    held = stand.held()
    gone = injections.kill_scheduler(stand.pid)
    entry.fired(f"scheduler's pid {len(gone)} gone", len(gone) == 1)
    # Ray and its driver live no longer than the scheduler that started them.
    entry.recovered(stand.wait_for_new_fences(held), HEAD_GOAL)
    entry.fired("its runner ended with it", not any(map(alive, runners)))
    stand.settle()
    stand.end()


@pytest.mark.case(4, "Two schedulers on one record; SIGKILL to the one that leads")
@both_databases
def test_two_schedulers(build: Build, entry: Entry) -> None:
    first, second = build("local"), build("local")
    first.submit(spec())
    first.start()
    second.start()
    first.wait_for_training()
    time.sleep(3)
    leader, other = (first, second) if first.service.named(injections.RUNNER) else (second, first)
    entry.fired("one of two has a runner", not other.service.named(injections.RUNNER))
    held = first.held()
    assert leader.service.process is not None
    runners = leader.service.descendants()
    leader.service.process.kill()
    leader.service.process.wait()
    entry.recovered(first.wait_for_new_fences(held), GOAL)
    entry.fired("the leader's pid and its runner's are gone", not any(map(alive, runners)))
    entry.fired("the other leads", len(other.service.named(injections.RUNNER)) == 1)
    first.settle()
    other.end()


@pytest.mark.case(5, "SIGKILL to the runner, again and again at random moments")
@pytest.mark.parametrize(("runner", "kills"), [("ray", 4), ("local", 16)])
@both_databases
@pytest.mark.timeout(900)
def test_the_runner_is_killed_again_and_again(
    build: Build, entry: Entry, runner: str, kills: int
) -> None:
    moments = random.Random(5)
    stand = build(runner)
    stand.submit(spec())
    stand.start()
    gone: set[int] = set()
    for _ in range(kills):
        stand.wait_for_training()
        time.sleep(moments.uniform(0, 1))
        held = stand.held()
        if not held:
            break  # the sweep has ended under the kills
        gone.update(injections.kill_runner(stand.pid))
        entry.recovered(stand.wait_for_new_fences(held), GOAL)
    entry.fired(f"{len(gone)} pids gone", len(gone) >= kills // 2)
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"fences {fences}", sum(fences) >= len(gone))
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
    entry.recovered(stand.wait_for_new_fences(held), GOAL)
    packs = stand.service.packs(stand.sweep)
    entry.fired(
        f"fences {[row.fence for row in packs]}, charged {[row.user_attempts for row in packs]}",
        all(row.fence > 1 and row.user_attempts == 0 for row in packs),
    )
    stand.settle()
    stand.end()


@pytest.mark.case(7, "SIGSTOP to a worker for 45 s, then SIGCONT")
@both_databases
@pytest.mark.timeout(600)
def test_a_worker_stands_still_and_comes_back(build: Build, entry: Entry) -> None:
    # A third processor takes the pack over.
    stand = build(pace=0.6, cpus=3)
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    held = stand.held()
    victim = stand.workers()[0]
    injections.stop([victim])
    began = time.monotonic()
    stand.wait(lambda: any(stand.held().get(p) != f for p, f in held.items()), seconds=60)
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"lease taken back after {time.monotonic() - began:.0f} s, fences {fences}")
    time.sleep(max(0.0, began + 45 - time.monotonic()))
    injections.go_on([victim])
    stand.wait(lambda: "end=fenced" in stand.service.log(), 30)
    entry.fired("the worker that came back was refused")
    stand.settle(seconds=300)
    assert not any(row.user_attempts for row in stand.service.packs(stand.sweep))
    stand.end()


@pytest.mark.case(8, "SIGKILL to the raylet alone")
@pytest.mark.timeout(600)
def test_the_raylet_dies(build: Build, entry: Entry) -> None:
    _ray_dies(build, entry, injections.RAYLET)


@pytest.mark.case(12, "SIGKILL to the GCS server, or to the process that holds the cluster")
@pytest.mark.parametrize("victim", [injections.GCS, injections.KEEPER])
@both_databases
@pytest.mark.timeout(600)
def test_the_head_dies(build: Build, entry: Entry, victim: str) -> None:
    _ray_dies(build, entry, victim)


@pytest.mark.case(14, "SIGKILL to everything that Ray consists of, at once")
@pytest.mark.timeout(600)
def test_all_of_ray_dies(build: Build, entry: Entry) -> None:
    _ray_dies(build, entry, "")


def _ray_dies(build: Build, entry: Entry, part: str) -> None:
    stand = build()
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    held = stand.held()
    gone = injections.kill_ray(stand.pid, part)
    entry.fired(f"{len(gone)} pids gone", len(gone) >= (1 if part else 5))
    entry.recovered(stand.wait_for_new_fences(held), HEAD_GOAL)
    entry.fired(f"fences {stand.service.fences(stand.sweep)}")
    stand.settle()
    stand.end()


@pytest.mark.case(11, "SIGTERM to a worker, as on a machine about to be taken away")
@both_databases
def test_a_worker_is_told_to_leave(build: Build, entry: Entry) -> None:
    stand = build()
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    victim = stand.workers()[0]
    began = time.monotonic()
    victim.terminate()
    stand.wait(lambda: not alive(victim), 30)
    entry.fired(f"its pid gone after {time.monotonic() - began:.1f} s")
    packs = stand.service.packs(stand.sweep)
    entry.fired(
        f"packs given back, not lost: faults {[row.infra_attempts for row in packs]}",
        not any(row.infra_attempts or row.user_attempts for row in packs),
    )
    stand.settle()
    stand.end()


@pytest.mark.case(24, "A training that sleeps for ever while it holds the interpreter")
@both_databases
@pytest.mark.timeout(600)
def test_a_training_freezes_its_process(build: Build, entry: Entry) -> None:
    # A third processor takes the pack over before the frozen process has ended.
    stand = build(pace=0.8, cpus=3)
    fault = stand.fault
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    held = stand.held()
    fault.freeze(seed=0)
    frozen = [psutil.Process(fault.wait_until_fired())]
    entry.fired(f"pid {frozen[0].pid} holds its interpreter")
    began = time.monotonic()
    fault.heal()
    pack = min(held)
    entry.recovered(stand.wait_for_new_fences({pack: held[pack]}), LEASE + GOAL)
    stand.wait(lambda: not alive(frozen[0]), 120)
    entry.fired(f"it ended itself after {time.monotonic() - began:.0f} s")
    packs = stand.service.packs(stand.sweep)
    entry.fired("nothing charged", not any(row.user_attempts for row in packs))
    stand.settle(seconds=300)
    stand.end()
