"""The tail of carry thresholds: fits find what was simulated, and what the source's points say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.tails import (
    LEAST_TAIL,
    fit_tail,
    grouped_exponent,
    line_through,
    seeds_by_line,
    seeds_for_length,
)

#: Price et al., Figure 6 right: 5 % of seeds carry 33 digits or more, 1 % 52, one of 1121 112.
PUBLISHED = [(33, 0.05), (52, 0.01), (112, 1 / 1121)]


def adders(
    exponent: float, seeds: int, limit: int, generator: np.random.Generator
) -> tuple[list[int], list[bool]]:
    """Thresholds as the source found them: most at 7 to 9 digits, 6 % in a tail from 30 on."""
    in_tail = generator.random(seeds) < 0.06
    tail = np.floor(29.5 * generator.random(seeds) ** (-1 / exponent) + 0.5)
    lengths = np.where(in_tail, tail, generator.integers(7, 10, seeds))
    return np.minimum(lengths, limit).astype(int).tolist(), (lengths > limit).tolist()


@pytest.mark.parametrize("limit", [100, 4000])
def test_the_fit_finds_a_simulated_exponent_again(limit: int) -> None:
    generator = np.random.default_rng(7)
    inside = 0
    for _ in range(40):
        thresholds, censored = adders(3.3, 1121, limit, generator)
        exponent = fit_tail(thresholds, censored, start=30).exponent
        assert exponent.value == pytest.approx(3.3, rel=0.7)
        inside += exponent.interval.low <= 3.3 <= exponent.interval.high
    assert inside >= 34  # of 38 expected


def test_the_chosen_start_leaves_out_the_bulk_that_is_no_tail() -> None:
    generator = np.random.default_rng(3)
    for _ in range(5):
        fit = fit_tail(*adders(3.3, 1121, 4000, generator))
        assert fit.start > 9
        assert fit.share == pytest.approx(0.06, abs=0.04)


def test_the_seeds_a_long_carry_needs_are_covered_by_their_interval() -> None:
    generator = np.random.default_rng(11)
    truth = 1 / (0.06 * (1000 / 29.5) ** -3.3)
    found = [
        seeds_for_length(*adders(3.3, 1121, 4000, generator), 1000, start=30, resamples=400)
        for _ in range(30)
    ]
    assert sum(one.interval.low <= truth <= one.interval.high for one in found) >= 24
    assert all(one.interval.low <= one.value <= one.interval.high for one in found)


@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=60),
    st.integers(2, 2000),
)
def test_a_fit_falls_with_length_or_is_refused(seeds: list[tuple[int, bool]], length: int) -> None:
    thresholds, censored = [t for t, _ in seeds], [c for _, c in seeds]
    try:
        fit = fit_tail(thresholds, censored)
    except ValueError:
        return
    assert sum(t >= fit.start for t in thresholds) == fit.seeds >= LEAST_TAIL
    assert 0 < fit.beyond(2 * length) <= fit.beyond(length) <= 1


def test_thresholds_of_one_length_have_no_tail() -> None:
    with pytest.raises(ValueError, match="no tail"):
        fit_tail([7, 8, 9] * 100, [False] * 300)
    with pytest.raises(ValueError, match="no tail"):
        fit_tail([8, 40, 60], [False] * 3)


def test_the_published_points_need_one_to_four_million_seeds_for_a_thousand_digits() -> None:
    pairs = [[a, b] for i, a in enumerate(PUBLISHED) for b in PUBLISHED[i + 1 :]]
    slopes = [line_through(pair)[0] for pair in [*pairs, PUBLISHED]]
    needed = [seeds_by_line(pair, 1000) for pair in [*pairs, PUBLISHED]]

    assert -3.6 < min(slopes) < max(slopes) < -3.1
    assert all(1e6 < seeds < 4e6 for seeds in needed)
    assert max(needed) < 200e6 / 50  # what the source says


def test_the_likeliest_tail_of_the_published_counts_agrees() -> None:
    fit = grouped_exponent([33, 52, 112], [56, 11, 1])

    assert -line_through(PUBLISHED)[0] == pytest.approx(fit.value, rel=0.1)
    assert fit.interval.low < fit.value < fit.interval.high
    assert 1e6 < (1000 / 33) ** fit.value / 0.05 < 4e6


@given(st.floats(1.2, 5.0))
def test_counts_alone_give_the_exponent_back(exponent: float) -> None:
    lengths = [10, 15, 25, 40, 80]
    counts = [round(1e7 * (length / 10) ** -exponent) for length in lengths]

    assert grouped_exponent(lengths, counts).value == pytest.approx(exponent, rel=0.02)
