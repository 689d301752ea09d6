"""Sums and products somewhere on a grid of four rows; empty cells hold a space, not a pad.

A problem of size U{minimum..length-1} is drawn, then its place: uniform among the rows and columns
where it fits. The answer starts at column 0 and is filled with spaces. As drawn by the reference,
the size is always below the length, so the shortest length is the first odd one above it.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from ngpu_core.alphabet import ADD, MULTIPLY, SPACE
from ngpu_core.tasks import digits
from ngpu_core.tasks.arithmetic import (
    Problem,
    joined,
    require_alike,
    without_leading_zeros,
)
from ngpu_core.tasks.digits import Widths
from ngpu_core.tasks.operands import Draw, tough_pair, uniform_pair
from ngpu_core.tasks.reading import read_answer, read_operands, show_answer, show_operands
from ngpu_core.tasks.task import Batch, Digits, Layout, Pose, Symbols, Task

GRID_ROWS = 4
#: Smallest size of a problem: digit, operator, digit.
_SMALLEST = 3


def place(generator: np.random.Generator, blocks: Digits, widths: Widths, length: int) -> Symbols:
    """Put every problem at a random place of its own grid.

    Args:
        generator: the stream.
        blocks: (count, height, any) symbols of the problems, low columns first.
        widths: (count,) columns of each block that belong to the problem.
        length: columns of the grids.

    Returns:
        (count, 4, length) grids.
    """
    count, height = blocks.shape[:2]
    top = generator.integers(0, GRID_ROWS - height + 1, size=count)
    left = generator.integers(0, length - widths + 1)
    grids = np.full((count, GRID_ROWS, length), SPACE, dtype=np.int16)
    inside = np.arange(blocks.shape[2]) < widths[:, None, None]
    which, row, column = np.nonzero(np.broadcast_to(inside, blocks.shape))
    grids[which, top[which] + row, left[which] + column] = blocks[which, row, column]
    return grids


def pose_in_a_row(
    problem: Problem,
    generator: np.random.Generator,
    first: Digits,
    second: Digits,
    length: int,
) -> Batch:
    """Operand, operator, operand in one row, without leading zeros."""
    require_alike(first, second)
    widths = digits.significant(first) + digits.significant(second) + 1
    _require_fit(widths, length)
    cells = joined(first, second, problem.symbol)
    inputs = place(generator, cells[:, None], widths, length)
    return Batch(inputs=inputs, targets=_answers(problem, first, second, length))


def pose_aligned(
    problem: Problem,
    generator: np.random.Generator,
    first: Digits,
    second: Digits,
    length: int,
) -> Batch:
    """One operand above the other, without leading zeros; the operator below, before the second."""
    require_alike(first, second)
    blocks = np.full((len(first), 2, first.shape[1] + 1), SPACE, dtype=np.int64)
    blocks[:, 0, 1:] = without_leading_zeros(first, SPACE)
    blocks[:, 1, 1:] = without_leading_zeros(second, SPACE)
    blocks[:, 1, 0] = problem.symbol
    widths = 1 + np.maximum(digits.significant(first), digits.significant(second))
    _require_fit(widths, length)
    inputs = place(generator, blocks, widths, length)
    return Batch(inputs=inputs, targets=_answers(problem, first, second, length))


def _require_fit(widths: Widths, length: int) -> None:
    if widths.max(initial=0) > length:
        raise ValueError(f"these operands need length {widths.max()}, not {length}")


def _answers(problem: Problem, first: Digits, second: Digits, length: int) -> Symbols:
    width = max(length, 2 * first.shape[1])
    answer = problem.answer(first, second, width)
    if digits.significant(answer).max(initial=0) > length:
        raise ValueError(f"these operands' answer needs more than {length} digits")
    return without_leading_zeros(answer[:, :length], SPACE).astype(np.int16)


def sample_numbers(
    problem: Problem,
    draw: Draw,
    pose: Pose,
    generator: np.random.Generator,
    count: int,
    length: int,
    symbols: int,
) -> Batch:
    """Operands of (size - 1) // 2 digits, the size a row's own."""
    widths = (generator.integers(_SMALLEST, length, size=count) - 1) // 2
    first, second = draw(generator, problem.base, widths, (length - 2) // 2)
    return pose(generator, first, second, length)


def cut_out(grid: Symbols) -> Symbols:
    """The smallest block that holds everything but spaces."""
    written = grid != SPACE
    if not written.any():
        raise ValueError("there is no problem here: the grid is empty")
    rows, columns = np.flatnonzero(written.any(axis=1)), np.flatnonzero(written.any(axis=0))
    return grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _flattened(grid: Symbols) -> Symbols:
    """The operands of a grid as one padded row: first, operator, second."""
    block = cut_out(grid)
    if len(block) == 1:
        return block
    if len(block) > 2:
        raise ValueError(f"a problem stands in one row or two, these symbols in {len(block)}")
    above, below = (row[row != SPACE] for row in block)
    return np.concatenate([above, below])[None]


def _read_operands(problem: Problem, grid: Symbols) -> tuple[int, ...]:
    return read_operands(problem.base, problem.symbol, _flattened(grid))


def _show_operands(problem: Problem, grid: Symbols) -> str:
    return show_operands(problem.operation, problem.symbol, _flattened(grid))


def _task(problem: Problem, family: str, suffix: str, pose: Pose, *, tough: bool = False) -> Task:
    where = "one above the other" if family == "spaced_aligned" else "in one row"
    verb = "Add" if problem.operation == "+" else "Multiply"
    return Task(
        name=f"s{problem.name}{suffix}",
        description=f"{verb} two numbers in base {problem.base}, {where}, without leading zeros "
        f"anywhere on a grid{', many with long carries' if tough else ''}.",
        family=family,
        base=problem.base,
        operation=problem.operation,
        rows=GRID_ROWS,
        input_symbols=SPACE + 1,
        output_symbols=SPACE + 1,
        minimum_length=_SMALLEST + 2,
        length_step=2,
        layout=Layout(
            read=partial(_read_operands, problem),
            read_target=partial(read_answer, problem.base, SPACE, False),
            show=partial(_show_operands, problem),
            show_target=partial(show_answer, SPACE),
        ),
        sampler=partial(sample_numbers, problem, tough_pair if tough else uniform_pair, pose),
        pose=pose,
    )


def spaced_tasks() -> Iterator[Task]:
    """The reference's: binary only. Its z names draw exactly as those without."""
    addition = Problem(base=2, operation="+", symbol=ADD[2])
    product = Problem(base=2, operation="*", symbol=MULTIPLY[2])
    in_a_row, aligned = partial(pose_in_a_row, addition), partial(pose_aligned, addition)
    yield _task(addition, "spaced", "", in_a_row)
    yield _task(addition, "spaced", "t", in_a_row, tough=True)
    yield _task(addition, "spaced", "z", in_a_row)
    yield _task(addition, "spaced", "zt", in_a_row, tough=True)
    yield _task(addition, "spaced_aligned", "e", aligned)
    yield _task(addition, "spaced_aligned", "et", aligned, tough=True)
    yield _task(product, "spaced", "", partial(pose_in_a_row, product))
    yield _task(product, "spaced_aligned", "e", partial(pose_aligned, product))
