"""Rows of symbols to Python's integers and back, for what digit columns do not compute.

A value that takes a quotient, or a product of a different number of terms in every row, is computed
a row at a time; everything else in this package is columns.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ngpu_core.alphabet import DIGITS, PAD, SYMBOLS
from ngpu_core.tasks.task import Digits

#: Python refuses to convert longer decimal numbers to text or back in one piece.
_DECIMALS = 4000
#: Bits of a digit, for the bases that are powers of two.
_BITS = {2: 1, 4: 2, 8: 3}


def row_texts(cells: Digits, marks: Mapping[int, str]) -> list[str]:
    """Rows of symbols as people write them: the last cell first, pads left out.

    Args:
        cells: (count, length) symbols.
        marks: the text of every symbol that is neither pad nor digit, a character each.
    """
    characters = np.zeros(SYMBOLS, dtype=np.uint8)
    characters[PAD] = ord(" ")
    characters[1 : DIGITS + 1] = np.arange(DIGITS) + ord("0")
    for symbol, mark in marks.items():
        characters[symbol] = ord(mark)
    whole, length = characters[cells[:, ::-1]].tobytes().decode("ascii"), cells.shape[1]
    return [whole[row * length : (row + 1) * length].lstrip() for row in range(len(cells))]


def integer(text: str, base: int) -> int:
    """A number's value, whatever its length.

    Args:
        text: digits of the base, most significant first.
        base: 2..10.
    """
    if len(text) <= _DECIMALS:
        return int(text, base)
    high, low = text[:-_DECIMALS], text[-_DECIMALS:]
    return integer(high, base) * base**_DECIMALS + int(low, base)


def digit_columns(values: Sequence[int], base: int, width: int) -> Digits:
    """Numbers, none negative, as (len(values), width) digits, lowest first.

    Args:
        values: the numbers.
        base: 2, 4, 8 or 10.
        width: digits of each.

    Raises:
        OverflowError: A number has more digits than that.
    """
    if max(values, default=0) >= base**width:
        raise OverflowError(f"a result has more than {width} digits in base {base}")
    if base == 10:
        text = "".join(_decimals(value, width) for value in values)
        cells = np.frombuffer(text.encode("ascii"), dtype=np.uint8) - ord("0")
        return cells.reshape(len(values), width)[:, ::-1].astype(np.int64)
    return _binary_columns(values, _BITS[base], width)


def _decimals(value: int, width: int) -> str:
    if width <= _DECIMALS:
        return f"{value:0{width}d}"
    high, low = divmod(value, 10**_DECIMALS)
    return _decimals(high, width - _DECIMALS) + f"{low:0{_DECIMALS}d}"


def _binary_columns(values: Sequence[int], bits: int, width: int) -> Digits:
    size = -(-width * bits // 8)
    raw: npt.NDArray[np.uint8] = np.frombuffer(
        b"".join(value.to_bytes(size, "little") for value in values), dtype=np.uint8
    )
    flags = np.unpackbits(raw.reshape(len(values), size), axis=1, bitorder="little")
    digits = flags[:, : width * bits].reshape(len(values), width, bits).astype(np.int64)
    return digits @ (1 << np.arange(bits))
