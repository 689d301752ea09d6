"""Fractions of seeds with the intervals, curves and comparisons a statistician would accept.

Pure functions of counts. Intervals are two-sided. Sources are named where a method is used; which
method answers which question:

* one fraction k/n: `fraction_interval` (Wilson; Clopper–Pearson where k is 0 or n);
* the mean over tasks of such fractions: `mean_of_fractions`;
* two arms: `compare_paired` where they share seeds, else `difference_interval`;
* how many seeds are enough: `detectable_difference`;
* carry thresholds, some never reached: `survival_curve`, and `tail_exponent` of its far end.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, hypot, log, pi, sin, sqrt
from statistics import fmean

from scipy.special import bdtr, betaincinv, gammaincinv, ndtri


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A closed interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and the interval it travels with."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Two arms run with the same seeds: how the seeds split, and what that shows."""

    #: Seeds that succeeded in both arms, in one only, in none.
    both: int
    only_first: int
    only_second: int
    neither: int
    #: Success fraction of the first arm minus the second's.
    difference: Estimate
    #: Exact McNemar test, two-sided, of "no difference".
    p_value: float


@dataclass(frozen=True, kw_only=True)
class SurvivalPoint:
    """What is known of the seeds' carry thresholds at one length."""

    length: int
    #: Seeds whose threshold, or censoring, is at this length or beyond.
    at_risk: int
    #: Seeds whose threshold is exactly this length.
    failed: int
    #: Estimated fraction of seeds with a threshold beyond this length, and its interval.
    beyond: Estimate


def wilson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a binomial fraction.

    E. B. Wilson (1927), J. Amer. Statist. Assoc. 22, 209–212; recommended for all n by Brown, Cai
    and DasGupta (2001), Statist. Sci. 16, 101–133.

    Args:
        successes: 0..n. An effective (not whole) number will do.
        n: trials, above 0.
        level: nominal coverage, strictly between 0 and 1.
    """
    _require_counts(successes, n, level)
    z = _quantile(level)
    fraction = successes / n
    centre = (fraction + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * sqrt(fraction * (1 - fraction) / n + (z / (2 * n)) ** 2)
    # The formula gives these two ends exactly; rounding does not.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == n else centre + reach
    return Interval(low=low, high=high)


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> Interval:
    """Clopper and Pearson's exact interval: covers with at least `level` at every fraction.

    C. J. Clopper and E. S. Pearson (1934), Biometrika 26, 404–413.
    """
    _require_counts(successes, n, level)
    tail = (1 - level) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes > 0 else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return Interval(low=float(low), high=float(high))


def fraction_interval(successes: float, n: float, level: float = 0.95) -> Interval:
    """The interval shown beside every fraction: Wilson's, but Clopper–Pearson's at 0/n and n/n.

    At the two ends Wilson's interval covers less than its level; the exact one does not.
    """
    method = clopper_pearson if successes in (0, n) else wilson
    return method(successes, n, level)


def mean_of_fractions(counts: Sequence[tuple[int, int]], level: float = 0.95) -> Estimate:
    """The mean of several tasks' fractions, each weighing the same whatever its number of seeds.

    Stratified interval of R. M. Price and D. G. Bonett (2004), Comput. Statist. Data Anal. 45,
    449–456: z**2 / 2 successes (their 2 at 95 %) and as many failures, shared out over the tasks,
    are added before the normal interval is taken. It covers at about its level from some ten seeds
    a task on; with five, and all tasks but one decided, it was seen to cover 80 % at a nominal
    95 %. One task gives `fraction_interval`.

    Args:
        counts: (successes, n) of each task; independent seeds.
        level: nominal coverage.

    Raises:
        ValueError: There is no task, or one without a counted seed.
    """
    if not counts:
        raise ValueError("the mean over tasks needs at least one task, there is none")
    for successes, n in counts:
        _require_counts(successes, n, level)
    mean = fmean(successes / n for successes, n in counts)
    if len(counts) == 1:
        return Estimate(value=mean, interval=fraction_interval(*counts[0], level))
    z, tasks = _quantile(level), len(counts)
    added = z * z / 2 / tasks
    sizes = [n + 2 * added for _, n in counts]
    fractions = [(k + added) / size for (k, _), size in zip(counts, sizes, strict=True)]
    errors = [sqrt(p * (1 - p) / size) for p, size in zip(fractions, sizes, strict=True)]
    centre, reach = fmean(fractions), z * hypot(*errors) / tasks
    interval = Interval(
        low=min(mean, max(0.0, centre - reach)), high=max(mean, min(1.0, centre + reach))
    )
    return Estimate(value=mean, interval=interval)


def difference_interval(
    first: tuple[int, int], second: tuple[int, int], level: float = 0.95
) -> Estimate:
    """The difference, first minus second, of two arms' fractions whose seeds are independent.

    Hybrid score interval: R. G. Newcombe (1998), Statist. Med. 17, 873–890, method 10.

    Args:
        first: (successes, n) of one arm.
        second: (successes, n) of the other.
        level: nominal coverage.
    """
    return _difference(first, second, 0.0, level)


def compare_paired(
    first: Sequence[bool], second: Sequence[bool], level: float = 0.95
) -> PairedComparison:
    """Compare two arms seed by seed.

    The test is McNemar's, exact: given how many seeds succeeded in one arm only, which arm it was
    is a fair coin (Q. McNemar (1947), Psychometrika 12, 153–157). The interval is R. G. Newcombe's
    for paired fractions (1998, Statist. Med. 17, 2635–2650, method 10).

    Args:
        first: whether each seed succeeded in one arm.
        second: the same seeds, in the same order, in the other.
        level: nominal coverage of the difference's interval.

    Raises:
        ValueError: The arms differ in length or are empty.
    """
    if len(first) != len(second) or not first:
        raise ValueError(
            f"arms have {len(first)} and {len(second)} seeds: must be the same seeds, at least one"
        )
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    both, only_first = pairs.count((True, True)), pairs.count((True, False))
    only_second, neither = pairs.count((False, True)), pairs.count((False, False))
    return PairedComparison(
        both=both,
        only_first=only_first,
        only_second=only_second,
        neither=neither,
        difference=_paired_difference(both, only_first, only_second, neither, level),
        p_value=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test, from the seeds that succeeded in one arm only."""
    discordant = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5)))


def detectable_difference(n_per_arm: int, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest difference between two arms' success fractions that this many seeds show.

    For two independent arms placed evenly around one half, where fractions vary most, so that the
    answer holds wherever they lie; arms that share seeds do no worse. Cohen's h on the arcsine
    scale: J. Cohen (1988), Statistical Power Analysis, 2nd ed., chapter 6.

    Args:
        n_per_arm: seeds of each arm, at least 1.
        power: chance to see a difference of that size, strictly between 0 and 1.
        level: 1 - significance level of the two-sided test.

    Returns:
        A difference in 0..1; 1.0 also where not even all against none would be seen that surely.
    """
    if n_per_arm < 1:
        raise ValueError(f"n_per_arm is {n_per_arm}: must be at least 1")
    if not 0 < power < 1:
        raise ValueError(f"power is {power}: must be strictly between 0 and 1")
    effect = (_quantile(level) + float(ndtri(power))) * sqrt(2 / n_per_arm)
    return max(0.0, sin(min(effect, pi) / 2))


def seeds_to_detect(difference: float, power: float = 0.8, level: float = 0.95) -> int:
    """The seeds an arm needs to show a difference: the inverse of `detectable_difference`."""
    if not 0 < difference <= 1:
        raise ValueError(f"difference is {difference}: must be above 0 and at most 1")
    effect = 2 * asin(difference)
    needed = int(2 * ((_quantile(level) + float(ndtri(power))) / effect) ** 2)
    while detectable_difference(max(needed, 1), power, level) > difference:
        needed += 1
    return max(needed, 1)


def survival_curve(
    thresholds: Sequence[int], censored: Sequence[bool], level: float = 0.95
) -> list[SurvivalPoint]:
    """Estimate the fraction of seeds whose threshold lies beyond each length.

    A seed that never failed up to the longest length tested has no threshold, only a bound: it is
    right-censored there, neither dropped nor counted as having failed.

    Product-limit estimate: E. L. Kaplan and P. Meier (1958), J. Amer. Statist. Assoc. 53, 457–481.
    Band: pointwise score interval at the effective number of seeds that Greenwood's variance
    implies (K. J. Rothman (1978), J. Chronic Dis. 31, 557–560). With nothing censored earlier it
    is exactly `fraction_interval` of the seeds beyond.

    Args:
        thresholds: each seed's threshold, or the longest length it was tested at.
        censored: whether that seed never failed up to there.
        level: nominal coverage at each point.

    Returns:
        A point for each length at which a seed failed, ascending. The fraction with a threshold of
        at least such a length is the previous point's (1 before the first).

    Raises:
        ValueError: The arguments differ in length or are empty.
    """
    _require_seeds(thresholds, censored)
    failures = Counter(t for t, c in zip(thresholds, censored, strict=True) if not c)
    points: list[SurvivalPoint] = []
    surviving, greenwood, effective = 1.0, 0.0, 0.0
    for length in sorted(failures):
        at_risk = sum(threshold >= length for threshold in thresholds)
        failed = failures[length]
        effective = effective or float(at_risk)
        surviving *= 1.0 - failed / at_risk
        if failed < at_risk:
            greenwood += failed / (at_risk * (at_risk - failed))
            effective = (1 - surviving) / (surviving * greenwood)
        beyond = Estimate(
            value=surviving, interval=fraction_interval(surviving * effective, effective, level)
        )
        points.append(SurvivalPoint(length=length, at_risk=at_risk, failed=failed, beyond=beyond))
    return points


def tail_exponent(
    thresholds: Sequence[int], censored: Sequence[bool], *, start: int, level: float = 0.95
) -> Estimate:
    """Fit the fraction of seeds with a threshold of at least t as t**-a, from `start` on.

    Maximum likelihood with right-censoring, whole numbers treated as continuous from start - 1/2
    (A. Clauset, C. R. Shalizi and M. E. J. Newman (2009), SIAM Rev. 51, 661–703, eq. 3.7); the
    interval is that of an exponential rate, the logarithms being exponential.

    Args:
        thresholds: each seed's threshold, or the longest length it was tested at.
        censored: whether that seed never failed up to there.
        start: smallest threshold that belongs to the tail.
        level: nominal coverage.

    Returns:
        The exponent a, above 0.

    Raises:
        ValueError: No seed has a threshold in the tail, or `start` is below 1.
    """
    _require_seeds(thresholds, censored)
    if start < 1:
        raise ValueError(f"start is {start}: must be at least 1")
    tail = [(t, c) for t, c in zip(thresholds, censored, strict=True) if t >= start]
    failed = sum(not c for _, c in tail)
    if not failed:
        raise ValueError(f"no seed has a threshold of {start} or more: the tail is empty")
    exposure = sum(log(t / (start - 0.5)) for t, _ in tail)
    half = (1 - level) / 2
    interval = Interval(
        low=float(gammaincinv(failed, half)) / exposure,
        high=float(gammaincinv(failed, 1 - half)) / exposure,
    )
    return Estimate(value=failed / exposure, interval=interval)


def _paired_difference(
    both: int, only_first: int, only_second: int, neither: int, level: float
) -> Estimate:
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    product = sqrt(first * (n - first) * second * (n - second))
    association: float = both * neither - only_first * only_second
    if association > 0:  # Newcombe's continuity correction
        association = max(0.0, association - n / 2)
    correlation = association / product if product else 0.0
    return _difference((first, n), (second, n), correlation, level)


def _difference(
    first: tuple[int, int], second: tuple[int, int], correlation: float, level: float
) -> Estimate:
    a, b = wilson(*first, level), wilson(*second, level)
    one, other = first[0] / first[1], second[0] / second[1]
    to_low = _combined(one - a.low, b.high - other, correlation)
    to_high = _combined(a.high - one, other - b.low, correlation)
    difference = one - other
    return Estimate(
        value=difference, interval=Interval(low=difference - to_low, high=difference + to_high)
    )


def _combined(one: float, other: float, correlation: float) -> float:
    return sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _quantile(level: float) -> float:
    """z such that a normal variable lies within +-z with probability `level`."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: must be strictly between 0 and 1")
    return float(ndtri((1 + level) / 2))


def _require_counts(successes: float, n: float, level: float) -> None:
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} of {n}: need 0 <= successes <= n and n above 0")
    _quantile(level)


def _require_seeds(thresholds: Sequence[int], censored: Sequence[bool]) -> None:
    if len(thresholds) != len(censored) or not thresholds:
        raise ValueError(
            f"{len(thresholds)} thresholds and {len(censored)} censored marks: "
            "must be as many, at least one"
        )
