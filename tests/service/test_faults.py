"""kill -9, for real: whatever dies in the middle of a sweep, the sweep ends as if nothing had."""

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from db.engine import writing
from db.submission import cancel
from db.transitions import pause, resume, stop
from service.control.local_ray import LocalCluster, ray_environment
from service.settings import Settings
from tests.service.live import (
    LONG,
    PACKS,
    Service,
    alive,
    running,
    submit_long,
    undisturbed,
    wait_for_end,
    wait_for_rows,
    wait_until,
)
from tests.sweeps.tiny import checkpoint_paths, results

RUNNER = "service.control.runner"
KEEPER = "service.control.keeper"
ACTOR = "Trainable.train"
#: Trains for longer than a worker takes to learn of a pause.
LONGER = replace(LONG, training=replace(LONG.training, max_steps=4 * LONG.training.max_steps))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database: `make test` has time for one of them."""
    return request.param


def assert_undisturbed(service: Service, sweep: str) -> None:
    """Every row once, with the values of an undisturbed run."""
    assert results(service.engine, sweep) == undisturbed(), service.log()


def assert_nothing_left(service: Service, seconds: float = 45) -> None:
    """Every process ever seen has ended."""
    wait_until(lambda: not service.leftovers(), seconds, lambda: "\n".join(service.leftovers()))


def test_a_killed_runner_and_a_killed_scheduler_are_replaced_and_leave_no_orphan(
    tmp_path: Path,
    database_url: str,
) -> None:
    with running(tmp_path, "local", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start()
        wait_for_rows(service, sweep)
        assert service.kill(RUNNER)
        wait_for_rows(service, sweep)
        assert service.named(RUNNER)
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        # The runner sees that its parent is gone.
        assert_nothing_left(service, seconds=10)
        assert service.state(sweep) == "running"
        service.start()
        wait_for_end(service, sweep)
        assert sum(service.fences(sweep)) >= len(PACKS) + 2, "each kill must have hit a pack"
        assert_undisturbed(service, sweep)
        assert service.stop() == 0
        assert_nothing_left(service)


def test_a_sweep_cancelled_while_it_trains_stops_within_seconds(
    tmp_path: Path, database_url: str
) -> None:
    with running(tmp_path, "local", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start()
        wait_for_rows(service, sweep)
        with writing(service.engine) as conn:
            cancel(conn, sweep)
        before = service.rows(sweep)
        wait_until(lambda: not service.named(RUNNER), 15, service.log)
        assert service.rows(sweep) == before
        assert service.stop() == 0


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_a_sweep_paused_and_resumed_while_it_trains_measures_what_it_does_undisturbed(
    tmp_path: Path, database_url: str, runner: str
) -> None:
    with running(tmp_path, runner, database_url=database_url) as service:
        sweep = submit_long(service.engine, LONGER)
        service.start()
        wait_for_rows(service, sweep)
        with writing(service.engine) as conn:
            pause(conn, sweep)
        wait_until(lambda: service.state(sweep) in ("paused", "finished"), 60, service.log)
        assert service.state(sweep) == "paused"
        wait_until(lambda: not service.named(RUNNER), 60, service.log)
        before = service.rows(sweep)
        time.sleep(2)
        assert service.rows(sweep) == before
        with writing(service.engine) as conn:
            resume(conn, sweep)
        wait_for_end(service, sweep)
        assert results(service.engine, sweep) == undisturbed(LONGER), service.log()
        assert service.stop() == 0


@pytest.mark.parametrize("runner", ["local", "ray"])
def test_a_hung_training_loses_its_pack_and_its_process_ends(
    tmp_path: Path, database_url: str, runner: str
) -> None:
    with running(tmp_path, runner, database_url=database_url, stall_seconds=10) as service:
        sweep = submit_long(service.engine, LONGER)
        service.start()
        wait_until(lambda: bool(checkpoint_paths(service.engine, sweep)), 90, service.log)
        wait_until(lambda: bool(trainers(service, runner)), 30, service.log)
        first = service.settings.checkpoints / checkpoint_paths(service.engine, sweep)[0]
        pack_and_fence = first.stem.partition("-")[2]
        hung = trainers(service, runner)
        for one in hung:
            # Its last checkpoint is written into a pipe that nobody reads: it waits for ever.
            last = f"{LONGER.training.max_steps}-{pack_and_fence}.pt.{one.pid}.tmp"
            os.mkfifo(first.with_name(last))
        wait_until(lambda: "pack_stalled" in service.kinds(sweep), 120, service.log)
        wait_until(lambda: not all(map(alive, hung)), 60, service.log)
        wait_for_end(service, sweep)
        assert results(service.engine, sweep) == undisturbed(LONGER), service.log()
        assert service.stop() == 0


def trainers(service: Service, runner: str) -> list[psutil.Process]:
    """The processes that train now."""
    return service.named(RUNNER if runner == "local" else ACTOR)


def test_a_sweep_stopped_while_it_trains_finishes_what_it_began(
    tmp_path: Path, database_url: str
) -> None:
    with running(tmp_path, "local", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start()
        wait_for_rows(service, sweep)
        with writing(service.engine) as conn:
            stop(conn, sweep)
        wait_for_end(service, sweep)
        seeds = {row[1]: row[2] for row in results(service.engine, sweep)["seeds"]}
        assert seeds == {0: "finished", 1: "finished", 2: "cancelled"}
        assert service.stop() == 0


def test_a_killed_worker_and_a_killed_runner_on_ray_cost_no_seed_and_no_row(
    tmp_path: Path, database_url: str
) -> None:
    with running(tmp_path, "ray", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start()
        wait_for_rows(service, sweep)
        assert service.kill(ACTOR)
        wait_for_rows(service, sweep)
        assert service.kill(RUNNER)
        wait_for_end(service, sweep)
        assert max(service.fences(sweep)) >= 2, "the kills must have interrupted a pack"
        assert_undisturbed(service, sweep)
        assert service.stop() == 0
        assert_nothing_left(service)


def test_a_killed_service_started_again_ends_its_sweep_by_itself(
    tmp_path: Path, database_url: str
) -> None:
    with running(tmp_path, "ray", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start("service.cli", "serve", "--port", "0")
        wait_for_rows(service, sweep)
        assert service.kill_tree() > 5
        assert service.state(sweep) == "running"
        service.start("service.cli", "serve", "--port", "0")
        wait_for_end(service, sweep)
        assert_undisturbed(service, sweep)
        assert service.stop() == 0
        assert_nothing_left(service)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [KEEPER, "raylet/raylet", "gcs_server"])
def test_a_cluster_that_dies_is_built_again(tmp_path: Path, database_url: str, victim: str) -> None:
    with running(tmp_path, "ray", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start()
        wait_for_rows(service, sweep)
        assert service.kill(victim)
        wait_for_end(service, sweep, seconds=180)
        assert_undisturbed(service, sweep)
        assert service.stop() == 0
        assert_nothing_left(service)


@pytest.mark.slow
def test_a_runner_on_a_cluster_of_its_own_outlives_its_scheduler_and_is_adopted(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Settings(home=tmp_path / "cluster", cpus=2)
    owner.make_home()
    cluster = LocalCluster(owner)
    wait_until(lambda: cluster.address() is not None, 90, str)
    for name, value in ray_environment(owner).items():
        monkeypatch.setenv(name, value)
    with running(
        tmp_path / "service", "ray", database_url=database_url, ray_address=cluster.address()
    ) as service:
        sweep = submit_long(service.engine)
        service.start()
        wait_for_rows(service, sweep)
        (runner,) = service.named(RUNNER)
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        wait_for_rows(service, sweep)
        service.start()
        wait_for_end(service, sweep)
        assert runner.pid not in [one.pid for one in service.named(RUNNER)]
        assert service.fences(sweep) == [1, 1], "nothing may have been trained twice"
        assert_undisturbed(service, sweep)
        assert service.stop() == 0
        assert_nothing_left(service)
    cluster.close()


@pytest.mark.slow
def test_a_service_without_a_head_leaves_no_orphan(tmp_path: Path, database_url: str) -> None:
    with running(tmp_path, "ray", database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start("service.cli", "serve", "--port", "0")
        wait_for_rows(service, sweep)
        service.descendants()
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        assert_nothing_left(service)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["local", "ray"])
def test_kills_at_many_moments_leave_the_rows_of_an_undisturbed_sweep(
    tmp_path: Path, database_url: str, runner: str
) -> None:
    with running(tmp_path, runner, database_url=database_url) as service:
        sweep = submit_long(service.engine)
        service.start()
        killed: set[int] = set()
        for pause in (0.0, 0.3, 0.7, 1.1, 1.9):
            # The last one may still be about to disappear.
            wait_until(
                lambda: any(one.pid not in killed for one in service.named(RUNNER)),
                90,
                service.log,
            )
            time.sleep(pause)
            killed.update(service.kill(RUNNER))
        assert len(killed) == 5
        wait_for_end(service, sweep, seconds=180)
        assert_undisturbed(service, sweep)
        assert service.stop() == 0
