"""Sums and products of two numbers in one row, or in two with their digits aligned.

padded: k digits, operator, k digits, with leading zeros, k = (length - 1) / 2; the answer fills the
row with leading zeros. unpadded (z): no leading zeros, rows end early. aligned (e): the second
number stands under the first, the operator behind it. tough (t): operands with long carries.
diagonal (_dn): the Diagonal Neural GPU's, any length; answers of sums and of decimal products
without leading zeros. bmul_tfm: binary products as the first Neural GPU had them, likewise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ngpu_core.alphabet import ADD, DIAGONAL_ADD, DIAGONAL_MULTIPLY, MULTIPLY, PAD
from ngpu_core.tasks import digits
from ngpu_core.tasks.operands import Draw, tough_pair, uniform_pair
from ngpu_core.tasks.reading import read_answer, read_operands, show_answer, show_operands
from ngpu_core.tasks.task import Batch, Digits, Layout, Pose, Task

#: The reference's letters for the bases, as task names use them.
LETTERS = {2: "b", 4: "q", 5: "f", 8: "o", 10: ""}
_WORDS = {"+": "Add", "*": "Multiply"}
_VERBS = {"+": "add", "*": "mul"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is computed: the base, the operation and the operator's symbol."""

    base: int
    #: `+` or `*`
    operation: str
    symbol: int

    @property
    def name(self) -> str:
        """The reference's name: base letter and verb."""
        return LETTERS[self.base] + _VERBS[self.operation]

    def answer(self, first: Digits, second: Digits, width: int) -> Digits:
        """Sums or products in `width` digits."""
        compute = digits.add if self.operation == "+" else digits.multiply
        return compute(first, second, self.base, width)


def require_alike(first: Digits, second: Digits) -> None:
    """Refuse operands of different shapes."""
    if first.shape != second.shape:
        raise ValueError(f"operands have shapes {first.shape} and {second.shape}: must be equal")


def require_room(length: int, first: Digits, second: Digits) -> None:
    """Refuse operands that, with the operator between them, are longer than the row."""
    require_alike(first, second)
    k = first.shape[1]
    if 2 * k + 1 > length:
        raise ValueError(f"operands of {k} digits need length {2 * k + 1}, not {length}")


def without_leading_zeros(number: Digits, filler: int) -> Digits:
    """Numbers as symbols, `filler` instead of leading zeros."""
    written = np.arange(number.shape[1]) < digits.significant(number)[:, None]
    return np.where(written, number + 1, filler)


def joined(first: Digits, second: Digits, symbol: int) -> Digits:
    """First number, operator, second number, all without leading zeros; 0 behind. (count, 2k+1)."""
    cells = np.pad(without_leading_zeros(first, PAD), ((0, 0), (0, second.shape[1] + 1)))
    split = digits.significant(first)[:, None]
    source = np.arange(cells.shape[1]) - split - 1
    inside = (source >= 0) & (source < digits.significant(second)[:, None])
    moved = np.take_along_axis(second, source.clip(0, second.shape[1] - 1), axis=1) + 1
    cells = np.where(inside, moved, cells)
    np.put_along_axis(cells, split, symbol, axis=1)
    return cells


def pose_padded(
    problem: Problem,
    strip: bool,
    generator: np.random.Generator,
    first: Digits,
    second: Digits,
    length: int,
) -> Batch:
    """All digits of both operands in one row; `strip`: no leading zeros in the answer."""
    count, k = first.shape
    require_room(length, first, second)
    inputs = np.zeros((count, 1, length), dtype=np.int16)
    inputs[:, 0, :k] = first + 1
    inputs[:, 0, k] = problem.symbol
    inputs[:, 0, k + 1 : 2 * k + 1] = second + 1
    answer = problem.answer(first, second, length)
    targets = without_leading_zeros(answer, PAD) if strip else answer + 1
    return Batch(inputs=inputs, targets=targets.astype(np.int16))


def pose_unpadded(
    problem: Problem,
    generator: np.random.Generator,
    first: Digits,
    second: Digits,
    length: int,
) -> Batch:
    """Numbers without leading zeros in one row, 0 behind."""
    require_room(length, first, second)
    row = digits.widen(joined(first, second, problem.symbol), length)
    targets = without_leading_zeros(problem.answer(first, second, length), PAD)
    return Batch(inputs=row[:, None].astype(np.int16), targets=targets.astype(np.int16))


def pose_aligned(
    problem: Problem,
    generator: np.random.Generator,
    first: Digits,
    second: Digits,
    length: int,
) -> Batch:
    """All digits of both operands, one under the other, the operator behind the second."""
    count, k = first.shape
    require_room(length, first, second)
    inputs = np.zeros((count, 2, length), dtype=np.int16)
    inputs[:, 0, :k] = first + 1
    inputs[:, 1, :k] = second + 1
    inputs[:, 1, k] = problem.symbol
    targets = problem.answer(first, second, length) + 1
    return Batch(inputs=inputs, targets=targets.astype(np.int16))


def sample_numbers(
    problem: Problem,
    draw: Draw,
    pose: Pose,
    generator: np.random.Generator,
    count: int,
    length: int,
    symbols: int,
) -> Batch:
    """Draw operands of (length - 1) // 2 digits and write them down."""
    k = (length - 1) // 2
    first, second = draw(generator, problem.base, np.full(count, k), k)
    return pose(generator, first, second, length)


def _task(
    problem: Problem,
    family: str,
    suffix: str,
    pose: Pose,
    *,
    tough: bool = False,
    rows: int = 1,
    full: bool = True,
    how: str,
) -> Task:
    draw = tough_pair if tough else uniform_pair
    return Task(
        name=problem.name + suffix,
        description=f"{_WORDS[problem.operation]} two numbers in base {problem.base}, {how}"
        + (", many with long carries." if tough else "."),
        family=family,
        base=problem.base,
        operation=problem.operation,
        rows=rows,
        input_symbols=problem.symbol + 1,
        output_symbols=problem.base + 1,
        minimum_length=3,
        length_step=1 if family == "diagonal" else 2,
        layout=Layout(
            read=partial(read_operands, problem.base, problem.symbol),
            read_target=partial(read_answer, problem.base, PAD, full),
            show=partial(show_operands, problem.operation, problem.symbol),
            show_target=partial(show_answer, PAD),
        ),
        sampler=partial(sample_numbers, problem, draw, pose),
        pose=pose,
    )


def problems() -> Iterator[Problem]:
    """The reference's sums and products."""
    for base, symbol in ADD.items():
        yield Problem(base=base, operation="+", symbol=symbol)
    for base, symbol in MULTIPLY.items():
        yield Problem(base=base, operation="*", symbol=symbol)


def arithmetic_tasks() -> Iterator[Task]:
    """Padded, unpadded and aligned tasks; sums also tough."""
    for problem in problems():
        for tough in (False, True) if problem.operation == "+" else (False,):
            yield from _layouts(problem, tough)


def _layouts(problem: Problem, tough: bool) -> Iterator[Task]:
    t = "t" if tough else ""
    padded = partial(pose_padded, problem, False)
    yield _task(problem, "padded", t, padded, tough=tough, how="both with leading zeros in one row")
    if problem.base not in ADD:
        return  # the reference has bases 5 and 8 padded only
    yield _task(
        problem,
        "unpadded",
        "z" + t,
        partial(pose_unpadded, problem),
        tough=tough,
        full=False,
        how="without leading zeros in one row",
    )
    yield _task(
        problem,
        "aligned",
        "e" + t,
        partial(pose_aligned, problem),
        tough=tough,
        rows=2,
        how="one under the other",
    )


def diagonal_tasks() -> Iterator[Task]:
    """The Diagonal Neural GPU's sums and products, and `bmul_tfm`, the first Neural GPU's.

    In the references only the diagonal bmul and qmul fill the row; decimal products do not.
    """
    for base in ADD:
        yield _diagonal(Problem(base=base, operation="+", symbol=DIAGONAL_ADD), strip=True)
        product = Problem(base=base, operation="*", symbol=DIAGONAL_MULTIPLY)
        yield _diagonal(product, strip=base == 10)
        if base == 2:
            yield _diagonal(product, strip=True, suffix="_tfm")


def _diagonal(problem: Problem, *, strip: bool, suffix: str = "_dn") -> Task:
    ending = "without leading zeros" if strip else "with leading zeros to the end of the row"
    return _task(
        problem,
        "diagonal",
        suffix,
        partial(pose_padded, problem, strip),
        full=not strip,
        how=f"in one row; the answer {ending}",
    )
