"""Products with a structure: of zero-padded digits, of powers and their neighbours, of repunits."""

from collections.abc import Callable, Iterator

import numpy as np

from ngpu_core.config import RunConfig
from ngpu_core.evaluation.cofactors import cofactor_pairs
from ngpu_core.evaluation.probe import (
    OPERAND_DIGITS,
    Draw,
    Point,
    Points,
    Probe,
    computes,
    full_length,
    in_digits,
    numbered,
    pose,
    written_length,
)
from ngpu_core.tasks.operands import swapped
from ngpu_core.tasks.task import Batch, Task

#: How tasks that keep leading zeros are written.
_WITH_ZEROS = ("padded", "aligned", "diagonal")


def product_probes() -> Iterator[Probe]:
    """Zero-padded digits, and one pair a point for the others."""
    yield Probe(
        name="padded_digits",
        description="All products of two single digits, with "
        f"{OPERAND_DIGITS - 1} zeros before each.",
        unit="base × first digit + second digit",
        asks="multiplications written with leading zeros",
        fits=computes("*", _WITH_ZEROS),
        length=full_length,
        at=numbered(_digit_points),
        draw=_padded_digits,
    )
    k, fits = OPERAND_DIGITS, computes("*")
    each: dict[str, tuple[str, str, Points, Draw]] = {
        "powers": (
            f"b^i × b^({k} - i), whose product is b^{k}.",
            "i",
            numbered(_power_points),
            _one_pair(lambda base, i: (base**i, base ** (k - i)), lambda _: k),
        ),
        "powers_less_one": (
            f"Cofactors whose product is b^{k} - 1, all those that cyclotomic factors give.",
            "place of the pair, by its smaller factor",
            numbered(_cofactor_points),
            _one_pair(lambda base, number: cofactor_pairs(base, k)[number], lambda _: k),
        ),
        "squares_less_one": (
            "(b^n - 1) × (b^n + 1), whose product is b^2n - 1.",
            "n",
            numbered(_square_points),
            _one_pair(lambda base, n: (base**n - 1, base**n + 1), lambda _: k),
        ),
    }
    for name, (description, unit, at, draw) in each.items():
        yield Probe(
            name=name,
            description=description,
            unit=unit,
            asks="multiplications",
            fits=fits,
            length=full_length,
            at=at,
            draw=draw,
        )
    yield Probe(
        name="repunits",
        description="1…1 × 1…1, at its own length.",
        unit="ones of each factor",
        asks="multiplications",
        fits=fits,
        length=lambda task, point: written_length(_repunit_width(point.number)),
        at=numbered(_repunit_points),
        draw=_one_pair(lambda base, n: ((base**n - 1) // (base - 1),) * 2, _repunit_width),
    )


def _repunit_width(ones: int) -> int:
    return max(2, ones)  # a single digit is shorter than anything trained on


def _one_pair(pair: Callable[[int, int], tuple[int, int]], width: Callable[[int], int]) -> Draw:
    """Ask one pair a point: (base, number) -> two numbers, swapped by a coin."""

    def draw(
        task: Task, config: RunConfig, generator: np.random.Generator, point: Point
    ) -> Iterator[Batch]:
        assert task.base is not None
        k = width(point.number)
        numbers = pair(task.base, point.number)
        first, second = (in_digits(number, task.base, k) for number in numbers)
        yield pose(task, generator, *swapped(generator, first, second))

    return draw


def _digit_points(task: Task) -> Iterator[tuple[int, str]]:
    base = task.base or 0
    return ((base * a + b, f"{a}×{b}") for a in range(base) for b in range(base))


def _padded_digits(
    task: Task, config: RunConfig, generator: np.random.Generator, point: Point
) -> Iterator[Batch]:
    # Not swapped: 2×3 and 3×2 are two of the hundred.
    assert task.base is not None
    pair = divmod(point.number, task.base)
    first, second = (in_digits(digit, task.base, OPERAND_DIGITS) for digit in pair)
    yield pose(task, generator, first, second)


def _power_points(task: Task) -> Iterator[tuple[int, str]]:
    rest = OPERAND_DIGITS
    return ((i, f"{task.base}^{i}×{task.base}^{rest - i}") for i in range(1, rest))


def _cofactor_points(task: Task) -> Iterator[tuple[int, str]]:
    pairs = cofactor_pairs(task.base or 0, OPERAND_DIGITS)
    return ((number, str(first)) for number, (first, _) in enumerate(pairs))


def _square_points(task: Task) -> Iterator[tuple[int, str]]:
    b = task.base
    return ((n, f"({b}^{n}-1)×({b}^{n}+1)") for n in range(1, OPERAND_DIGITS))


def _repunit_points(task: Task) -> Iterator[tuple[int, str]]:
    return ((ones, str(ones)) for ones in range(1, OPERAND_DIGITS + 1))
