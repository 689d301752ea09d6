"""The runner of one process: everything claimed is trained, and nothing is kept when it stops."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from db.engine import reading, writing
from db.models import seed_runs, training_epochs
from db.submission import cancel
from ngpu_core.config import EvaluationConfig, ModelConfig, RunConfig, TrainingConfig
from sweeps.local_runner import run_locally
from tests.sweeps.tiny import (
    REVERSE,
    checkpoint_paths,
    open_record,
    pack_rows,
    queue_of,
    recorders,
    results,
    submit_sweep,
)


def test_a_sweep_is_trained_until_its_queue_is_exhausted(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0, 1], [2]])
    queue = queue_of(url, engine, sweep)
    run_locally(queue, recorders(url), tmp_path)
    assert queue.exhausted()
    assert [row[2] for row in results(engine, sweep)["seeds"]] == ["finished"] * 3


def test_a_sweep_of_two_easy_tasks_is_learned_one_after_the_other(tmp_path: Path) -> None:
    """Curriculum kind 5: copying first, reversing once that is solved, then reversing alone."""
    model = ModelConfig(filters=12, height=2, input_symbols=3, output_symbols=3, weight_copies=2)
    training = TrainingConfig(
        tasks=("id", "rev"), curriculum=5, max_steps=2000, batch_size=16, min_length=1,
        max_length=6, bins=(6,), steps_per_epoch=20, learning_rate=0.01, dropout=0.0,
        stop_error=0.1,
    )  # fmt: skip
    evaluation = EvaluationConfig(lengths=(8,), sequences=8, every=2000)
    url, engine = open_record(tmp_path)
    run = RunConfig(model=model, training=training, evaluation=evaluation)
    sweep = submit_sweep(engine, [run], [[0, 1]])
    run_locally(queue_of(url, engine, sweep), recorders(url), tmp_path)

    assert [row[2] for row in results(engine, sweep)["seeds"]] == ["finished"] * 2
    for seed in (0, 1):
        epochs = _epochs_of(engine, sweep, seed)
        solved = [row for row in epochs if row.step == epochs[-1].step]
        assert epochs[-1].step < 2000  # stopped at a training error of at most 0.1
        assert [row.task for row in solved] == ["rev"]
        for name in ("id", "rev"):
            lengths = [row.curriculum_length for row in epochs if row.task == name]
            assert lengths == sorted(lengths)
            assert lengths[0] == 4
        assert epochs[-1].curriculum_length == 6


def _epochs_of(engine: Engine, sweep: str, seed: int) -> list[Any]:
    s, t = seed_runs.c, training_epochs.c
    query = select(t).join(s.id.table, s.id == t.seed_run_id).order_by(t.step, t.task)
    with reading(engine) as conn:
        return list(conn.execute(query.where(s.sweep_id == sweep, s.seed == seed)))


def test_a_stopped_runner_gives_its_pack_back_uncharged_and_the_next_one_ends_the_sweep(
    tmp_path: Path,
) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0], [1]])
    asked = iter([False, True])
    run_locally(
        queue_of(url, engine, sweep),
        recorders(url),
        tmp_path,
        should_stop=lambda: next(asked, True),
    )
    states = [
        (pack.state, pack.user_attempts, pack.infra_attempts) for pack in pack_rows(engine, sweep)
    ]
    assert states == [("pending", 0, 0)] * 2
    run_locally(queue_of(url, engine, sweep), recorders(url), tmp_path)
    assert [row[2] for row in results(engine, sweep)["seeds"]] == ["finished"] * 2


def test_a_cancelled_sweep_is_not_taken_up(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0]])
    queue = queue_of(url, engine, sweep)
    with writing(engine) as conn:
        cancel(conn, sweep)
    run_locally(queue, recorders(url), tmp_path)
    assert results(engine, sweep)["training_epochs"] == []


def test_a_fault_of_the_disk_is_not_charged_to_the_pack(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0]])
    blocked = tmp_path / "checkpoints"
    blocked.write_text("a file where a folder should be")
    asked = iter([False])
    run_locally(
        queue_of(url, engine, sweep), recorders(url), blocked, should_stop=lambda: next(asked, True)
    )
    (pack,) = pack_rows(engine, sweep)
    assert (pack.state, pack.user_attempts, pack.infra_attempts) == ("pending", 0, 1)
    assert "checkpoints" in pack.error
    assert checkpoint_paths(engine, sweep) == []
