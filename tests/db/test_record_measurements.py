"""What figures ask of the record, against a recount in Python, the same on both databases."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from record import LENGTH, ask, claimed, epoch, evaluation, lease_of, submitted
from sqlalchemy import Engine

from db import measurements, queries
from db.engine import writing
from db.recording import Ended, Rows, end_seed

TASKS = ("badd", "baddt")
BELOW = 0.1
#: (seed, step, task, length) -> wrong sequences of 128
tests = st.dictionaries(
    st.tuples(
        st.integers(0, 1), st.sampled_from([100, 200, 300]), st.sampled_from(TASKS),
        st.sampled_from([LENGTH, 41]),
    ),
    st.sampled_from([0, 12, 13, 128]),
    max_size=12,
)  # fmt: skip
epochs = st.dictionaries(
    st.tuples(st.integers(0, 1), st.sampled_from([100, 200]), st.sampled_from(TASKS)),
    st.sampled_from([0, 6, 7, 64]),
    max_size=8,
)


def recorded(
    engine: Engine, tested: dict[Any, int], trained: dict[Any, int]
) -> tuple[str, list[int]]:
    """A sweep of two seeds with these rows, and the ids of its seed runs."""
    sweep_id = submitted(engine, together=2)
    pack = claimed(engine, sweep_id)
    rows = Rows(
        evaluations=[
            evaluation(seed, step, wrong, task=task, length=length)
            for (seed, step, task, length), wrong in tested.items()
        ],
        training_epochs=[
            epoch(seed, step, task=task, wrong_sequences=wrong)
            for (seed, step, task), wrong in trained.items()
        ],
    )
    for seed in pack.seeds:
        own = Rows(
            evaluations=[row for row in rows.evaluations if row["seed"] == seed],
            training_epochs=[row for row in rows.training_epochs if row["seed"] == seed],
        )
        with writing(engine) as conn:
            ended = Ended(seed=seed, state="finished", step=300, reason="drawn")
            end_seed(conn, lease_of(pack), own, ended, wall_seconds=3.0)
    found = ask(engine, queries.seeds, sweep_id).items
    return sweep_id, [row["seed_run_id"] for row in found]


def summed(errors: dict[int, float]) -> dict[str, Any]:
    """Step -> error, as a summary counts it."""
    hits = [step for step, error in errors.items() if error < BELOW]
    after = sum(step > max(hits) for step in errors) if hits else None
    return {
        "tests": len(errors),
        "best": min(errors.values()),
        "first_below": min(hits, default=None),
        "tests_after_below": after,
    }


@given(tested=tests)
@settings(max_examples=8)
def test_a_summary_counts_tests_hits_and_the_looks_since(
    engine: Engine, tested: dict[Any, int]
) -> None:
    sweep_id, ids = recorded(engine, tested, {})
    by_task: dict[tuple[int, str], dict[int, float]] = {}
    worst: dict[int, dict[int, float]] = {}
    for (seed, step, task, length), wrong in tested.items():
        if length == LENGTH:
            by_task.setdefault((ids[seed], task), {})[step] = wrong / 128
            own = worst.setdefault(ids[seed], {})
            own[step] = max(own.get(step, 0.0), wrong / 128)

    found = ask(engine, measurements.task_summaries, sweep_id, length=LENGTH, below=BELOW)
    assert found == [
        {"seed_run_id": seed, "task": task, **summed(errors)}
        for (seed, task), errors in sorted(by_task.items())
    ]

    found = ask(
        engine, measurements.task_summaries, sweep_id, length=LENGTH, below=BELOW, worst_task=True
    )
    assert found == [
        {"seed_run_id": seed, "task": None, **summed(errors)}
        for seed, errors in sorted(worst.items())
    ]


@given(trained=epochs)
@settings(max_examples=5)
def test_training_is_summed_over_its_epochs(engine: Engine, trained: dict[Any, int]) -> None:
    sweep_id, ids = recorded(engine, {}, trained)
    expected: dict[tuple[int, str], dict[int, float]] = {}
    for (seed, step, task), wrong in trained.items():
        expected.setdefault((ids[seed], task), {})[step] = wrong / 64

    found = ask(engine, measurements.training_summaries, sweep_id, below=BELOW)

    assert found == [
        {
            "seed_run_id": seed, "task": task, "epochs": len(errors), "best": min(errors.values()),
            "first_below": min((s for s, error in errors.items() if error < BELOW), default=None),
        }
        for (seed, task), errors in sorted(expected.items())
    ]  # fmt: skip


@given(tested=tests)
@settings(max_examples=5)
def test_points_and_last_tests_are_the_rows(engine: Engine, tested: dict[Any, int]) -> None:
    sweep_id, ids = recorded(engine, tested, {})
    [configuration] = ask(engine, queries.configurations, sweep_id)

    points = ask(
        engine, measurements.seed_points, [configuration["id"]], kind="test", task="badd",
        length=LENGTH,
    )  # fmt: skip
    assert [(row["seed_run_id"], row["step"], row["value"]) for row in points] == sorted(
        (ids[seed], step, wrong / 128)
        for (seed, step, task, length), wrong in tested.items()
        if (task, length) == ("badd", LENGTH)
    )

    last: dict[tuple[int, str, int], tuple[int, int]] = {}
    for (seed, step, task, length), wrong in tested.items():
        key = (ids[seed], task, length)
        last[key] = max(last.get(key, (0, 0)), (step, wrong))
    found = ask(engine, measurements.last_tests, sweep_id)
    assert {
        (row["seed_run_id"], row["task"], row["length"]): (row["step"], row["wrong_sequences"])
        for row in found
    } == last
