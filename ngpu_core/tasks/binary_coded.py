"""Products of decimal numbers whose digits are written as four bits each, the lowest bit first.

The fourth bit of a digit has symbols of its own, 3 and 4 instead of 1 and 2, so that the network
sees where a digit ends.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ngpu_core.alphabet import DIAGONAL_MULTIPLY, PAD, symbols_text
from ngpu_core.tasks import digits
from ngpu_core.tasks.arithmetic import require_alike
from ngpu_core.tasks.operands import uniform_pair
from ngpu_core.tasks.reading import split_row, written_part
from ngpu_core.tasks.task import Batch, Digits, Layout, Symbols, Task

BASE = 10
BITS = 4
#: What the symbols of a digit's last bit are above those of the others.
_LAST = 2


def coded(number: Digits) -> Digits:
    """Decimal digits (count, k) as symbols (count, 4k)."""
    bits = number[:, :, None] >> np.arange(BITS) & 1
    bits[:, :, -1] += _LAST
    return bits.reshape(len(number), BITS * number.shape[1]) + 1


def pose_products(
    generator: np.random.Generator, first: Digits, second: Digits, length: int
) -> Batch:
    """Both operands in one row, every digit of the product in the answer."""
    require_alike(first, second)
    count, k = first.shape
    if 2 * BITS * k + 1 > length:
        raise ValueError(f"operands of {k} digits need length {2 * BITS * k + 1}, not {length}")
    inputs, targets = np.zeros((2, count, length), dtype=np.int16)
    split = BITS * k
    inputs[:, :split] = coded(first)
    inputs[:, split] = DIAGONAL_MULTIPLY
    inputs[:, split + 1 : 2 * split + 1] = coded(second)
    targets[:, : 2 * split] = coded(digits.multiply(first, second, BASE, 2 * k))
    return Batch(inputs=inputs[:, None], targets=targets)


def sample_products(generator: np.random.Generator, count: int, length: int, symbols: int) -> Batch:
    """Operands of (length - 1) // 8 digits."""
    k = (length - 1) // (2 * BITS)
    first, second = uniform_pair(generator, BASE, np.full(count, k), k)
    return pose_products(generator, first, second, length)


def _groups(cells: npt.ArrayLike) -> list[list[int]]:
    """The symbols of each digit, the highest digit first."""
    row = list(np.asarray(cells).tolist())
    return [row[start : start + BITS] for start in range(0, len(row), BITS)][::-1]


def _digit(group: list[int]) -> int | None:
    """The digit four symbols are; None where they are none."""
    bits = [symbol - 1 for symbol in group]
    if len(bits) != BITS:
        return None
    bits[-1] -= _LAST
    value = sum(bit << place for place, bit in enumerate(bits))
    return value if set(bits) <= {0, 1} and value < BASE else None


def _read_number(cells: npt.ArrayLike) -> int:
    groups, number = _groups(cells), 0
    if not groups:
        raise ValueError("a number in base 10 needs at least one digit, there is none")
    for group in groups:
        digit = _digit(group)
        if digit is None:
            raise ValueError(f"symbols {symbols_text(group)} is no digit of base 10 in four bits")
        number = number * BASE + digit
    return number


def _show_number(cells: npt.ArrayLike) -> str:
    shown = ((_digit(group), group) for group in _groups(cells))
    return "".join(f"<{symbols_text(g)}>" if d is None else str(d) for d, g in shown)


def _read(rows: Symbols) -> tuple[int, ...]:
    return tuple(_read_number(part) for part in split_row(rows[0].tolist(), DIAGONAL_MULTIPLY))


def _show(rows: Symbols) -> str:
    parts = split_row(rows[0].tolist(), DIAGONAL_MULTIPLY)
    return "*".join(_show_number(part) for part in parts)


def _read_target(row: Symbols) -> int:
    return _read_number(written_part(row, PAD))


def _show_target(row: Symbols) -> str:
    return _show_number(written_part(row, PAD))


def binary_coded_tasks() -> Iterator[Task]:
    """mulbcd."""
    yield Task(
        name="mulbcd",
        description="Multiply two numbers in base 10, every digit in four bits, in one row.",
        family="binary_coded",
        base=BASE,
        operation="*",
        rows=1,
        input_symbols=DIAGONAL_MULTIPLY + 1,
        output_symbols=_LAST + 3,
        minimum_length=2 * BITS + 1,
        length_step=2 * BITS,
        digit_cells=BITS,
        layout=Layout(read=_read, read_target=_read_target, show=_show, show_target=_show_target),
        sampler=sample_products,
        pose=pose_products,
    )
