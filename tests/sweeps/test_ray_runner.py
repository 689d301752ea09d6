"""A sweep through a real local Ray, in processes of its own."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from db.engine import reading
from db.models import sweeps
from service.control.local_ray import LocalCluster, ray_environment
from service.control.processes import spawn
from service.settings import Settings
from sweeps.local_runner import run_locally
from tests.sweeps.tiny import (
    REVERSE,
    checkpoint_paths,
    open_record,
    queue_of,
    recorders,
    results,
    submit_sweep,
)

RAISING = replace(REVERSE, training=replace(REVERSE.training, tasks=("nonesuch",)))


class Ray:
    """A local cluster and a record."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, cpus=2)
        self.settings.make_home()
        self.url, self.engine = open_record(home)
        self.cluster = LocalCluster(self.settings)

    def address(self) -> str:
        """Where the cluster is, once it is up."""
        deadline = time.monotonic() + 90
        while (address := self.cluster.address()) is None:
            assert not self.cluster.died(), (self.settings.logs / "ray.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return address

    def run(self, sweep: str) -> str:
        """A runner from its start to its end; its log."""
        log = self.settings.logs / f"{sweep}.log"
        arguments = ["--sweep", sweep, "--address", self.address(), "--parent", str(os.getpid())]
        environment = {**self.settings.environment(), **ray_environment(self.settings)}
        runner = spawn("service.control.runner", arguments, environment=environment, log=log)
        try:
            assert runner.wait(timeout=150) == 0, log.read_text()
        finally:
            runner.kill()
        return log.read_text()

    def sweep_row(self, sweep: str) -> tuple[str, str | None]:
        """State and error."""
        with reading(self.engine) as conn:
            query = select(sweeps.c.state, sweeps.c.error).where(sweeps.c.id == sweep)
            state, error = conn.execute(query).one()
            return state, error


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ray]:
    made = Ray(tmp_path_factory.mktemp("ray"))
    yield made
    made.cluster.close()
    made.engine.dispose()


def states(engine: Engine, sweep: str) -> list[str]:
    return [row[2] for row in results(engine, sweep)["seeds"]]


def test_a_sweep_on_ray_measures_what_it_measures_without_ray(ray: Ray, tmp_path: Path) -> None:
    packs = [[0, 1], [2], [3], [4]]
    sweep = submit_sweep(ray.engine, [REVERSE], packs)
    log = ray.run(sweep)

    url, engine = open_record(tmp_path)
    alone = submit_sweep(engine, [REVERSE], packs)
    run_locally(queue_of(url, engine, alone), recorders(url), tmp_path)
    assert results(ray.engine, sweep) == results(engine, alone)
    assert len(checkpoint_paths(ray.engine, sweep)) == 5
    assert len(set(re.findall(r"Trainable pid=(\d+)", log))) <= 2, "actors must be used again"
    assert not list(ray.settings.scratch.glob(f"{sweep}*"))
    engine.dispose()


def test_training_that_raises_on_ray_is_charged_and_does_not_end_the_other_packs(
    ray: Ray,
) -> None:
    sweep = submit_sweep(ray.engine, [RAISING, REVERSE], [[0], [1]], max_failures=1)
    ray.run(sweep)
    assert states(ray.engine, sweep) == ["failed", "failed", "finished", "finished"]


def test_a_sweep_that_needs_a_gpu_fails_at_once_where_there_is_none(ray: Ray) -> None:
    sweep = submit_sweep(ray.engine, [REVERSE], [[0]], gpu=1.0)
    ray.run(sweep)
    state, error = ray.sweep_row(sweep)
    assert state == "failed"
    assert error is not None
    assert "resources.gpu is 1: the largest node has 0" in error
    assert states(ray.engine, sweep) == ["failed"]


def test_the_local_cluster_listens_on_loopback_only(ray: Ray) -> None:
    assert ray.address().startswith("127.0.0.1:")
    port = int(ray.address().rpartition(":")[2])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    # 127.0.0.1, by itself or mapped into IPv6.
    assert listening
    assert all("0100007F" in address for address in listening)
