"""People change their minds in the middle of a sweep, whoever else is dead then."""

import random
import time

import pytest

from db.engine import writing
from db.submission import retry
from db.transitions import cancel, pause, resume, stop
from service.submission import extend
from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec, submitted, undisturbed
from tests.faults.stand import Stand
from tests.sweeps.tiny import results

both_databases = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
#: Seconds from a cancel's commit until its processor trains another sweep.
GOAL = 10.0
TIMES = 6


def cancelled(stand: Stand, sweep: str) -> dict[str, list[tuple[object, ...]]]:
    """Cancel a sweep; what it had measured when that was committed."""
    with writing(stand.engine) as conn:
        assert cancel(conn, sweep)
    return results(stand.engine, sweep)


def assert_is_part(found: dict[str, list[tuple[object, ...]]], text: str) -> None:
    """What a cancelled sweep has measured is what the undisturbed one measures, up to there."""
    for table, rows in found.items():
        if table != "seeds":
            assert set(rows) <= set(undisturbed(text)[table])


@pytest.mark.case(26, "Cancel at random moments, another sweep waiting each time")
@both_databases
@pytest.mark.timeout(900)
def test_cancels_at_random_moments(build: Build, entry: Entry, backend: str) -> None:
    moments = random.Random(26)
    text = spec()
    stand = build("local")
    stand.submit(text)
    stand.start()
    ended = []
    for _ in range(TIMES):
        stand.wait_for_training()
        time.sleep(moments.uniform(0, 1.5))
        after = submitted(stand.engine, text)
        before = cancelled(stand, stand.sweep)
        ended.append((stand.sweep, before))
        stand.sweep = after
        began = time.monotonic()
        stand.wait_for_training()
        entry.recovered(time.monotonic() - began, GOAL, since="the cancel's commit")
    for sweep, before in ended:
        assert results(stand.engine, sweep) == before, "a row came after the cancel"
        assert_is_part(before, text)
        entry.rows += sum(map(len, before.values()))
    entry.fired(f"{len(ended)} sweeps cancelled while they trained")
    stand.end()


@pytest.mark.case(26, "Cancel after SIGKILL to the scheduler, its runner still training")
@both_databases
def test_a_cancel_needs_no_scheduler(build: Build, entry: Entry, backend: str) -> None:
    stand = build("local")
    stand.submit(spec())
    stand.start()
    stand.wait_for_training()
    assert stand.service.process is not None
    runners = stand.service.named(injections.RUNNER)
    stand.service.process.kill()
    stand.service.process.wait()
    before = cancelled(stand, stand.sweep)
    entry.fired("the scheduler's pid is gone, the sweep cancelled")
    stand.wait(lambda: not any(map(injections.alive, runners)), 20)
    assert results(stand.engine, stand.sweep) == before, "a row came after the cancel"
    assert_is_part(before, spec())
    entry.rows += sum(map(len, before.values()))


@pytest.mark.case(27, "Pause and resume 4 times, extend, stop, retry what that cancelled")
@both_databases
@pytest.mark.timeout(900)
def test_a_mind_changed_again_and_again(build: Build, entry: Entry, backend: str) -> None:
    stand = build("local")
    stand.submit(spec())
    stand.start()
    paused, state = 0, stand.service.state
    for _ in range(4):
        stand.wait_for_training()
        with writing(stand.engine) as conn:
            pause(conn, stand.sweep)
        stand.wait(lambda: state(stand.sweep) in ("paused", "finished"), 60)
        paused += state(stand.sweep) == "paused"
        rows = stand.service.rows(stand.sweep)
        time.sleep(1)
        assert stand.service.rows(stand.sweep) == rows
        with writing(stand.engine) as conn:
            resume(conn, stand.sweep)
    with writing(stand.engine) as conn:
        extend(conn, stand.sweep, 2)
        stop(conn, stand.sweep)
    stand.wait(lambda: stand.service.state(stand.sweep) == "finished", 120)
    seeds = results(stand.engine, stand.sweep)["seeds"]
    left = sum(row[2] == "cancelled" for row in seeds)
    with writing(stand.engine) as conn:
        assert retry(conn, stand.sweep, include_cancelled=True) == left
    entry.fired(
        f"paused {paused} times, {left} seed runs stopped and taken up again",
        paused >= 3 and left >= 2,
    )
    stand.settle(seconds=300, expected=undisturbed(spec(seeds=6)))
    stand.end()
