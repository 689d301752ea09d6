"""Every task's answers are computed again with Python integers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import TASKS, Batch, Task

SEEDS = st.integers(0, 2**31 - 1)
NAMES = st.sampled_from(sorted(TASKS))


def lengths(task: Task, longest: int) -> st.SearchStrategy[int]:
    return st.integers(task.shortest, longest).filter(task.valid)


def draw(name: str, seed: int, length: int, count: int = 8, step: int = 0) -> Batch:
    return TASKS[name].sample(stream(seed, name, step), count, length)


def right_answer(task: Task, asked: tuple[int, ...]) -> int | tuple[int, ...]:
    if task.operation == "+":
        return asked[0] + asked[1]
    if task.operation == "*":
        return asked[0] * asked[1]
    rearrangements = {"rev": asked[::-1], "sort": tuple(sorted(asked)), "id": asked}
    doubled = {"dup": asked * 2, "sdup": asked * 2, "sbdup": asked * 2}
    return (rearrangements | doubled | {"scopy": asked, "sbcopy": asked})[task.name]


def check_answers(name: str, seed: int, length: int) -> None:
    batch = draw(name, seed, length)
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        asked = TASKS[name].decode(inputs, length)
        assert TASKS[name].decode_target(targets, length) == right_answer(TASKS[name], asked)


@pytest.mark.parametrize("name", sorted(TASKS))
@settings(max_examples=12, deadline=None)
@given(data=st.data(), seed=SEEDS)
def test_targets_are_the_right_answers(name: str, data: st.DataObject, seed: int) -> None:
    check_answers(name, seed, data.draw(lengths(TASKS[name], 60)))


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("length", [201, 399, 401])
def test_targets_are_the_right_answers_at_test_lengths(name: str, length: int) -> None:
    check_answers(name, length, length)
