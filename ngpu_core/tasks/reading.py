"""Reading problems and answers back from the cells they were written into.

Rows are low digit first. What a network wrote need not be an answer: the `read_` functions then
raise ValueError, the `show_` functions show it as it is.
"""

from collections.abc import Sequence

import numpy as np

from ngpu_core.alphabet import DIGITS, PAD, number_text, read_number
from ngpu_core.tasks.task import Symbols


def written_part(row: Symbols, filler: int) -> Symbols:
    """The row up to its last symbol that is not filler."""
    written = np.flatnonzero(row != filler)
    return row[: written[-1] + 1] if len(written) else row[:0]


def split_row(row: Sequence[int], symbol: int) -> tuple[list[int], list[int]]:
    """The symbols before and after the operator, padding behind cut off."""
    cells = [int(cell) for cell in row]
    split = _operator(cells, symbol)
    behind = cells[split + 1 :]
    end = behind.index(PAD) if PAD in behind else len(behind)
    return cells[:split], behind[:end]


def split_aligned(rows: Symbols, symbol: int) -> tuple[list[int], list[int]]:
    """The digits of the row above, and those before the operator in the row below."""
    above = [int(cell) for cell in rows[0] if 1 <= cell <= DIGITS]
    below = [int(cell) for cell in rows[1]]
    return above, below[: _operator(below, symbol)]


def _operator(cells: list[int], symbol: int) -> int:
    if symbol not in cells:
        raise ValueError(f"no operator here: symbol {symbol} is not among {cells}")
    return cells.index(symbol)


def split_operands(rows: Symbols, symbol: int) -> tuple[list[int], list[int]]:
    """The symbols of both operands, written in one row or two."""
    return split_row(rows[0], symbol) if len(rows) == 1 else split_aligned(rows, symbol)


def read_operands(base: int, symbol: int, rows: Symbols) -> tuple[int, ...]:
    """Both operands."""
    return tuple(read_number(part, base) for part in split_operands(rows, symbol))


def show_operands(operation: str, symbol: int, rows: Symbols) -> str:
    """Operand, operator, operand."""
    first, second = (number_text(part) for part in split_operands(rows, symbol))
    return f"{first}{operation}{second}"


def read_answer(base: int, filler: int, full: bool, row: Symbols) -> int:
    """The number of an answer: the whole row if `full`, else what stands before the filler."""
    return read_number((row if full else written_part(row, filler)).tolist(), base)


def show_answer(filler: int, row: Symbols) -> str:
    """An answer as text, filler behind left out."""
    return number_text(written_part(row, filler).tolist())
