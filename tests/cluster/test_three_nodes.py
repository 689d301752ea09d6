"""Three nodes that train, a head, a scheduler, PostgreSQL: whatever is cut off or dies returns.

Every test ends with the rows of an undisturbed run, each once, and with a whole cluster. What it
took is printed (`pytest -s`) and stands in docs/deploy.md.
"""

import re
import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from tests.cluster.containers import Container
from tests.cluster.lab import ACTOR, Lab
from tests.sweeps.tiny import results

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

#: About 40 s on two cores, and 80 s.
SHORT, LONG = 30_000, 60_000
#: Seconds: longer than a pack's lease (30) and than Ray takes to give a node up (15).
CUT_SECONDS = 60.0
#: What is asked of a node that was given up, and of the head.
NODE_SECONDS, HEAD_SECONDS = 10.0, 30.0


def say(**seconds: float) -> None:
    """Print what a test measured."""
    print({name: round(one, 1) for name, one in seconds.items()})


def started(lab: Lab, steps: int) -> str:
    """A sweep that trains on at least two nodes."""
    sweep = lab.submit(steps)
    lab.await_rows(sweep)
    assert len(lab.busy()) >= 2, "the sweep must have spread"
    return sweep


def taken_over(lab: Lab, sweep: str, since: float, seconds: float = 240) -> tuple[float, float]:
    """Seconds since a moment until packs were leased again, and until their first new rows."""
    lab.until(lambda: lab.leased_again(sweep), seconds)
    leased = time.time() - since
    lab.until(lambda: lab.rows_again(sweep) > 0, seconds)
    return leased, time.time() - since


def test_a_sweep_over_three_nodes_measures_what_one_process_does(lab: Lab) -> None:
    sweep = started(lab, SHORT)
    lab.await_end(sweep)
    assert lab.fences(sweep) == [1, 1, 1, 1]
    lab.assert_whole(sweep, SHORT)


def test_a_node_cut_off_for_a_minute_and_returning_changes_no_result(lab: Lab) -> None:
    sweep = started(lab, LONG)
    node = lab.busy()[0]
    cut = time.time()
    node.cut()
    lab.until(lambda: lab.declared_dead(node, cut) is not None, 30)
    dead = lab.declared_dead(node, cut)
    assert dead is not None
    leased, wrote = taken_over(lab, sweep, dead)
    assert node.processes(ACTOR), "cut off, it must still be training"
    time.sleep(max(0.0, cut + CUT_SECONDS - time.time()))
    node.mend()
    mended = time.time()
    lab.await_nodes(5)
    say(declared_dead=dead - cut, leased=leased, wrote=wrote, returned=time.time() - mended)
    lab.await_end(sweep)
    lab.assert_whole(sweep, LONG)
    assert leased <= NODE_SECONDS


def test_a_node_cut_off_for_moments_goes_on_as_if_nothing_had_been(lab: Lab) -> None:
    sweep = started(lab, SHORT)
    node = lab.busy()[0]
    node.cut()
    before = lab.rows(sweep)
    time.sleep(5)
    node.mend()
    assert lab.rows(sweep) >= before
    lab.await_end(sweep)
    assert lab.fences(sweep) == [1, 1, 1, 1]
    lab.assert_whole(sweep, SHORT)


def test_a_node_that_ray_gave_up_but_that_reaches_the_record_can_write_nothing_more(
    lab: Lab,
) -> None:
    sweep = started(lab, LONG)
    node = lab.busy()[0]
    cut = time.time()
    node.route(lab.head, "add")
    node.route(lab.scheduler, "add")
    lab.until(lambda: lab.declared_dead(node, cut) is not None, 40)
    dead = lab.declared_dead(node, cut)
    assert dead is not None
    leased, wrote = taken_over(lab, sweep, dead)
    say(declared_dead=dead - cut, leased=leased, wrote=wrote)
    time.sleep(10)
    node.route(lab.head, "delete")
    node.route(lab.scheduler, "delete")
    lab.await_end(sweep)
    lab.assert_whole(sweep, LONG)
    lab.await_nodes(5)


def raylet_of(node: Container) -> None:
    """SIGKILL to a node's raylet alone."""
    (raylet,) = [one for one in node.processes("raylet/raylet") if one.name() == "raylet"]
    raylet.kill()


@pytest.mark.parametrize("kill", [raylet_of, Container.kill], ids=["raylet", "node"])
def test_a_killed_node_is_replaced(lab: Lab, kill: Callable[[Container], None]) -> None:
    sweep = started(lab, SHORT)
    node = lab.busy()[0]
    killed = time.time()
    kill(node)
    leased, wrote = taken_over(lab, sweep, killed)
    lab.await_nodes(5)
    say(leased=leased, wrote=wrote, returned=time.time() - killed)
    lab.await_end(sweep)
    lab.assert_whole(sweep, SHORT)


def test_a_killed_head_is_back_and_the_sweep_goes_on(lab: Lab) -> None:
    sweep = started(lab, SHORT)
    killed = time.time()
    lab.head.kill()
    leased, wrote = taken_over(lab, sweep, killed)
    say(leased=leased, wrote=wrote)
    lab.await_nodes(5)
    lab.await_end(sweep)
    lab.assert_whole(sweep, SHORT)
    assert leased <= HEAD_SECONDS


def test_a_scheduler_cut_off_with_its_runner_changes_no_result(lab: Lab) -> None:
    sweep = started(lab, LONG)
    lab.scheduler.cut()
    time.sleep(CUT_SECONDS)
    lab.scheduler.mend()
    mended = time.time()
    lab.until(lambda: max(lab.fences(sweep)) > 1, 240)
    say(leased_after_return=time.time() - mended)
    lab.await_end(sweep)
    lab.assert_whole(sweep, LONG)
    lab.await_nodes(5)


def test_a_record_cut_off_for_a_minute_costs_no_row(lab: Lab) -> None:
    sweep = started(lab, LONG)
    record = lab.project.containers["postgres"]
    record.cut()
    before = lab.rows(sweep)
    time.sleep(CUT_SECONDS)
    assert lab.rows(sweep) == before, "nothing can have reached it"
    record.mend()
    say(first_row_after=lab.await_rows(sweep, more=1))
    lab.await_end(sweep)
    lab.assert_whole(sweep, LONG)


def test_a_node_cut_off_in_the_middle_of_a_transaction_does_not_keep_its_locks(lab: Lab) -> None:
    node = lab.workers[0]
    sweep = lab.submit(10)
    lab.await_end(sweep)
    with node.opened("python", "-c", HOLDS) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        node.cut()
        try:
            began = time.monotonic()
            with lab.engine.begin() as conn:
                conn.exec_driver_sql("SET LOCAL lock_timeout = '90s'")
                conn.exec_driver_sql("SELECT FROM packs FOR UPDATE")
            waited = time.monotonic() - began
        finally:
            node.mend()
    say(locked_for=waited)
    assert 1 < waited <= 45
    lab.await_nodes(5)


HOLDS = """
import time
from db.engine import open_engine, writing
from service.settings import Settings
with writing(open_engine(Settings().database_url)) as conn:
    conn.exec_driver_sql("SELECT FROM packs FOR UPDATE")
    print("holds", flush=True)
    time.sleep(600)
"""


def test_a_node_that_joins_late_gets_work(lab: Lab) -> None:
    # More packs than the three nodes hold at once.
    sweep = lab.ngpu("sweep", "submit", "-", "--new", text=lab.spec(SHORT, seeds=9))["id"]
    lab.await_rows(sweep)
    joined = time.time()
    lab.workers = lab.project.scale("ray-worker", 4)
    late = lab.workers[3]
    lab.until(lambda: bool(late.processes(ACTOR)), 240)
    say(works_after=time.time() - joined)
    lab.await_end(sweep)
    assert lab.ngpu("sweep", "verify", sweep)["holds"]


def test_halves_of_a_gpu_are_held_where_there_is_one(lab: Lab) -> None:
    plain = lab.workers[0].service
    with_gpu = replace(plain, command=[*plain.command[:-1], "--num-gpus=1", "--block"])
    asks = lab.spec(SHORT, seeds=2).replace("cpu: 1", "cpu: 1, gpu: 0.5")
    nowhere = lab.ngpu("sweep", "submit", "-", "--new", text=asks)["id"]
    lab.until(lambda: lab.state(nowhere) == "failed", 240)
    node = lab.project.add(with_gpu, "ray-worker-gpu")
    lab.until(lambda: node.addresses[0] in lab.alive_nodes(), 240)
    sweep = lab.ngpu("sweep", "submit", "-", "--new", text=asks)["id"]
    # Ray only believes that there is a GPU: torch does not find it, which is charged.
    lab.until(lambda: "finished" in lab.kinds(sweep), 240)
    assert {row[2] for row in results(lab.engine, sweep)["seeds"]} == {"failed"}
    log = (lab.project.folder / "volumes" / "home" / "logs" / f"{sweep}.log").read_text()
    trained = set(re.findall(r"PackTrainable pid=\d+, ip=([\d.]+)", log))
    assert trained == {node.addresses[0]}
    node.end()


def test_nothing_has_a_way_out(lab: Lab) -> None:
    for container in lab.project.containers.values():
        if container.init() is None:
            continue
        routes = container.run("ip", "route").stdout.splitlines()
        assert routes
        assert all(route.startswith("10.77.") for route in routes), routes


def test_no_process_outlives_its_container(lab: Lab) -> None:
    actors = [one for node in lab.workers for one in node.processes("")]
    assert actors
    lab.project.stop()
    assert [
        one for one in actors if one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    ] == []
