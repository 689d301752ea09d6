"""The runner of one process: everything claimed is trained, and nothing is kept when it stops."""

from pathlib import Path

from db.engine import writing
from db.submission import cancel
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
