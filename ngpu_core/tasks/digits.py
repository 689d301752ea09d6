"""Exact arithmetic on many numbers at once, each a row of digits with the lowest digit first.

Numbers of hundreds of digits do not fit machine integers, and Python's are slow a million at a
time; digit columns are exact and vectorise. Arrays are (count, width), digits 0..base-1.
"""

import numpy as np
import numpy.typing as npt

from ngpu_core.tasks.task import Digits

Widths = npt.NDArray[np.int64]

#: Operands wider than this are multiplied through a Fourier transform.
_DIRECT_WIDTH = 64
#: Beyond this many digits the transform's rounding error could come near one half.
_EXACT_WIDTH = 1_000_000


def uniform(generator: np.random.Generator, base: int, widths: Widths, width: int) -> Digits:
    """Draw numbers uniformly from [0, base**w), w a row's own width: independent uniform digits.

    Args:
        generator: the stream.
        base: 2..10.
        widths: (count,) digits of each number, at most `width`.
        width: columns of the result; those from a row's width on are 0.
    """
    digits = generator.integers(0, base, size=(len(widths), width), dtype=np.int64)
    return keep_low(digits, widths)


def uniform_positive(
    generator: np.random.Generator, base: int, widths: Widths, width: int
) -> Digits:
    """Draw numbers uniformly from [1, base**w), w >= 1 a row's own width, by rejecting zeros."""
    digits = uniform(generator, base, widths, width)
    zero = np.flatnonzero(~digits.any(axis=1))
    while len(zero):
        digits[zero] = uniform(generator, base, widths[zero], width)
        zero = zero[~digits[zero].any(axis=1)]
    return digits


def keep_low(digits: Digits, widths: Widths) -> Digits:
    """Zero every digit from a row's width on."""
    return np.where(np.arange(digits.shape[1]) < widths[:, None], digits, 0)


def complement(digits: Digits, base: int, widths: Widths) -> Digits:
    """base**w - 1 - n for n < base**w: every digit replaced by what it lacks to base - 1."""
    return keep_low(base - 1 - digits, widths)


def significant(digits: Digits) -> Widths:
    """Digits of each number without leading zeros; zero has one."""
    width = digits.shape[1]
    highest = width - np.argmax(digits[:, ::-1] != 0, axis=1)
    return np.where(digits.any(axis=1), highest, 1).astype(np.int64)


def widen(digits: Digits, width: int) -> Digits:
    """Append zero digits up to `width` columns."""
    wide = np.zeros((len(digits), width), digits.dtype)  # several times faster than np.pad
    wide[:, : digits.shape[1]] = digits
    return wide


def add(first: Digits, second: Digits, base: int, width: int) -> Digits:
    """Sums, in `width` digits."""
    return carry(widen(first, width) + widen(second, width), base)


def multiply(first: Digits, second: Digits, base: int, width: int) -> Digits:
    """Products, in `width` digits, at least those of both operands together."""
    convolve = _convolve if first.shape[1] <= _DIRECT_WIDTH else _convolve_long
    return carry(widen(convolve(first, second), width), base)


def carry(columns: Digits, base: int) -> Digits:
    """Turn column sums (count, width), none negative, into digits.

    Raises:
        OverflowError: A number has more digits than there are columns.
    """
    # Column-major: each step of the chain is then one contiguous vector.
    rows = np.array(columns.T, order="C")
    carried = np.zeros(rows.shape[1], dtype=np.int64)
    for row in rows:
        row += carried
        np.divmod(row, base, out=(carried, row))
    if carried.any():
        raise OverflowError(f"a result has more than {len(rows)} digits in base {base}")
    return np.ascontiguousarray(rows.T)


def _convolve(first: Digits, second: Digits) -> Digits:
    count, width = first.shape
    columns = np.zeros((count, width + second.shape[1]), dtype=np.int64)
    for position in range(width):
        columns[:, position : position + second.shape[1]] += first[:, position, None] * second
    return columns


def _convolve_long(first: Digits, second: Digits) -> Digits:
    """The same column sums; at most 81 * width, so float64 leaves them whole after rounding."""
    size = first.shape[1] + second.shape[1]
    if size > _EXACT_WIDTH:
        raise OverflowError(f"products of {size} digits are not exact: at most {_EXACT_WIDTH}")
    spectrum = np.fft.rfft(first, n=size, axis=1) * np.fft.rfft(second, n=size, axis=1)
    return np.rint(np.fft.irfft(spectrum, n=size, axis=1)).astype(np.int64)
