"""Sums and products of three terms, or of a number of terms that differs from row to row.

All terms of a problem have k digits, leading zeros included: k = (length + 1) // terms - 1. The
operator stands between them. The answer is as long as the problem, pads follow both.
"""

from collections.abc import Iterator
from functools import partial
from math import prod

import numpy as np
import numpy.typing as npt

from ngpu_core.alphabet import ADD, MULTIPLY, PAD, number_text, read_number
from ngpu_core.tasks import digits
from ngpu_core.tasks.arithmetic import Problem
from ngpu_core.tasks.digits import Widths
from ngpu_core.tasks.integers import digit_columns, integer, row_texts
from ngpu_core.tasks.reading import read_answer, show_answer, written_part
from ngpu_core.tasks.task import Batch, Digits, Layout, Symbols, Task

#: Share of problems with any number of factors in which a factor may be 0 (SPECS C.2).
ZERO_SHARE = 0.3


def sample_terms(
    problem: Problem,
    terms: int | None,
    zero_share: float,
    generator: np.random.Generator,
    count: int,
    length: int,
    symbols: int,
) -> Batch:
    """Terms uniform in [0, base**k), or in [1, base**k) in a share of the problems.

    Args:
        problem: what is computed.
        terms: of every problem; None draws U{1..(length + 1) // 2} for each.
        zero_share: share of the problems in which terms may be 0.
        generator: the stream.
        count: problems.
        length: columns.
        symbols: not looked at.
    """
    if terms is None:
        numbers = generator.integers(1, (length + 1) // 2 + 1, size=count)
    else:
        numbers = np.full(count, terms)
    widths = (length + 1) // numbers - 1
    column = np.arange(length)
    term, place = np.divmod(column, widths[:, None] + 1)
    inside = column < (numbers * (widths + 1) - 1)[:, None]
    digit = inside & (place < widths[:, None])
    drawn = np.where(digit, generator.integers(0, problem.base, size=(count, length)), 0)
    if zero_share < 1:
        positive = generator.random(count) >= zero_share
        _without_zeros(generator, drawn, term, digit & positive[:, None], problem.base)
    inputs = np.where(inside, np.where(digit, drawn + 1, problem.symbol), PAD)
    if problem.operation == "+":
        answer = _sums(drawn, place, problem.base)
    else:
        answer = _products(problem, inputs, length)
    targets = np.where(inside, answer + 1, PAD).astype(np.int16)
    return Batch(inputs=inputs[:, None].astype(np.int16), targets=targets)


def _without_zeros(
    generator: np.random.Generator,
    drawn: Digits,
    term: Widths,
    within: npt.NDArray[np.bool_],
    base: int,
) -> None:
    """Draw the terms among the cells `within` that are zero again, until none is."""
    count, length = drawn.shape
    cells = np.flatnonzero(within)
    owners = (np.arange(count)[:, None] * length + term).reshape(-1)[cells]
    flat = drawn.reshape(-1)
    while len(cells):
        totals = np.bincount(owners, weights=flat[cells])
        zero = totals[owners] == 0
        cells, owners = cells[zero], owners[zero]
        flat[cells] = generator.integers(0, base, size=len(cells))


def _sums(drawn: Digits, place: Widths, base: int) -> Digits:
    """Sums of the rows' terms: every column of digits is added up, then carried."""
    count, length = drawn.shape
    owners = np.arange(count)[:, None] * length + place
    columns = np.bincount(owners.reshape(-1), drawn.reshape(-1), minlength=count * length)
    return digits.carry(np.rint(columns).astype(np.int64).reshape(count, length), base)


def _products(problem: Problem, inputs: Digits, length: int) -> Digits:
    texts = row_texts(inputs, {problem.symbol: "*"})
    values = [prod(integer(part, problem.base) for part in text.split("*")) for text in texts]
    return digit_columns(values, problem.base, length)


def _split(symbol: int, rows: Symbols) -> list[list[int]]:
    """The symbols of every term."""
    parts: list[list[int]] = [[]]
    for cell in written_part(rows[0], PAD).tolist():
        if cell == symbol:
            parts.append([])
        else:
            parts[-1].append(cell)
    return parts


def _read(problem: Problem, rows: Symbols) -> tuple[int, ...]:
    return tuple(read_number(part, problem.base) for part in _split(problem.symbol, rows))


def _show(problem: Problem, rows: Symbols) -> str:
    return problem.operation.join(number_text(part) for part in _split(problem.symbol, rows))


def _task(problem: Problem, terms: int | None) -> Task:
    verb = "Add" if problem.operation == "+" else "Multiply"
    any_number = terms is None
    return Task(
        name=f"{'k' if any_number else terms}{problem.name}",
        description=f"{verb} {'any number of' if any_number else terms} terms of equal length in "
        f"base {problem.base}, with leading zeros in one row.",
        family="multiterm",
        base=problem.base,
        operation=None,
        rows=1,
        input_symbols=problem.symbol + 1,
        output_symbols=problem.base + 1,
        minimum_length=1 if terms is None else 2 * terms - 1,
        layout=Layout(
            read=partial(_read, problem),
            read_target=partial(read_answer, problem.base, PAD, False),
            show=partial(_show, problem),
            show_target=partial(show_answer, PAD),
        ),
        sampler=partial(
            sample_terms,
            problem,
            terms,
            ZERO_SHARE if any_number and problem.operation == "*" else 1.0,
        ),
    )


def multiterm_tasks() -> Iterator[Task]:
    """3badd, 3qadd, 3add, 3bmul, and the same with any number of terms."""
    for terms in (3, None):
        for base, symbol in ADD.items():
            yield _task(Problem(base=base, operation="+", symbol=symbol), terms)
        yield _task(Problem(base=2, operation="*", symbol=MULTIPLY[2]), terms)
