"""Additions in which one carry runs through a given number of digits (SPECS B.6).

With overflow the operands add up to exactly base**c: the carry that arises at the first digit that
is not zero runs through every digit up to c - 1 and out of it. Without, they add up to
base**c - 1: no digit carries, yet every one is a carry away from doing so, so a network that
guesses "a carry passes here" is wrong from end to end.
"""

import numpy as np

from ngpu_core.tasks import digits
from ngpu_core.tasks.operands import complement, swapped
from ngpu_core.tasks.task import Batch, Digits, Task

#: Sums of each of the two kinds in one estimate of a carry error (SPECS B.6).
CARRY_SAMPLES = 32


def carry_sample(
    task: Task,
    generator: np.random.Generator,
    count: int,
    carry_length: int,
    overflow: bool,
    *,
    operand_digits: int | None = None,
    random_offset: bool = False,
) -> Batch:
    """Draw additions with one long carry, written as the task writes them.

    Args:
        task: an addition.
        generator: the stream.
        count: problems.
        carry_length: c, in digits.
        overflow: whether the sum is base**c rather than base**c - 1.
        operand_digits: k, digits of each operand; None takes c + 1, the shortest with room for the
            carry. The problems' length is 2k + 1.
        random_offset: shift both operands up by U{0..k-c} digits instead of leaving them lowest.

    Returns:
        inputs (count, task.rows, 2k + 1) and targets (count, 2k + 1).

    Raises:
        ValueError: The task is no addition, the carry has no digit, or k < c.
    """
    if task.operation != "+" or task.base is None or task.pose is None:
        raise ValueError(f"task {task.name} is no addition: carries are tested on sums only")
    if carry_length < 1:
        raise ValueError(f"carry_length is {carry_length}: must be at least 1")
    k = carry_length + 1 if operand_digits is None else operand_digits
    if k < carry_length:
        raise ValueError(f"operand_digits is {k}: must be at least the carry's {carry_length}")
    widths = np.full(count, carry_length)
    draw = digits.uniform_positive if overflow else digits.uniform
    first = draw(generator, task.base, widths, k)
    second = complement(first, task.base, widths, np.full(count, overflow))
    if random_offset:
        shift = generator.integers(0, k - carry_length + 1, size=count)
        first, second = _shifted(first, shift), _shifted(second, shift)
    first, second = swapped(generator, first, second)
    return task.pose(generator, first, second, 2 * k + 1)


def carry_problem_length(carry_length: int) -> int:
    """Length of the shortest problems with a carry of that many digits."""
    return 2 * carry_length + 3


def curve_carry_lengths(limit: int) -> list[int]:
    """Carry lengths at which the published error curves were taken, up to `limit` digits."""
    return [c for c in [*range(1, 30), *range(30, limit + 1, 5)] if c <= limit]


def _shifted(number: Digits, shift: digits.Widths) -> Digits:
    """Multiply by base**shift within the same columns."""
    source = np.arange(number.shape[1]) - shift[:, None]
    moved = np.take_along_axis(number, source.clip(0), axis=1)
    return np.where(source >= 0, moved, 0)
