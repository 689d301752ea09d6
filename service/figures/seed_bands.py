"""Curves over seeds as the sources draw them: the mean, and a band from least to greatest. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from scipy.signal import savgol_filter

from db.bands import evenly
from service.figures.figure import Row

#: Points of a smoothing window, and the degree of the polynomial through them (SPECS B.4).
WINDOW, DEGREE = 11, 1
#: Points of a drawn curve at most.
MOST_POINTS = 250


@dataclass(frozen=True, kw_only=True)
class Bands:
    """One series: rows of x, value (mean), low, high (least and greatest) and seeds, by x."""

    rows: Sequence[Row]
    #: Seeds with fewer than half the median number of points: left out, as in the source.
    short: int
    smoothed: bool


def bands_over_seeds(curves: Mapping[int, Mapping[float, float]], *, smooth: bool = False) -> Bands:
    """Mean and range at each point, over the seeds measured there.

    Points at which fewer than half as many seeds were measured as at the fullest one are left out:
    a range of one stray seed says nothing.

    Args:
        curves: Seed run -> (x -> value).
        smooth: Smooth each seed's curve first, where it is longer than the window.
    """
    whole = {seed: curve for seed, curve in curves.items() if curve}
    if not whole:
        return Bands(rows=(), short=0, smoothed=False)
    half = median(len(curve) for curve in whole.values()) / 2
    kept = [curve for curve in whole.values() if len(curve) >= half]
    smoothed = smooth and any(len(curve) > WINDOW for curve in kept)
    if smooth:
        kept = [_smoothed(curve) for curve in kept]
    measured = Counter(x for curve in kept for x in curve)
    fullest = max(measured.values())
    shown = evenly(sorted(x for x, seeds in measured.items() if 2 * seeds >= fullest), MOST_POINTS)
    rows = []
    for x in shown:
        values = [curve[x] for curve in kept if x in curve]
        rows.append(
            {
                "x": x,
                "value": fmean(values),
                "low": min(values),
                "high": max(values),
                "seeds": len(values),
            }
        )
    return Bands(rows=rows, short=len(whole) - len(kept), smoothed=smoothed)


def _smoothed(curve: Mapping[float, float]) -> Mapping[float, float]:
    if len(curve) <= WINDOW:
        return curve
    places = sorted(curve)
    found = savgol_filter([curve[x] for x in places], WINDOW, DEGREE)
    # A line through the last points of a falling curve ends below what a share can be.
    return {x: min(1.0, max(0.0, float(y))) for x, y in zip(places, found, strict=True)}


def curves_of(
    points: Sequence[Row], *, untested_is_wrong: bool = False
) -> dict[int, dict[float, float]]:
    """Rows of `measurements.seed_points` by seed run.

    Args:
        points: The rows.
        untested_is_wrong: A test of other seeds that a seed was spared, being too wrong in training
            (`evaluation.only_below`), counts as an error of 1.
    """
    curves: dict[int, dict[float, float]] = {}
    for row in points:
        curves.setdefault(row["seed_run_id"], {})[row["step"]] = row["value"]
    if untested_is_wrong:
        steps = {step for curve in curves.values() for step in curve}
        for curve in curves.values():
            last = max(curve)
            curve |= {step: 1.0 for step in steps - curve.keys() if step < last}
    return curves
