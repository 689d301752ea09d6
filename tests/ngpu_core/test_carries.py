"""Carry problems add up to base**c or base**c - 1 and carry through the digits they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.carries import carry_problem_length, carry_sample, curve_carry_lengths
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import TASKS, Batch, Task

SUMS = sorted(name for name, task in TASKS.items() if task.operation == "+")
OTHERS = sorted(set(TASKS) - set(SUMS))


def operands(task: Task, batch: Batch) -> list[tuple[int, ...]]:
    return [task.decode(inputs, batch.targets.shape[1]) for inputs in batch.inputs]


def carries(first: int, second: int, base: int, width: int) -> list[bool]:
    """Whether each digit position carries out, by the schoolbook."""
    low = [(first % base**i, second % base**i, base**i) for i in range(1, width + 1)]
    return [a + b >= power for a, b, power in low]


@pytest.mark.parametrize("name", SUMS)
@settings(max_examples=15, deadline=None)
@given(c=st.integers(1, 60), overflow=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_sums_are_exactly_a_power_or_one_less(name: str, c: int, overflow: bool, seed: int) -> None:
    task = TASKS[name]
    batch = carry_sample(task, stream(seed, "carry", c), 6, c, overflow)
    total = task.base**c - (not overflow)  # type: ignore[operator]
    length = carry_problem_length(c)
    assert batch.inputs.shape == (6, task.rows, length)
    assert batch.targets.shape == (6, length)
    assert all(sum(pair) == total for pair in operands(task, batch))
    assert all(task.decode_target(row, length) == total for row in batch.targets)


@settings(deadline=None)
@given(
    name=st.sampled_from(["badd", "qadd", "add"]),
    c=st.integers(1, 120),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_carry_once_begun_runs_to_the_last_digit_and_out(name: str, c: int, seed: int) -> None:
    task = TASKS[name]
    batch = carry_sample(task, stream(seed, "carry"), 8, c, True)
    for first, second in operands(task, batch):
        chain = carries(first, second, task.base or 0, c)
        begun = chain.index(True)
        assert all(chain[begun:])
        assert first % task.base**begun == 0  # type: ignore[operator]


@settings(deadline=None)
@given(
    name=st.sampled_from(["badd", "qadd", "add"]),
    c=st.integers(1, 120),
    seed=st.integers(0, 2**31 - 1),
)
def test_without_overflow_no_digit_carries(name: str, c: int, seed: int) -> None:
    task = TASKS[name]
    batch = carry_sample(task, stream(seed, "carry"), 8, c, False)
    for first, second in operands(task, batch):
        assert not any(carries(first, second, task.base or 0, c))


@pytest.mark.parametrize("name", SUMS)
@settings(max_examples=10, deadline=None)
@given(data=st.data(), overflow=st.booleans(), seed=st.integers(0, 2**31 - 1))
def test_shifted_carries_keep_their_length_within_wide_operands(
    name: str, data: st.DataObject, overflow: bool, seed: int
) -> None:
    task = TASKS[name]
    k = data.draw(st.integers(1, 100))
    c = data.draw(st.integers(1, k))
    sampled = carry_sample(
        task, stream(seed, "x"), 6, c, overflow, operand_digits=k, random_offset=True
    )
    base = task.base or 0
    totals = {(base**c - (not overflow)) * base**shift for shift in range(k - c + 1)}
    assert sampled.targets.shape == (6, 2 * k + 1)
    assert {sum(pair) for pair in operands(task, sampled)} <= totals


def test_operands_are_uniform_and_both_orders_occur() -> None:
    task = TASKS["add"]
    batch = carry_sample(task, stream(0, "uniform"), 20_000, 1, True)
    first = np.array([pair[0] for pair in operands(task, batch)])
    counts = np.bincount(first, minlength=10)
    assert counts[0] == 0
    assert abs(counts[1:] - 20_000 / 9).max() < 5 * np.sqrt(20_000 / 9)


def test_the_smallest_binary_overflow_is_one_plus_one() -> None:
    task = TASKS["badd"]
    batch = carry_sample(task, stream(0, "one"), 4, 1, True)
    assert set(operands(task, batch)) == {(1, 1)}


@pytest.mark.parametrize("name", OTHERS)
def test_only_sums_have_carries(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is no addition"):
        carry_sample(TASKS[name], stream(0, "x"), 1, 3, True)


def test_a_carry_without_digits_or_room_is_refused() -> None:
    with pytest.raises(ValueError, match="carry_length is 0"):
        carry_sample(TASKS["badd"], stream(0, "x"), 1, 0, True)
    with pytest.raises(ValueError, match="operand_digits is 3: must be at least the carry's 4"):
        carry_sample(TASKS["badd"], stream(0, "x"), 1, 4, True, operand_digits=3)


def test_curve_lengths_are_every_one_to_30_then_every_fifth() -> None:
    assert curve_carry_lengths(40) == [*range(1, 31), 35, 40]
    assert curve_carry_lengths(12) == list(range(1, 13))
    assert curve_carry_lengths(0) == []
