"""Expressions of many numbers and operators, as long as the row: what is their value?

Read from its last cell to its first the row is the expression. It is drawn from the first cell on:
where an operator may stand (not first, not last, not next to another) there is one with
probability 0.3, otherwise a uniform digit. Precedence is the usual one, from left to right, and
division rounds down. Problems that divide by zero or end below zero are never drawn: both are
conditions on the reference's draws, which tried again.

Of binary draws 58 % at length 41, 7 % at 201 and 0.5 % at 401 are free of zero divisors; trying
again would stall. So they are drawn conditioned on it: with f(i, s) the chance that no number
completed from cell i on is a zero divisor, given what stands before (s), the chance of each next
cell is weighted with the f it leads to. Values below zero are at most as frequent as others; they
are drawn again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from ngpu_core.alphabet import ADD, DIVIDE, MULTIPLY, SUBTRACT, number_text, symbol_text
from ngpu_core.tasks.arithmetic import LETTERS
from ngpu_core.tasks.integers import digit_columns, integer, row_texts
from ngpu_core.tasks.reading import read_answer
from ngpu_core.tasks.task import Batch, Digits, Layout, Symbols, Task

#: Chance of an operator wherever one may stand.
OPERATOR_CHANCE = 0.3
#: The operators of each kind of expression; division comes last.
KINDS: Mapping[str, str] = {"": "+*", "a": "+*-/", "p": "+", "s": "+-", "sm": "+*-"}

_SYMBOLS = {"+": ADD, "*": MULTIPLY, "-": SUBTRACT, "/": DIVIDE}
#: What stands before a cell: an operator (or nothing), a number of zeros only, another number.
_NOTHING, _ZEROS, _NUMBER = range(3)
_FACTORS = re.compile("([*/])")


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """What expressions are made of."""

    #: 2, 4 or 10
    base: int
    #: Some of `+*-/`; `/` last.
    operators: str

    @property
    def symbols(self) -> list[int]:
        """The symbol of each operator."""
        return [_SYMBOLS[operator][self.base] for operator in self.operators]

    @property
    def marks(self) -> dict[int, str]:
        """The operator of each symbol."""
        return dict(zip(self.symbols, self.operators, strict=True))

    @property
    def divides(self) -> bool:
        """Whether a number can be a divisor."""
        return "/" in self.operators


def evaluate(text: str, base: int) -> int:
    """An expression's value.

    Args:
        text: numbers, most significant digit first, and `+-*/`; `/` rounds down.
        base: 2..10.

    Raises:
        ZeroDivisionError: It divides by zero.
        ValueError: It is no expression of that base.
    """
    total = 0
    for term in text.replace("-", "+-").split("+"):
        value = _product(term.removeprefix("-"), base)
        total += -value if term.startswith("-") else value
    return total


def _product(term: str, base: int) -> int:
    first, *rest = _FACTORS.split(term)
    value = integer(first, base)
    for operator, number in zip(rest[::2], rest[1::2], strict=True):
        factor = integer(number, base)
        value = value * factor if operator == "*" else value // factor
    return value


@lru_cache(maxsize=1024)
def _chances(grammar: Grammar, length: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Chance of an operator, and of a zero where a digit stands: (length, 3), by what is before."""
    operator, zero = np.zeros((2, length, 3))
    unit, wrong = 1 / grammar.base, 1 / len(grammar.operators) if grammar.divides else 0.0
    ahead = np.ones(3)
    for cell in reversed(range(length)):
        chance = OPERATOR_CHANCE if 0 < cell < length - 1 else 0.0
        allowed = np.array([0.0, 1 - wrong, 1.0]) * chance * ahead[_NOTHING]
        zeros = unit * ahead[[_ZEROS, _ZEROS, _NUMBER]]
        others = (1 - unit) * ahead[_NUMBER]
        digit = (zeros + others) * np.where(np.arange(3) == _NOTHING, 1.0, 1 - chance)
        operator[cell] = allowed / (allowed + digit)
        zero[cell] = zeros / (zeros + others)
        ahead = (allowed + digit) / (allowed + digit).max()
    return operator, zero


def draw_cells(grammar: Grammar, generator: np.random.Generator, count: int, length: int) -> Digits:
    """Expressions without a zero divisor, whatever their value, as (count, length) symbols."""
    operator_chance, zero_chance = _chances(grammar, length)
    chances = generator.random((3, length, count))
    before = np.empty((length + 1, count), dtype=np.int64)
    before[0] = _NOTHING
    operator, zero = np.empty((2, length, count), dtype=np.bool_)
    for cell in range(length):
        state = before[cell]
        np.less(chances[0, cell], operator_chance[cell][state], out=operator[cell])
        np.less(chances[1, cell], zero_chance[cell][state], out=zero[cell])
        following = np.where(zero[cell] & (state != _NUMBER), _ZEROS, _NUMBER)
        before[cell + 1] = np.where(operator[cell], _NOTHING, following)
    choices = np.full(3, len(grammar.operators))
    choices[_ZEROS] -= grammar.divides
    chosen = (chances[2] * choices[before[:-1]]).astype(np.int64)
    digit = np.where(zero, 0, generator.integers(1, grammar.base, size=(length, count)))
    return np.where(operator, np.array(grammar.symbols)[chosen], digit + 1).T


def sample_expressions(
    grammar: Grammar, generator: np.random.Generator, count: int, length: int, symbols: int
) -> Batch:
    """Expressions with a value of at least zero, which has leading zeros."""
    inputs = np.empty((count, 1, length), dtype=np.int16)
    values: list[int] = []
    while len(values) < count:
        missing = count - len(values)
        drawn = 2 * missing + 8 if "-" in grammar.operators else missing
        cells = draw_cells(grammar, generator, drawn, length)
        found = [evaluate(text, grammar.base) for text in row_texts(cells, grammar.marks)]
        right = [row for row, value in enumerate(found) if value >= 0][:missing]
        inputs[len(values) : len(values) + len(right), 0] = cells[right]
        values += [found[row] for row in right]
    targets = digit_columns(values, grammar.base, length) + 1
    return Batch(inputs=inputs, targets=targets.astype(np.int16))


def _read(grammar: Grammar, rows: Symbols) -> str:
    known = {*range(1, grammar.base + 1), *grammar.symbols}
    for symbol in rows[0].tolist():
        if symbol not in known:
            raise ValueError(
                f"symbol {symbol} is no digit of base {grammar.base} and none of "
                f"{grammar.operators}"
            )
    return _show(grammar, rows)


def _show(grammar: Grammar, rows: Symbols) -> str:
    cells = rows[0].tolist()[::-1]
    return "".join(grammar.marks.get(cell) or symbol_text(cell) for cell in cells)


def _show_target(row: Symbols) -> str:
    return number_text(row.tolist())


def _task(grammar: Grammar, kind: str) -> Task:
    return Task(
        name=f"{LETTERS[grammar.base]}expr{kind}",
        description=f"Evaluate an expression with {' '.join(grammar.operators)} in base "
        f"{grammar.base}, as long as the row.",
        family="expression",
        base=grammar.base,
        operation=None,
        rows=1,
        input_symbols=max(grammar.symbols) + 1,
        output_symbols=grammar.base + 1,
        minimum_length=1,
        layout=Layout(
            read=partial(_read, grammar),
            read_target=partial(read_answer, grammar.base, 0, True),
            show=partial(_show, grammar),
            show_target=_show_target,
        ),
        sampler=partial(sample_expressions, grammar),
    )


def expression_tasks() -> Iterator[Task]:
    """bexpr, bexpra, bexprp, bexprs, bexprsm, and the same in bases 4 (q) and 10."""
    for base in DIVIDE:
        for kind, operators in KINDS.items():
            yield _task(Grammar(base=base, operators=operators), kind)
