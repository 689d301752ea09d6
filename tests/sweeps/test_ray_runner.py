"""A sweep through a real local Ray, in processes of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from service.control.local_ray import announced, ray_environment
from sweeps.local_runner import run_locally
from tests.sweeps.real_ray import Ray
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


@pytest.mark.parametrize(
    ("demand", "nodes", "expected"),
    [
        ((1, 0.0), [{"CPU": 2.0}, {"CPU": 3.0}, {}], 5),
        # What is left over on two nodes is no place for a trial.
        ((2, 0.0), [{"CPU": 3.0}, {"CPU": 3.0}], 2),
        ((1, 0.1), [{"CPU": 16.0, "GPU": 1.0}], 10),
        ((1, 0.3), [{"CPU": 16.0, "GPU": 2.0}], 6),
        ((1, 1.0), [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}], 4),
        ((4, 0.5), [{"CPU": 8.0, "GPU": 4.0}], 2),
        ((1, 0.6), [{"CPU": 8.0, "GPU": 2.0}], 2),
        ((8, 0.0), [{"CPU": 2.0}], 1),
    ],
)
def test_a_cluster_holds_as_many_trials_as_its_nodes_do(
    demand: tuple[int, float], nodes: list[dict[str, float]], expected: int
) -> None:
    from sweeps.ray.placement import Demand, slots

    assert slots(Demand(cpu=demand[0], gpu=demand[1]), nodes) == expected


def test_a_trial_asks_for_no_more_processors_than_the_nodes_with_its_gpu_have() -> None:
    from sweeps.ray.placement import ClusterTooSmall, Demand, fit

    nodes = [{"CPU": 64.0}, {"CPU": 4.0, "GPU": 1.0}, {}]
    assert fit(Demand(cpu=16), nodes) == Demand(cpu=16)
    assert fit(Demand(cpu=100), nodes) == Demand(cpu=64)
    assert fit(Demand(cpu=16, gpu=0.5), nodes) == Demand(cpu=4, gpu=0.5)
    with pytest.raises(ClusterTooSmall, match=r"resources\.gpu is 1: the largest node has 0"):
        fit(Demand(cpu=1, gpu=1.0), nodes[:1])


def test_every_process_of_ray_knows_its_token_and_reports_to_nobody(ray: Ray) -> None:
    ray.address()
    cluster = announced(ray.settings)
    assert cluster is not None
    keeper = psutil.Process(cluster.keeper.pid)
    processes = [keeper, *keeper.children(recursive=True)]
    assert {"gcs_server", "raylet"} <= {one.name() for one in processes}
    for one in processes:
        if one.name().startswith("ray::"):
            continue  # its title is written over what it was given
        given = one.environ()
        assert given["RAY_USAGE_STATS_ENABLED"] == "0", one.cmdline()
        assert given["RAY_USAGE_STATS_REPORT_URL"].startswith("http://127.0.0.1:"), one.cmdline()
        assert given["RAY_AUTH_MODE"] == "token", one.cmdline()
        token = Path(given["RAY_AUTH_TOKEN_PATH"])
        assert token.stat().st_mode & 0o077 == 0
        assert len(token.read_text()) >= 32


def test_nobody_without_the_token_is_let_into_the_local_cluster(ray: Ray, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    script = f"import ray; ray.init({ray.address()!r}, logging_level='error'); print('in')"
    answers = []
    for token in (wrong, ray.settings.home / "ray_token"):
        variables = {
            **os.environ,
            **ray_environment(ray.settings),
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        answers.append((done.returncode == 0, "in" in done.stdout.split()))
    assert answers == [(False, False), (True, True)]


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
