"""Sweeps that train in a second or so, submitted to a record in a temporary folder."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from db.engine import open_engine, reading, upgrade, writing
from db.models import (
    carry_results,
    carry_trials,
    checkpoints,
    configurations,
    evaluations,
    packs,
    probe_results,
    seed_runs,
    training_epochs,
)
from db.runners import register_runner
from db.submission import NewConfiguration, NewPack, NewSweep, submit
from ngpu_core.config import EvaluationConfig, ModelConfig, RunConfig, TrainingConfig
from service.control.recording import SqlQueue, connect_queue, connect_recorder

#: A Neural GPU with two filters on short words.
REVERSE = RunConfig(
    model=ModelConfig(filters=2, height=2, input_symbols=5, output_symbols=5, weight_copies=2),
    training=TrainingConfig(
        tasks=("rev",), max_steps=20, batch_size=8, min_length=1, max_length=3, bins=(3, 6),
        steps_per_epoch=4,
    ),
    evaluation=EvaluationConfig(
        lengths=(2, 6), sequences=8, every=4, probes=("lengths",), length_limit=9,
        length_sequences=3,
    ),
)  # fmt: skip
MEASURED = (training_epochs, evaluations, carry_trials, carry_results, probe_results)


def open_record(folder: Path) -> tuple[str, Engine]:
    """An empty record, its URL first."""
    url = f"sqlite:///{folder / 'ngpu.sqlite'}"
    engine = open_engine(url)
    upgrade(engine)
    return url, engine


def submit_sweep(
    engine: Engine, runs: Sequence[RunConfig], packs: Sequence[Sequence[int]], **extra: Any
) -> str:
    """A sweep that trains each configuration on the seeds given, in the packs given."""
    new = NewSweep(
        name="tiny",
        digest=f"{len(runs)}-{packs}-{extra}",
        spec={},
        configurations=[
            NewConfiguration(
                position=place,
                digest=f"configuration {place}",
                label=f"{place}",
                axes={},
                run=run.to_mapping(),
                max_steps=run.training.max_steps,
            )
            for place, run in enumerate(runs)
        ],
        packs=[
            NewPack(configuration=place, seeds=seeds)
            for place in range(len(runs))
            for seeds in packs
        ],
        success_length=4,
        success_below=0.5,
        code_version="test",
        **extra,
    )
    with writing(engine) as conn:
        return submit(conn, new, new=True)[0]


def queue_of(url: str, engine: Engine, sweep_id: str) -> SqlQueue:
    """The queue of a new runner of the sweep."""
    with writing(engine) as conn:
        epoch = register_runner(conn, sweep_id, host="here", pid=1, pid_started=1, lease_seconds=15)
    return connect_queue(url, sweep_id, epoch, "test")


def recorders(url: str) -> Any:
    """What runners make recorders with."""
    return partial(connect_recorder, url)


def results(engine: Engine, sweep_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything a sweep measured, by configuration, seed and key; without ids, fences, times."""
    s, c = seed_runs.c, configurations.c
    found: dict[str, list[tuple[Any, ...]]] = {}
    with reading(engine) as conn:
        for table in MEASURED:
            columns = [k for k in table.c if k.name not in ("seed_run_id", "fence")]
            rows = conn.execute(
                select(c.position, s.seed, *columns)
                .join(s.id.table, s.id == table.c.seed_run_id)
                .join(c.id.table, c.id == s.configuration_id)
                .where(s.sweep_id == sweep_id)
            )
            found[table.name] = sorted(map(tuple, rows), key=repr)
        seeds = select(c.position, s.seed, s.state, s.steps, s.reason).join(
            c.id.table, c.id == s.configuration_id
        )
        found["seeds"] = sorted(map(tuple, conn.execute(seeds.where(s.sweep_id == sweep_id))))
    return found


def pack_rows(engine: Engine, sweep_id: str) -> list[Any]:
    """The packs of a sweep, first to last."""
    with reading(engine) as conn:
        query = select(packs).where(packs.c.sweep_id == sweep_id).order_by(packs.c.id)
        return list(conn.execute(query))


def checkpoint_paths(engine: Engine, sweep_id: str) -> list[str]:
    """Where the record points to, relative to the folder of checkpoints."""
    with reading(engine) as conn:
        query = (
            select(checkpoints.c.path)
            .join(seed_runs, seed_runs.c.id == checkpoints.c.seed_run_id)
            .where(seed_runs.c.sweep_id == sweep_id)
        )
        return sorted(conn.execute(query).scalars())
