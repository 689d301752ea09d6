"""A trivial sweep, trained three ways: by the service, by plain Ray Tune, by nothing but a loop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from sqlalchemy import Engine, func, select

from benchmarks.contenders import ROOT
from db.engine import open_engine, reading, upgrade, writing
from db.models import seed_runs, sweeps
from db.submission import submit
from ngpu_core.config import EvaluationConfig, ModelConfig, RunConfig, TrainingConfig
from service import submission
from service.control.processes import spawn
from service.settings import Settings
from sweeps.spec import load_spec

#: The smallest model, two steps, one test.
TRIVIAL = RunConfig(
    model=ModelConfig(filters=2, height=2, input_symbols=5, output_symbols=5, weight_copies=2),
    training=TrainingConfig(
        tasks=("rev",), max_steps=2, batch_size=4, min_length=1, max_length=3, bins=(3, 6),
        steps_per_epoch=2,
    ),
    evaluation=EvaluationConfig(lengths=(2,), sequences=8, every=2),
)  # fmt: skip
#: Seconds a sweep may take before it counts as stuck, beside a second a seed.
PATIENCE = 300.0


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How long a sweep of so many seeds took."""

    seeds: int
    #: From its submission, or from the start of the program, to its end.
    seconds: float
    #: Largest resident memory of some processes meanwhile, in bytes, by name: first and last half.
    memory: dict[str, tuple[int, int]]


def spec(seeds: int, first: int) -> dict[str, Any]:
    """A sweep of so many packs of one seed each."""
    run = TRIVIAL.to_mapping()
    return {
        "schema_version": 1,
        "name": f"trivial {first}",
        "base": {part: run[part] for part in ("model", "training", "evaluation")},
        "seeds": {"first": first, "count": seeds},
        "success": {"metric": "sequence_error", "length": 2, "below": 0.5, "when": "ever"},
        "resources": {"seeds_per_trial": 1},
    }


class Service:
    """The scheduler with its Ray cluster, on a record of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        settings.make_home()
        self.engine: Engine = open_engine(settings.database_url)
        upgrade(self.engine)
        log = settings.logs / "scheduler.log"
        self._process = spawn(
            "service.control.scheduler", [], environment=settings.environment(), log=log
        )
        self._next = 0

    def train(self, seeds: int) -> Trained:
        """Submit a sweep, wait for its end."""
        document = spec(seeds, self._next)
        self._next += seeds
        began = time.perf_counter()
        with writing(self.engine) as conn:
            sweep_id, _ = submit(conn, submission.new_sweep(load_spec(document)), new=True)
        watched = self._watch(sweep_id, began + PATIENCE + seeds)
        seconds = time.perf_counter() - began
        self._prove(sweep_id, seeds)
        return Trained(seeds=seeds, seconds=seconds, memory=_halves(watched))

    def _watch(self, sweep_id: str, deadline: float) -> dict[str, list[int]]:
        """Wait until the sweep is finished; the memory of scheduler and runner meanwhile."""
        watched: dict[str, list[int]] = {"scheduler": [], "runner": []}
        while time.perf_counter() < deadline:
            with reading(self.engine) as conn:
                state = conn.execute(select(sweeps.c.state).where(sweeps.c.id == sweep_id))
                if state.scalar_one() == "finished":
                    return watched
            watched["scheduler"].append(psutil.Process(self._process.pid).memory_info().rss)
            watched["runner"] += self._resident("service.control.runner")
            time.sleep(0.25)
        raise SystemExit(f"the sweep did not end; see {self.settings.logs}")

    def _resident(self, module: str) -> list[int]:
        """Memory of the scheduler's children that run a module."""
        found = []
        for child in psutil.Process(self._process.pid).children():
            try:
                if module in " ".join(child.cmdline()):
                    found.append(int(child.memory_info().rss))
            except psutil.Error:
                continue
        return found

    def _prove(self, sweep_id: str, seeds: int) -> None:
        s = seed_runs.c
        with reading(self.engine) as conn:
            query = select(func.count()).where(s.sweep_id == sweep_id, s.state == "finished")
            finished = conn.execute(query).scalar_one()
        if finished != seeds:
            raise SystemExit(f"{finished} of {seeds} seed runs finished; see {self.settings.logs}")

    def close(self) -> None:
        """End it in order."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)
        self.engine.dispose()


@contextmanager
def service(database_url: str | None, cpus: int) -> Iterator[Service]:
    """A service that has trained a seed already: its cluster is up."""
    with TemporaryDirectory(prefix="ngpu-bench-") as home:
        url = database_url or ""
        running = Service(
            Settings(home=Path(home), runner="ray", cpus=cpus, port=0, database_url=url)
        )
        try:
            running.train(cpus)
            yield running
        finally:
            running.close()


def _halves(watched: dict[str, list[int]]) -> dict[str, tuple[int, int]]:
    """The largest value of each half."""
    return {
        name: (max(values[: len(values) // 2 + 1]), max(values[len(values) // 2 :]))
        for name, values in watched.items()
        if values
    }


def by_ray_tune(seeds: int, cpus: int) -> Trained:
    """The same by Ray Tune alone, in a process and on a cluster of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.ray_tune", str(seeds), str(cpus)]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds = json.loads(told.splitlines()[-1])["seconds"]
    return Trained(seeds=seeds, seconds=seconds, memory={})


def train_one(seed: int) -> int:
    """The training itself: one seed from nothing to its end; how many events it told."""
    from ngpu_core.training import PackTrainer

    trainer = PackTrainer(TRIVIAL, (seed,), threads=1)
    return sum(1 for _ in trainer.events())


def _begin() -> None:
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    train_one(0)


def by_a_loop(seeds: int, cpus: int) -> Trained:
    """The training and nothing else: a process a core, each seed after the other."""
    with get_context("spawn").Pool(cpus, initializer=_begin) as pool:
        pool.map(train_one, range(cpus * 4), chunksize=4)
        began = time.perf_counter()
        pool.map(train_one, range(seeds), chunksize=max(1, seeds // (4 * cpus)))
        return Trained(seeds=seeds, seconds=time.perf_counter() - began, memory={})
