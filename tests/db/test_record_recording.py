"""What workers write, once, and only under the fence."""

from typing import Any

import numpy as np
import pytest
from record import (
    LENGTH,
    ask,
    claimed,
    end,
    epoch,
    evaluation,
    lease_of,
    new_sweep,
    submitted,
)
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from db import queries
from db.engine import reading, writing
from db.models import metadata
from db.recording import (
    Ended,
    Rows,
    end_seed,
    move_checkpoint,
    note_engine,
    rewind,
    write_rows,
)
from db.submission import retry, submit
from db.transitions import fail_sweep

_TIMES = ("lease_until", "progress_at")


def _everything(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, the pack's own sign of life left out."""
    with reading(engine) as conn:
        return {
            name: [
                {key: value for key, value in row.items() if key not in _TIMES}
                for row in conn.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for name, table in metadata.tables.items()
        }


def _rows(step: int, seeds: tuple[int, ...] = (0, 1)) -> Rows:
    carried = {"task": "badd", "step": step}
    return Rows(
        evaluations=[evaluation(seed, step, wrong=5) for seed in seeds],
        training_epochs=[epoch(seed, step) for seed in seeds],
        carry_trials=[
            {"seed": seed, **carried, "carry_length": length, "trials": 8, "wrong": length}
            for seed in seeds
            for length in (1, 2)
        ],
        carry_results=[
            {"seed": seed, **carried, "threshold": None, "carry_limit": 2} for seed in seeds
        ],
        probe_results=[
            {
                "seed": seed,
                "step": step,
                "task": "bmul",
                "probe": "powers",
                "point": 2,
                "label": "2^2×2^98",
                "sequences": 4,
                "wrong_sequences": 1,
                "symbols": 80,
                "wrong_symbols": 3,
                "first_wrong": 5,
                "last_wrong": 9,
            }
            for seed in seeds
        ],
    )


def test_recording_twice_changes_nothing(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    ref = {"seed": 1, "step": 100, "path": "1.pt", "sha256": "ab"}
    ended = Ended(seed=0, state="finished", step=100, reason="the last step", checkpoint=None)

    def write() -> None:
        with writing(engine) as conn:
            write_rows(conn, lease_of(pack), _rows(100), steps={0: 100, 1: 100}, wall_seconds=2.0)
        with writing(engine) as conn:
            move_checkpoint(
                conn, lease_of(pack), _rows(100), [ref], steps={1: 100}, wall_seconds=2.0
            )
        with writing(engine) as conn:
            end_seed(conn, lease_of(pack), _rows(100), ended, wall_seconds=2.0)

    write()
    first = _everything(engine)
    assert len(first["evaluations"]) == 2
    assert len(first["carry_trials"]) == 4
    write()
    assert _everything(engine) == first


def test_seeds_that_go_back_lose_their_later_rows_and_the_others_keep_theirs(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=3, together=3)
    pack = claimed(engine, sweep_id)
    for step in (100, 200):
        with writing(engine) as conn:
            steps = dict.fromkeys((0, 1, 2), step)
            write_rows(conn, lease_of(pack), _rows(step, (0, 1, 2)), steps=steps, wall_seconds=1.0)
    end(engine, pack, 1, step=200)

    for _ in range(2):  # a repeated write changes nothing
        with writing(engine) as conn:
            rewind(conn, lease_of(pack), (0, 1), 100)

    found = _everything(engine)
    seeds = {row["id"]: row["seed"] for row in found["seed_runs"]}
    for table in ("evaluations", "training_epochs"):
        kept = {(seeds[row["seed_run_id"]], row["step"]) for row in found[table]}
        assert kept == {(0, 100), (1, 100), (1, 200), (2, 100), (2, 200)}
    assert {seeds[row["seed_run_id"]] for row in found["carry_results"]} == {1, 2}
    assert {row["seed"]: row["steps"] for row in found["seed_runs"]} == {0: 100, 1: 200, 2: 200}


def test_a_seed_keeps_the_engine_that_computed_its_end(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3, together=2)
    pack = claimed(engine, sweep_id)
    with writing(engine) as conn:
        note_engine(conn, lease_of(pack), (0, 1), engine="native", instruction_set="avx512")
    end(engine, pack, 0, step=100)
    with writing(engine) as conn:
        note_engine(conn, lease_of(pack), (0, 1), engine="torch", instruction_set=None)

    computed = {
        row["seed"]: (row["engine"], row["instruction_set"])
        for row in ask(engine, queries.seeds, sweep_id).items
    }
    assert computed == {0: ("native", "avx512"), 1: ("torch", None), 2: (None, None)}


def test_the_later_attempt_wins_over_rows_of_the_earlier(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    for number, wrong in ((1, 100), (2, 7)):
        pack = claimed(engine, sweep_id, epoch=number)
        rows = Rows(evaluations=[evaluation(0, 100, wrong=wrong)])
        with writing(engine) as conn:
            write_rows(conn, lease_of(pack), rows, steps={0: 100}, wall_seconds=1.0)
    [row] = ask(engine, queries.curves, sweep_id)
    assert row["sequence_error"] == 7 / 128


def test_numbers_that_are_not_finite_are_null_and_numpy_numbers_are_numbers(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    losses = [float("nan"), np.float64("inf")]
    rows = Rows(
        training_epochs=[epoch(seed, 100, loss=loss) for seed, loss in enumerate(losses)],
        evaluations=[evaluation(0, np.int64(100), wrong=np.int32(3))],
    )
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={0: 100}, wall_seconds=1.0)
    found = ask(engine, queries.curves, sweep_id)
    assert [row["loss"] for row in found if row["kind"] == "training"] == [None, None]
    assert [row["sequence_error"] for row in found if row["kind"] == "test"] == [3 / 128]


def test_a_seed_of_another_pack_is_refused_and_nothing_is_written(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    pack = claimed(engine, sweep_id)
    before = _everything(engine)
    with (
        pytest.raises(ValueError, match=rf"seed 1 is not of pack {pack.pack_id}, which has 0"),
        writing(engine) as conn,
    ):
        write_rows(conn, lease_of(pack), _rows(100), steps={0: 100}, wall_seconds=1.0)
    assert _everything(engine) == before


def test_a_seed_ends_with_its_rows_checkpoint_and_outcome_together(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    ref = {"seed": 1, "step": 30, "path": "1.pt", "sha256": "ab", "bytes": 12}
    ended = Ended(seed=1, state="diverged", step=30, reason="loss not finite", checkpoint=ref)
    with writing(engine) as conn:
        assert end_seed(conn, lease_of(pack), _rows(30, (1,)), ended, wall_seconds=3.0)
    [first, second] = ask(engine, queries.seeds, sweep_id).items
    assert (first["state"], first["succeeded"]) == ("running", None)
    assert (second["state"], second["succeeded"]) == ("diverged", False)
    assert (second["steps"], second["wall_seconds"], second["reason"]) == (
        30,
        3.0,
        "loss not finite",
    )
    shown = ask(engine, queries.seed, second["seed_run_id"])
    assert (shown["checkpoint_step"], shown["checkpoint_path"]) == (30, "1.pt")
    assert shown["run"] == {"model": {"family": "neural_gpu", "filters": 24}}


def test_only_an_outcome_ends_a_seed(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    with pytest.raises(ValueError, match="must be 'finished' or 'diverged'"):
        end(engine, pack, 0, "failed")


def test_a_late_writer_of_the_same_pack_cannot_change_a_result(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    end(engine, pack, 0, "finished", 500)
    before = _everything(engine)["seed_runs"][0]
    assert not end(engine, pack, 0, "diverged", 1)
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), _rows(900, (0,)), steps={0: 900}, wall_seconds=99.0)
    assert _everything(engine)["seed_runs"][0] == before
    assert ask(engine, queries.curves, sweep_id) == []


@pytest.mark.parametrize("state", ["finished", "diverged", "failed"])
def test_the_database_itself_keeps_terminal_seed_runs(engine: Engine, state: str) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    if state == "failed":
        with writing(engine) as conn:
            fail_sweep(conn, sweep_id, "no such GPU")
    else:
        end(engine, pack, 0, state)
    for change in ("steps = 3", "state = 'running'", "state = 'cancelled'"):
        with pytest.raises(IntegrityError, match="immutable"), writing(engine) as conn:
            conn.execute(text(f"UPDATE seed_runs SET {change}"))
    if state == "failed":
        with writing(engine) as conn:
            assert retry(conn, sweep_id) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sweeps SET state = 'done'",
        "UPDATE seed_runs SET state = 'succeeded'",
        "UPDATE packs SET state = 'leased', lease_until = NULL",
        "UPDATE seed_runs SET pack_id = 999999",
        "UPDATE evaluations SET wrong_sequences = 129",
        "UPDATE evaluations SET sequences = 0, wrong_sequences = 0",
    ],
)
def test_the_schema_refuses_what_the_words_do_not_know(engine: Engine, statement: str) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    rows = Rows(evaluations=[evaluation(0, 1)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={0: 1}, wall_seconds=1.0)
    with pytest.raises(IntegrityError), writing(engine) as conn:
        conn.execute(text(statement))


def test_divergence_and_failure_leave_the_denominator_as_it_was_requested(engine: Engine) -> None:
    with writing(engine) as conn:
        sweep_id, _ = submit(conn, new_sweep(seeds=4, together=4))
    pack = claimed(engine, sweep_id)
    passed = Rows(evaluations=[evaluation(0, 100, wrong=0), evaluation(1, 100, wrong=0)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), passed, steps={0: 100}, wall_seconds=1.0)
    end(engine, pack, 0)
    end(engine, pack, 1, "diverged", 150)
    [row] = ask(engine, queries.success, sweep_id)
    assert (row["requested"], row["counted"], row["succeeded"]) == (4, 2, 1)
    with writing(engine) as conn:
        fail_sweep(conn, sweep_id, "no such GPU")
    [row] = ask(engine, queries.success, sweep_id)
    assert (row["requested"], row["counted"], row["excluded"]) == (4, 2, 2)
    assert (row["succeeded"], row["diverged"], row["failed"]) == (1, 1, 2)
    assert row["fraction"] == 0.5
    assert ask(engine, queries.seeds, sweep_id).items[0]["success_length"] == LENGTH
