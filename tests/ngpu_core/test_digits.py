"""Digit columns compute what Python's integers compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.randomness import stream
from ngpu_core.tasks import digits
from ngpu_core.tasks.operands import block_pair, short_complement_pair
from ngpu_core.tasks.task import Digits

BASES = st.sampled_from([2, 4, 5, 8, 10])
SEED_RANGE = st.integers(0, 2**31 - 1)


def integers(rows: Digits, base: int) -> list[int]:
    return [sum(int(digit) * base**place for place, digit in enumerate(row)) for row in rows]


def rows(numbers: list[int], base: int, width: int) -> Digits:
    return np.array([[n // base**i % base for i in range(width)] for n in numbers], dtype=np.int64)


@settings(deadline=None)
@given(base=BASES, width=st.integers(1, 150), data=st.data())
def test_sums_and_products_are_exact(base: int, width: int, data: st.DataObject) -> None:
    operand = st.lists(st.integers(0, base**width - 1), min_size=3, max_size=3)
    first, second = data.draw(operand), data.draw(operand)
    a, b = rows(first, base, width), rows(second, base, width)
    pairs = list(zip(first, second, strict=True))
    assert integers(digits.add(a, b, base, width + 1), base) == [x + y for x, y in pairs]
    assert integers(digits.multiply(a, b, base, 2 * width), base) == [x * y for x, y in pairs]


@pytest.mark.parametrize("width", [64, 65, 1000, 20_000])
def test_the_largest_products_are_exact_however_they_are_computed(width: int) -> None:
    """(10^w - 1)^2 = 9..980..01 has the largest column sums there are."""
    nines = np.full((1, width), 9, dtype=np.int64)
    square = digits.multiply(nines, nines, 10, 2 * width)[0].tolist()
    assert square == [1] + [0] * (width - 1) + [8] + [9] * (width - 1)


def test_products_too_long_to_be_exact_are_refused() -> None:
    long = np.zeros((1, 600_000), dtype=np.int64)
    with pytest.raises(OverflowError, match="at most 1000000"):
        digits.multiply(long, long, 10, 1_200_000)


def test_a_result_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError, match="more than 2 digits in base 10"):
        digits.carry(np.array([[9, 10]]), 10)


@settings(deadline=None)
@given(base=BASES, widths=st.lists(st.integers(1, 40), min_size=1, max_size=30), seed=SEED_RANGE)
def test_drawn_numbers_stay_below_their_own_width(base: int, widths: list[int], seed: int) -> None:
    limits = np.array(widths)
    drawn = digits.uniform(stream(seed, "a"), base, limits, 40)
    positive = digits.uniform_positive(stream(seed, "b"), base, limits, 40)
    lacking = digits.complement(drawn, base, limits)
    for n, p, c, w in zip(
        *(integers(number, base) for number in (drawn, positive, lacking)), widths, strict=True
    ):
        assert 0 <= n < base**w
        assert 1 <= p < base**w
        assert c == base**w - 1 - n


@given(base=BASES, numbers=st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_significant_digits_are_those_one_would_write(base: int, numbers: list[int]) -> None:
    counted = digits.significant(rows(numbers, base, 45)).tolist()
    assert counted == [len(np.base_repr(number, base)) for number in numbers]


@settings(deadline=None)
@given(base=BASES, widths=st.lists(st.integers(1, 30), min_size=1, max_size=20), seed=SEED_RANGE)
def test_structured_pairs_are_runs_of_top_digits_or_complements(
    base: int, widths: list[int], seed: int
) -> None:
    limits = np.array(widths)
    drawn = (
        pair(stream(seed, "pair"), base, limits, 30) for pair in (block_pair, short_complement_pair)
    )
    (block, below), (first, second) = (
        [integers(operand, base) for operand in pair] for pair in drawn
    )
    for row, width in enumerate(widths):
        ends = [
            (high, low)
            for high in range(1, width + 1)
            for low in range(1, high + 1)
            if block[row] == base**high - base ** (low - 1)
        ]
        assert any(below[row] < base**low for _, low in ends)
        total = first[row] + second[row]
        assert total in {base**w - less for w in range(1, width + 1) for less in (0, 1)}
        assert first[row] >= 1
