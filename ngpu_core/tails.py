"""The tail of carry thresholds: a power law, its uncertainty, and what it says of longer carries.

The fraction of seeds with a threshold of at least t is taken as S(t) = p · (t / start)**-a from a
`start` on: p is the fraction of seeds in the tail, a its exponent. Whole numbers are treated as
continuous from start - 1/2, as in `statistics.tail_exponent`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, isfinite, log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2

from ngpu_core.statistics import Estimate, Interval, survival_curve, tail_exponent

#: Seeds with a threshold in the tail at least, and the factor of lengths they span: a line through
#: less shows nothing.
LEAST_TAIL, LEAST_SPAN = 5, 2
#: Resamples behind an interval.
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class TailFit:
    """A power law through the far end of the thresholds."""

    start: int
    #: Seeds in the tail: with a threshold, or censored.
    seeds: int
    #: Estimated fraction of seeds with a threshold of at least `start`.
    share: float
    exponent: Estimate

    def beyond(self, length: float) -> float:
        """The fraction of seeds whose threshold is at least a length of the tail."""
        return self.share * (max(length, self.start) / (self.start - 0.5)) ** -self.exponent.value


def fit_tail(
    thresholds: Sequence[int], censored: Sequence[bool], *, start: int | None = None
) -> TailFit:
    """Fit the tail from `start` on, or from where a power law fits best.

    The start is chosen as A. Clauset, C. R. Shalizi and M. E. J. Newman (2009), SIAM Rev. 51,
    661–703, section 3.3 do: the threshold from which the fit and the survival curve differ least
    (Kolmogorov and Smirnov's distance), among those that leave `LEAST_TAIL` seeds.

    Raises:
        ValueError: No tail holds `LEAST_TAIL` thresholds, or none spans a factor of `LEAST_SPAN`.
    """
    if start is not None:
        return _fit(thresholds, censored, start)
    failed = sorted(t for t, c in zip(thresholds, censored, strict=True) if not c)
    longest = max(thresholds, default=0)
    starts = sorted(
        {
            t
            for t in failed[: max(0, len(failed) - LEAST_TAIL + 1)]
            if 1 <= t <= longest / LEAST_SPAN
        }
    )
    if not starts:
        raise ValueError(
            f"no tail: of {len(failed)} carry thresholds there are not {LEAST_TAIL} that span a "
            f"factor of {LEAST_SPAN}"
        )
    fits = (_fit(thresholds, censored, one) for one in starts)
    return min(fits, key=lambda fit: _misfit(fit, thresholds, censored))


def _fit(thresholds: Sequence[int], censored: Sequence[bool], start: int) -> TailFit:
    tail = [(t, c) for t, c in zip(thresholds, censored, strict=True) if t >= start]
    before = [one for one in survival_curve(thresholds, censored) if one.length < start]
    return TailFit(
        start=start,
        seeds=len(tail),
        share=before[-1].beyond.value if before else 1.0,
        exponent=tail_exponent(thresholds, censored, start=start),
    )


def _misfit(fit: TailFit, thresholds: Sequence[int], censored: Sequence[bool]) -> float:
    """The greatest distance between the fit and the survival curve within the tail."""
    tail = [(t, c) for t, c in zip(thresholds, censored, strict=True) if t >= fit.start]
    curve = survival_curve([t for t, _ in tail], [c for _, c in tail])
    power = -fit.exponent.value
    return max(
        abs(((one.length + 0.5) / (fit.start - 0.5)) ** power - one.beyond.value) for one in curve
    )


def seeds_for_length(
    thresholds: Sequence[int],
    censored: Sequence[bool],
    length: int,
    *,
    start: int,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Estimate:
    """How many seeds one must train, on average, for one that carries so far.

    The interval is that of the bootstrap: seeds drawn again with replacement, the tail's start
    kept. It says how sure the fit is, not whether a power law holds so far out.

    Args:
        thresholds: each seed's threshold, or the longest length it was tested at.
        censored: whether that seed never failed up to there; nothing is censored before `start`.
        length: the carry length asked for, at least `start`.
        start: where the tail begins.
        level: nominal coverage.
        resamples: bootstrap samples.
    """
    lengths, marks = np.asarray(thresholds), np.asarray(censored, dtype=bool)
    in_tail = lengths >= start
    reach = np.where(in_tail, np.log(np.maximum(lengths, start) / (start - 0.5)), 0.0)
    generator = np.random.default_rng(0)
    sums = np.array(
        [
            [column[drawn].sum() for column in (in_tail, in_tail & ~marks, reach)]
            for drawn in (
                generator.integers(0, len(lengths), len(lengths)) for _ in range(resamples)
            )
        ]
    )
    shares, failed, exposure = sums.T
    needed = _seeds_needed(shares / len(lengths), failed, exposure, log(length / (start - 0.5)))
    low, high = np.quantile(needed, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    value = 1 / _fit(thresholds, censored, start).beyond(length)
    return Estimate(value=value, interval=Interval(low=float(low), high=float(high)))


def _seeds_needed(
    share: NDArray[np.float64],
    failed: NDArray[np.float64],
    exposure: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float64]:
    """Of each resample; infinite where none of its seeds is in the tail."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = np.where(failed > 0, failed / exposure, 0.0)
        return np.where(share > 0, np.exp(exponent * reach) / share, inf)


def grouped_exponent(
    lengths: Sequence[int], counts: Sequence[int], level: float = 0.95
) -> Estimate:
    """The exponent of a tail of which only counts at some lengths are known.

    Args:
        lengths: Ascending.
        counts: Seeds with a threshold of at least each length, descending, the last above 0.
        level: nominal coverage.

    Returns:
        The maximum of the likelihood, and where it falls by half of chi-squared's quantile.
    """
    ends = [log(length) for length in lengths]
    within = [a - b for a, b in pairwise(counts)]

    def likelihood(a: float) -> float:
        terms = [
            count * (-a * (low - ends[0]) + log(-np.expm1(-a * (high - low))))
            for count, (low, high) in zip(within, pairwise(ends), strict=True)
        ]
        return float(sum(terms) - counts[-1] * a * (ends[-1] - ends[0]))

    grid = np.geomspace(1e-2, 1e2, 4001)
    best = float(grid[int(np.argmax([likelihood(a) for a in grid]))])
    floor = likelihood(best) - float(chi2.ppf(level, 1)) / 2
    low = brentq(lambda a: likelihood(a) - floor, 1e-3, best)
    high = brentq(lambda a: likelihood(a) - floor, best, 1e3)
    return Estimate(value=best, interval=Interval(low=float(low), high=float(high)))


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares on log-log: S(t) = exp(intercept) · t**slope, as (slope, intercept)."""
    slope, intercept = np.polyfit([log(x) for x, _ in points], [log(y) for _, y in points], 1)
    return float(slope), float(intercept)


def seeds_by_line(points: Sequence[tuple[float, float]], length: float) -> float:
    """The seeds a line through points of (length, fraction of seeds) says a length needs."""
    slope, intercept = line_through(points)
    needed = exp(-(intercept + slope * log(length)))
    assert isfinite(needed)
    return needed
