"""Tests at training's lengths (SPECS B.4): where they end, and what they say about long ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.events import Evaluation
from ngpu_core.models.families import network
from ngpu_core.packing import SeedPack
from ngpu_core.short_tests import evaluate_short, promising
from ngpu_core.tasks.registry import TASKS
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config


def configured(tasks, **evaluation):
    """Three letters: an untrained network gets short words right now and then."""
    return run_config(
        "neural_gpu", training__tasks=tuple(tasks), training__min_length=1,
        training__max_length=8, training__max_steps=9, model__input_symbols=3,
        model__output_symbols=3,
        **{f"evaluation__{key}": value for key, value in evaluation.items()},
    )  # fmt: skip


def short_tests(config, seed, step=3):
    net = network(config.model)
    parameters = SeedPack.initialize(net, [seed], "cpu").alone(seed).parameters
    return list(evaluate_short(AutogradEngine(net), config, parameters, seed, step))


@settings(max_examples=15, deadline=None)
@given(
    tasks=st.sampled_from([["rev"], ["dup", "rev"], ["sort", "id"]]),
    stop=st.integers(1, 4),
    sequences=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_tasks_tests_end_with_the_first_run_of_all_wrong_lengths(tasks, stop, sequences, seed):
    whole = short_tests(configured(tasks, short_sequences=sequences), seed)
    ended = short_tests(configured(tasks, short_sequences=sequences, stop_after_wrong=stop), seed)

    expected = []
    for name in tasks:
        rows = [row for row in whole if row.task == name]
        assert [row.length for row in rows] == [n for n in range(1, 9) if TASKS[name].valid(n)]
        assert {row.sequences for row in rows} == {sequences}
        wrong = [row.wrong_sequences == sequences for row in rows]
        ends = [at for at in range(stop, len(rows) + 1) if all(wrong[at - stop : at])]
        expected += rows[: ends[0]] if ends else rows
    assert ended == expected


def test_without_sequences_there_are_none():
    assert short_tests(configured(["rev"]), 0) == []


def row(task, length, wrong):
    return Evaluation(
        seed=0, step=1, task=task, length=length, sequences=20, wrong_sequences=wrong,
        symbols=20 * length, wrong_symbols=wrong,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "goes_well"),
    [
        ({"rev": [20, 0], "id": [0, 20]}, True),
        ({"rev": [0, 1], "id": [0, 1]}, False),
        ({"rev": [20, 20], "id": [20, 20]}, False),
        ({"rev": [0, 20], "id": [0, 0]}, True),
    ],
)
def test_the_last_short_test_of_any_task_says_whether_long_ones_follow(wrong, goes_well):
    config = configured(["rev", "id"], short_sequences=20, short_below=0.05)
    rows = [row(task, at, each) for task in wrong for at, each in enumerate(wrong[task], start=1)]

    assert promising(config, rows) == goes_well
    assert promising(configured(["rev", "id"], short_sequences=20), rows)


def lengths_by_step(config):
    found = {}
    for event in PackTrainer(config, [0]).events():
        if isinstance(event, Evaluation):
            found.setdefault(event.step, []).append((event.task, event.length))
    return found


def test_short_tests_are_made_each_time_and_long_ones_at_the_end_or_when_they_go_well():
    tasks = [("rev", length) for length in range(1, 9)]
    every = lengths_by_step(configured(["rev"], short_sequences=2))
    gated = lengths_by_step(configured(["rev"], short_sequences=50, short_below=1e-9))
    hurried = lengths_by_step(configured(["rev"], short_sequences=2, only_below=1e-9))

    whole = [*tasks, ("rev", 11)]
    assert every == {3: whole, 6: whole, 9: whole}
    for found in (gated, hurried):
        assert found == {3: tasks, 6: tasks, 9: whole}
