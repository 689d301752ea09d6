"""Intervals cover at about their level, tests agree with scipy, edges and orders are right."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from ngpu_core.randomness import stream
from ngpu_core.statistics import (
    clopper_pearson,
    compare_paired,
    detectable_difference,
    difference_interval,
    fraction_interval,
    mcnemar,
    mean_of_fractions,
    seeds_to_detect,
    survival_curve,
    tail_exponent,
    wilson,
)

LEVELS = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@st.composite
def fractions(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 300))
    return draw(st.integers(0, n)), n


def coverage(method: object, n: int, truth: float) -> float:
    """Exact: the binomial weight of the counts whose interval holds the truth."""
    limits = [method(k, n) for k in range(n + 1)]  # type: ignore[operator]
    weights = stats.binom.pmf(np.arange(n + 1), n, truth)
    return sum(w for w, i in zip(weights, limits, strict=True) if i.low <= truth <= i.high)


@given(fractions(), LEVELS)
def test_wilson_and_clopper_pearson_agree_with_scipy(k_n: tuple[int, int], level: float) -> None:
    for method, name in ((wilson, "wilson"), (clopper_pearson, "exact")):
        ours = method(*k_n, level)
        theirs = stats.binomtest(*k_n).proportion_ci(level, method=name)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.integers(1, 300), LEVELS)
def test_the_fraction_interval_is_exact_at_both_ends_and_wilson_between(
    n: int, level: float
) -> None:
    tail = (1 - level) / 2
    assert fraction_interval(0, n, level).high == pytest.approx(1 - tail ** (1 / n))
    assert fraction_interval(n, n, level).low == pytest.approx(tail ** (1 / n))
    assert all(fraction_interval(k, n, level) == wilson(k, n, level) for k in range(1, n))


@given(fractions(), LEVELS)
def test_an_interval_holds_its_fraction_and_mirrors_with_it(
    k_n: tuple[int, int], level: float
) -> None:
    k, n = k_n
    interval, mirrored = fraction_interval(k, n, level), fraction_interval(n - k, n, level)
    assert 0 <= interval.low <= k / n <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)


@given(fractions())
def test_a_higher_level_is_never_narrower_and_more_successes_never_lower(
    k_n: tuple[int, int],
) -> None:
    k, n = k_n
    narrow, wide = fraction_interval(k, n, 0.8), fraction_interval(k, n, 0.99)
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    lows = [wilson(j, n).low for j in range(n + 1)]
    assert all(a < b for a, b in pairwise(lows))


@pytest.mark.parametrize("n", [5, 15, 40, 200])
def test_intervals_cover_at_about_their_level(n: int) -> None:
    truths = np.linspace(0.01, 0.99, 197)
    exact = [coverage(clopper_pearson, n, truth) for truth in truths]
    shown = [coverage(fraction_interval, n, truth) for truth in truths]
    assert min(exact) >= 0.95
    assert np.mean(shown) >= 0.95
    assert np.mean(shown) <= np.mean(exact) + 1e-12
    assert min(shown) >= 0.83


@given(fractions(), LEVELS)
def test_the_mean_over_one_task_is_that_tasks_fraction(k_n: tuple[int, int], level: float) -> None:
    estimate, alone = mean_of_fractions([k_n], level), fraction_interval(*k_n, level)
    assert estimate.value == k_n[0] / k_n[1]
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((alone.low, alone.high))


@given(st.lists(fractions(), min_size=1, max_size=13))
def test_the_mean_weighs_tasks_equally_in_any_order(counts: list[tuple[int, int]]) -> None:
    estimate = mean_of_fractions(counts)
    assert estimate.value == pytest.approx(np.mean([k / n for k, n in counts]))
    assert 0 <= estimate.interval.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.interval.high <= 1
    turned = mean_of_fractions(counts[::-1]).interval
    assert (turned.low, turned.high) == pytest.approx(
        (estimate.interval.low, estimate.interval.high)
    )


@given(fractions(), st.integers(2, 10))
def test_the_mean_over_more_equal_tasks_is_known_better(k_n: tuple[int, int], tasks: int) -> None:
    one, many = mean_of_fractions([k_n]).interval, mean_of_fractions([k_n] * tasks).interval
    assert many.high - many.low < one.high - one.low


@pytest.mark.parametrize(
    "truths",
    [
        [0.6] * 13,
        np.linspace(0.2, 0.99, 13).tolist(),
        [1.0] * 6 + [0.0] * 4 + [0.3, 0.5, 0.7],
        [0.98] * 13,
        [0.9, 0.3],
    ],
)
def test_the_mean_over_tasks_covers_at_about_its_level(truths: list[float]) -> None:
    counts = stream(5, f"coverage {truths}").binomial(15, truths, size=(1500, len(truths)))
    intervals = [mean_of_fractions([(int(k), 15) for k in row]).interval for row in counts]
    covered = np.mean([i.low <= np.mean(truths) <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.975


def test_newcombes_published_examples_are_reproduced() -> None:
    """Statist. Med. 17 (1998): 56/70 against 48/80, and the pairs 36, 12, 2, 0."""
    independent = difference_interval((56, 70), (48, 80))
    assert independent.value == pytest.approx(0.2)
    assert independent.interval.low == pytest.approx(0.0524, abs=5e-5)
    assert independent.interval.high == pytest.approx(0.3339, abs=5e-5)
    first = [True] * 36 + [True] * 12 + [False] * 2
    second = [True] * 36 + [False] * 12 + [True] * 2
    paired = compare_paired(first, second).difference
    assert paired.value == pytest.approx(0.2)
    assert paired.interval.low == pytest.approx(0.0569, abs=5e-5)
    assert paired.interval.high == pytest.approx(0.3404, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_sign_test(only_first: int, only_second: int) -> None:
    assume(only_first + only_second)
    expected = stats.binomtest(only_first, only_first + only_second, 0.5).pvalue
    assert mcnemar(only_first, only_second) == pytest.approx(expected)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first)


def test_arms_that_never_differ_show_no_difference() -> None:
    comparison = compare_paired([True, False], [True, False])
    assert comparison.p_value == 1
    assert comparison.difference.value == 0
    assert mcnemar(0, 0) == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_exchanging_the_arms_turns_the_comparison_round(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    here, there = compare_paired(first, second), compare_paired(second, first)
    assert here.p_value == there.p_value
    assert (here.only_first, here.both) == (there.only_second, there.both)
    assert here.both + here.only_first + here.only_second + here.neither == len(pairs)
    assert here.difference.value == pytest.approx(-there.difference.value)
    assert here.difference.interval.low == pytest.approx(-there.difference.interval.high)
    assert here.difference.interval.low <= here.difference.value + 1e-12
    assert here.difference.interval.low >= -1


def test_a_true_null_is_rejected_no_more_often_than_promised() -> None:
    """Exact over all splits of n discordant seeds."""
    for n in range(1, 80):
        weights = stats.binom.pmf(np.arange(n + 1), n, 0.5)
        p_values = np.array([mcnemar(k, n - k) for k in range(n + 1)])
        assert weights[p_values <= 0.05].sum() <= 0.05 + 1e-12


@pytest.mark.parametrize(("n", "truths"), [(15, (0.7, 0.3)), (40, (0.95, 0.6)), (40, (0.5, 0.5))])
def test_difference_intervals_cover_at_about_their_level(
    n: int, truths: tuple[float, float]
) -> None:
    weights = [stats.binom.pmf(np.arange(n + 1), n, truth) for truth in truths]
    covered = 0.0
    for a, b in product(range(n + 1), repeat=2):
        interval = difference_interval((a, n), (b, n)).interval
        if interval.low <= truths[0] - truths[1] <= interval.high:
            covered += weights[0][a] * weights[1][b]
    assert 0.93 <= covered <= 0.98


@given(st.integers(1, 5000), st.floats(0.5, 0.99), LEVELS)
def test_more_seeds_detect_smaller_differences(n: int, power: float, level: float) -> None:
    difference = detectable_difference(n, power, level)
    assert 0 < detectable_difference(n + 1, power, level) <= difference <= 1
    assert detectable_difference(n, min(power + 0.005, 0.995), level) >= difference
    if difference < 1:
        assert seeds_to_detect(difference + 1e-9, power, level) == n


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_the_detectable_difference_is_detected_as_often_as_promised(n: int) -> None:
    """By simulation with the two-proportion test, whose power the arcsine formula approximates."""
    difference = detectable_difference(n)
    draws = stream(1, "power", n).binomial(
        n, [0.5 - difference / 2, 0.5 + difference / 2], size=(20_000, 2)
    )
    pooled = draws.mean(axis=1) / n
    z = np.abs(draws[:, 1] - draws[:, 0]) / n / np.sqrt(2 * pooled * (1 - pooled) / n)
    assert np.mean(z > stats.norm.ppf(0.975)) == pytest.approx(0.8, abs=0.04)


THRESHOLDS = st.lists(st.integers(1, 30), min_size=1, max_size=60)


@given(THRESHOLDS)
def test_without_censoring_survival_is_the_share_beyond(thresholds: list[int]) -> None:
    curve = survival_curve(thresholds, [False] * len(thresholds))
    assert [point.length for point in curve] == sorted(set(thresholds))
    for point in curve:
        beyond = sum(t > point.length for t in thresholds)
        expected = fraction_interval(beyond, len(thresholds))
        assert point.beyond.value == pytest.approx(beyond / len(thresholds))
        if point is not curve[-1]:
            assert point.beyond.interval.low == pytest.approx(expected.low)
            assert point.beyond.interval.high == pytest.approx(expected.high)


@given(THRESHOLDS, st.data())
def test_survival_agrees_with_scipys_product_limit(
    thresholds: list[int], data: st.DataObject
) -> None:
    size = len(thresholds)
    censored = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    assume(not all(censored))
    curve = survival_curve(thresholds, censored)
    sample = stats.CensoredData.right_censored(np.array(thresholds, float), censored)
    theirs = stats.ecdf(sample).sf
    for point in curve:
        assert point.beyond.value == pytest.approx(theirs.evaluate(point.length), abs=1e-12)
        assert 0 <= point.beyond.interval.low <= point.beyond.value + 1e-12
        assert point.beyond.value - 1e-12 <= point.beyond.interval.high <= 1
    assert sum(point.failed for point in curve) == censored.count(False)
    values = [point.beyond.value for point in curve]
    assert values == sorted(values, reverse=True)


def test_seeds_that_never_fail_are_bounded_not_dropped() -> None:
    curve = survival_curve([7, 8, 100, 100], [False, False, True, True])
    assert curve[-1].beyond.value == 0.5
    assert curve[-1].beyond.interval == fraction_interval(2, 4)
    assert survival_curve([100, 100], [True, True]) == []


def test_the_survival_band_covers_at_about_its_level_under_censoring() -> None:
    generator = stream(2, "survival")
    covered = []
    for _ in range(1500):
        failing = generator.geometric(0.1, size=60)
        ending = generator.integers(1, 40, size=60)
        censored = failing > ending
        curve = survival_curve(np.minimum(failing, ending).tolist(), censored.tolist())
        point = [point for point in curve if point.length <= 10][-1]
        interval = point.beyond.interval
        covered.append(interval.low <= 0.9**10 <= interval.high)
    assert 0.92 <= np.mean(covered) <= 0.985


@pytest.mark.parametrize("limit", [10**9, 150])
def test_the_tail_exponent_is_found_again_and_its_interval_covers(limit: int) -> None:
    generator = stream(3, "tail")
    covered, values = [], []
    for _ in range(600):
        drawn = np.floor(29.5 * generator.random(200) ** (-1 / 3.2) + 0.5)
        thresholds = np.minimum(drawn, limit).astype(int).tolist()
        estimate = tail_exponent(thresholds, (drawn > limit).tolist(), start=30)
        values.append(estimate.value)
        covered.append(estimate.interval.low <= 3.2 <= estimate.interval.high)
    assert np.mean(values) == pytest.approx(3.2, rel=0.02)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_a_tail_without_a_failure_is_refused() -> None:
    with pytest.raises(ValueError, match="no seed has a threshold of 30 or more"):
        tail_exponent([7, 40], [False, True], start=30)
    with pytest.raises(ValueError, match="start is 0"):
        tail_exponent([7], [False], start=0)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0), (0, -1)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    for method in (wilson, clopper_pearson, fraction_interval):
        with pytest.raises(ValueError, match=f"{successes} of {n}: need 0 <= successes <= n"):
            method(successes, n)
    with pytest.raises(ValueError, match="need 0 <= successes"):
        mean_of_fractions([(1, 2), (successes, n)])
    with pytest.raises(ValueError, match="need 0 <= successes"):
        difference_interval((1, 2), (successes, n))


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95.0])
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        fraction_interval(1, 2, level)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        fraction_interval(2, 2, level)


def test_nonsense_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        mean_of_fractions([])
    with pytest.raises(ValueError, match="2 and 1 seeds"):
        compare_paired([True, False], [True])
    with pytest.raises(ValueError, match="0 and 0 seeds"):
        compare_paired([], [])
    with pytest.raises(ValueError, match="must be as many"):
        survival_curve([1], [])
    with pytest.raises(ValueError, match="n_per_arm is 0"):
        detectable_difference(0)
    with pytest.raises(ValueError, match=r"power is 1\.0"):
        detectable_difference(10, 1.0)
    with pytest.raises(ValueError, match="difference is 0"):
        seeds_to_detect(0)
    assert detectable_difference(1) == 1
