"""The named questions that are more than a view's rows."""

import base64

import pytest
from record import ask, claimed, end, epoch, evaluation, lease_of, new_sweep, submitted
from sqlalchemy import Engine

from db import queries
from db.engine import writing
from db.errors import BadCursor, SeedRunNotFound, SweepNotFound
from db.giving_back import fail_pack
from db.leasing import ClaimedPack
from db.paging import MAX_LIMIT
from db.recording import Rows, write_rows
from db.submission import submit


def _move(engine: Engine, pack: ClaimedPack, step: int, wall_seconds: float) -> None:
    steps = dict.fromkeys(pack.seeds, step)
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), Rows(), steps=steps, wall_seconds=wall_seconds)


def test_progress_tells_counts_rate_and_time_left(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=6, together=2, max_steps=1000)
    first = ask(engine, queries.progress, sweep_id)
    assert (first["requested"], first["pending"], first["running"]) == (6, 6, 0)
    assert (first["steps_done"], first["steps_total"]) == (0, 6000)
    assert (first["seed_steps_per_second"], first["seconds_left"]) == (None, None)

    moving = claimed(engine, sweep_id)
    _move(engine, moving, 400, 4.0)
    claimed(engine, sweep_id)  # has not told anything yet: counts with the mean rate
    second = ask(engine, queries.progress, sweep_id)
    assert (second["running"], second["steps_done"]) == (4, 800)
    assert second["seed_steps_per_second"] == pytest.approx(400)
    assert second["seconds_left"] == pytest.approx(5200 / 400)

    end(engine, moving, 0, "diverged", 400)
    third = ask(engine, queries.progress, sweep_id)
    assert (third["diverged"], third["steps_total"]) == (1, 5400)


def test_the_rate_is_of_the_running_attempt(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    _move(engine, claimed(engine, sweep_id, epoch=1), 900, 100.0)
    again = claimed(engine, sweep_id, epoch=2)
    assert again.wall_seconds == 100.0
    assert ask(engine, queries.progress, sweep_id)["seed_steps_per_second"] is None
    _move(engine, again, 50, 101.0)
    assert ask(engine, queries.progress, sweep_id)["seed_steps_per_second"] == pytest.approx(50)


def test_a_sweep_that_has_ended_has_no_time_left(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    end(engine, claimed(engine, sweep_id), 0, "finished", 700)
    row = ask(engine, queries.progress, sweep_id)
    assert (row["steps_done"], row["steps_total"], row["seconds_left"]) == (700, 700, 0.0)


def test_sweeps_are_listed_newest_first_in_pages_with_their_counts(engine: Engine) -> None:
    ids = [submitted(engine, configurations=2, seeds=2) for _ in range(5)]
    pack = claimed(engine, ids[0])
    rows = Rows(evaluations=[evaluation(0, 100, wrong=0)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={}, wall_seconds=1.0)
    end(engine, pack, 0)
    seen, cursor = [], None
    while True:
        page = ask(engine, queries.list_sweeps, cursor=cursor, limit=2)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [row["id"] for row in seen] == sorted(ids, reverse=True)
    row = next(row for row in seen if row["id"] == ids[0])
    assert (row["configurations"], row["requested"], row["finished"]) == (2, 4, 1)
    assert (row["counted"], row["succeeded"], row["pending"]) == (1, 1, 3)
    assert "spec" not in row
    assert ask(engine, queries.list_sweeps, state="running").items == []
    assert ask(engine, queries.list_sweeps, name="other").items == []


def test_pages_of_seeds_cover_each_once_even_while_seeds_are_added(engine: Engine) -> None:
    sweep_id = submitted(engine, configurations=2, seeds=5)
    first = ask(engine, queries.seeds, sweep_id, limit=7)
    submitted(engine, seeds=3)
    second = ask(engine, queries.seeds, sweep_id, cursor=first.next_cursor, limit=7)
    seen = [(row["configuration"], row["seed"]) for row in first.items + second.items]
    assert seen == sorted(set(seen))
    assert len(seen) == 10
    assert second.next_cursor is None
    one = first.items[0]["configuration_id"]
    only = ask(engine, queries.seeds, sweep_id, configuration_id=one, state="pending")
    assert len(only.items) == 5


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "e30", "W10", base64.urlsafe_b64encode(b'["a", 1]').decode(), "WzEsIDFl"],
)
def test_a_cursor_of_elsewhere_is_refused(engine: Engine, cursor: str) -> None:
    with pytest.raises(BadCursor) as caught:
        ask(engine, queries.seeds, "any", cursor=cursor)
    assert caught.value.cursor == cursor


def test_a_page_has_a_largest_size(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"limit is 1001: must be between 1 and 1000"):
        ask(engine, queries.seeds, "any", limit=MAX_LIMIT + 1)


def test_what_is_not_there_is_named(engine: Engine) -> None:
    for question in (queries.sweep, queries.progress):
        with pytest.raises(SweepNotFound, match="there is no sweep 'nothing'"):
            ask(engine, question, "nothing")
    with pytest.raises(SeedRunNotFound, match="there is no seed run 7"):
        ask(engine, queries.seed, 7)


def test_errors_by_length_are_the_last_tests(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    tests = [
        evaluation(0, 100, wrong=128, length=41),
        evaluation(0, 200, wrong=32, length=41),
        evaluation(0, 100, wrong=64, length=201),
        evaluation(0, 200, wrong=1, length=41, task="baddt"),
    ]
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), Rows(evaluations=tests), steps={}, wall_seconds=1.0)
    [seed] = ask(engine, queries.seeds, sweep_id).items
    found = ask(engine, queries.evaluations_by_length, seed["seed_run_id"])
    assert [(row["task"], row["length"], row["step"], row["sequence_error"]) for row in found] == [
        ("badd", 41, 200, 0.25),
        ("badd", 201, 100, 0.5),
        ("baddt", 41, 200, 1 / 128),
    ]


def test_a_seeds_carry_trials_and_curves(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    trials = [
        {"seed": 0, "step": 9, "task": "badd", "carry_length": k, "trials": 8, "wrong": k}
        for k in (2, 1)
    ]
    rows = Rows(carry_trials=trials, training_epochs=[epoch(0, step) for step in (400, 200)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={}, wall_seconds=1.0)
    [seed] = ask(engine, queries.seeds, sweep_id).items
    found = ask(engine, queries.carry_trials, seed["seed_run_id"])
    assert [(row["carry_length"], row["trials"], row["wrong"]) for row in found] == [
        (1, 8, 1),
        (2, 8, 2),
    ]
    curve = ask(engine, queries.seed_curves, seed["seed_run_id"])
    assert [row["step"] for row in curve] == [200, 400]


def test_failures_show_faults_before_results(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3, max_failures=1)
    end(engine, claimed(engine, sweep_id), 0, "diverged", 5)
    for _ in range(2):
        pack = claimed(engine, sweep_id)
        with writing(engine) as conn:
            fail_pack(conn, pack.pack_id, pack.fence, "it raised")
    first = ask(engine, queries.failures, sweep_id, limit=2)
    assert [(row["state"], row["seed"]) for row in first.items] == [("failed", 1), ("failed", 2)]
    assert "rank" not in first.items[0]
    second = ask(engine, queries.failures, sweep_id, cursor=first.next_cursor)
    assert [(row["state"], row["seed"]) for row in second.items] == [("diverged", 0)]


def test_history_is_the_measured_time_of_a_seed_step(engine: Engine) -> None:
    spec = new_sweep(seeds=4, together=4)
    digest = spec.configurations[0].digest
    assert ask(engine, queries.history_seconds_per_step, digest=digest) is None
    with writing(engine) as conn:
        sweep_id, _ = submit(conn, spec)
    _move(engine, claimed(engine, sweep_id), 100, 20.0)
    # 20 s for 4 seeds × 100 steps.
    for question in (
        {"digest": digest},
        {"family": "neural_gpu"},
        {"family": "neural_gpu", "filters": 24},
    ):
        found = ask(engine, queries.history_seconds_per_step, **question)
        assert found == pytest.approx(0.05)
    for question in ({"digest": "another"}, {"family": "neural_gpu", "filters": 25}):
        assert ask(engine, queries.history_seconds_per_step, **question) is None
