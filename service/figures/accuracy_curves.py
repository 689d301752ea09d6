"""Figures 3, 4, 7, 8 and 9 of Freivalds and Liepins: accuracy of the diagonal Neural GPU.

Share of right symbols at a length far beyond training, against step or time, a series a setting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from ngpu_core.statistics import fraction_interval
from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Figure, Missing, Row, Spec
from service.figures.published import FREIVALDS_RUNS, SOURCES, published
from service.figures.seed_bands import bands_over_seeds, curves_of
from service.formats import interval, number

DIAGONAL = "diagonal_neural_gpu"
#: The accuracy that the source's text counts steps and minutes to.
GOAL = 0.99
#: Published points are drawn up to so many times as far as ours go.
FAR = 3
COLUMNS = ("series", "source", "step", "minutes", "mean", "least", "greatest", "seeds")


def choose_diagonal(evidence: Evidence) -> list[Configuration]:
    """The diagonal models, and the plain ones tested beside them on the same operation."""
    if not any(one.family == DIAGONAL for one in evidence.configurations):
        raise Missing(
            "no configuration is of the diagonal Neural GPU: set model.family to "
            "diagonal_neural_gpu"
        )
    return list(evidence.configurations)


def choose_ablations(evidence: Evidence) -> list[Configuration]:
    """Several settings of the diagonal model."""
    found = [one for one in evidence.configurations if one.family == DIAGONAL]
    if len(found) < 2:
        raise Missing(
            "the sweep does not compare variants of the diagonal Neural GPU: give its grid an axis "
            "with the full model and models without one of its parts"
        )
    return found


def choose_dropouts(evidence: Evidence) -> list[Configuration]:
    """Diagonal models that differ in dropout."""
    found = [one for one in evidence.configurations if one.family == DIAGONAL]
    settings = {
        tuple(
            f"{section}.{key}={value}"
            for section, keys in one.run.items()
            for key, value in keys.items()
            if "dropout" in key
        )
        for one in found
    }
    if len(settings) < 2:
        raise Missing(
            "the configurations do not differ in dropout: give the grid an axis that sets it"
        )
    return found


def choose_coded_decimals(evidence: Evidence) -> list[Configuration]:
    """Models that multiply binary-coded decimals."""
    found = [one for one in evidence.configurations if "bcd" in one.target]
    if not found:
        raise Missing(
            "no configuration multiplies binary-coded decimals: set training.tasks to [mulbcd]"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A figure of accuracy: of which configurations, against what, beside which claims."""

    name: str
    title: str
    choose: Callable[[Evidence], list[Configuration]]
    about: str
    #: Published points: (series, step or minutes, accuracy).
    published: Callable[[], Sequence[tuple[str, float, float]]] = tuple
    #: Minutes of training instead of steps.
    in_minutes: bool = False

    def draw(self, evidence: Evidence) -> Figure:
        """The figure of some sweeps."""
        chosen = self.choose(evidence)
        series = evidence.series(chosen)
        rows = [row for label, some in series.items() for row in self._rows(label, some, evidence)]
        if not rows:
            raise Missing("no seed run has been tested yet")
        told = self.published()
        paper = [self._row(name, drawing.PUBLISHED, x, {"value": y}) for name, x, y in told]
        length = max(sweep["success_length"] for sweep in evidence.sweeps)
        return Figure(
            name=self.name,
            title=self.title,
            caption=(
                f"Share of right symbols at length {length}: the mean over seeds, and a band from "
                "the worst to the best seed. Not smoothed.",
                *([_clock(evidence, chosen)] if self.in_minutes else []),
                *(_reached(evidence, label, some) for label, some in series.items()),
                *captions.left_out(len(series), drawing.MOST_SERIES),
                captions.counts(evidence.runs_of(chosen)),
                captions.conditions(chosen),
                self.about,
                captions.origin(evidence),
            ),
            chart=self._chart(rows, paper, list(series), length),
            columns=COLUMNS,
            rows=[*rows, *paper],
        )

    def _rows(self, label: str, some: list[Configuration], evidence: Evidence) -> list[Row]:
        minutes = _minutes_a_step(evidence, some) if self.in_minutes else 1.0
        found = bands_over_seeds(_accuracies(evidence, some)).rows
        return [self._row(label, drawing.OURS, minutes * row["x"], row) for row in found]

    def _row(self, label: str, source: str, x: float, row: Row) -> Row:
        place = {"step": None, "minutes": None, "minutes" if self.in_minutes else "step": x}
        return {
            "series": label, "source": source, **place, "mean": row["value"],
            "least": row.get("low"), "greatest": row.get("high"), "seeds": row.get("seeds"),
        }  # fmt: skip

    def _chart(
        self, rows: Sequence[Row], paper: Sequence[Row], labels: Sequence[str], length: int
    ) -> Spec:
        field = "minutes" if self.in_minutes else "step"
        ours = max(row[field] for row in rows)
        # What lies far beyond ours would squeeze it; the caption names it.
        near = [row for row in paper if row[field] <= FAR * ours]
        furthest = max(row[field] for row in [*rows, *near])
        scale = {"domain": [0, furthest], "nice": False}
        across = (
            drawing.x(field, "minutes of training", scale=scale, axis={"format": "~g"})
            if self.in_minutes
            else drawing.steps(furthest)
        )
        labels = labels[: drawing.MOST_SERIES]
        up = drawing.share("value", f"accuracy (share of symbols right) at length {length}")
        shown = [
            {**row, "value": row["mean"], "low": row["least"], "high": row["greatest"]}
            for row in rows
            if row["series"] in labels
        ]
        points = [{**row, "value": row["mean"]} for row in near]
        told = [
            drawing.tip("series"),
            drawing.tip(field, None, ",.4~g"),
            drawing.tip("value", "mean", ".3f"),
            drawing.tip("low", "worst seed", ".3f"),
            drawing.tip("high", "best seed", ".3f"),
            drawing.tip("seeds"),
        ]
        layers = [
            *drawing.bands(shown, across, up, drawing.series(labels), tooltip=told),
            *drawing.published_points(points, across, up, tooltip=told[:3]),
        ]
        return drawing.alone(drawing.panel("", layers, width=480, height=280))


def _accuracies(evidence: Evidence, some: list[Configuration]) -> dict[int, dict[float, float]]:
    one = some[0]
    length = evidence.sweep_of(one)["success_length"]
    points = evidence.points(
        some, kind="test", task=one.judged, metric="symbol_error", length=length
    )
    return {
        seed: {step: 1 - error for step, error in curve.items()}
        for seed, curve in curves_of(points).items()
    }


def _reached(evidence: Evidence, label: str, some: list[Configuration]) -> str:
    """How many seeds reach the goal, and when."""
    states = {run["seed_run_id"]: run["state"] for run in evidence.runs_of(some)}
    first = sorted(
        min(step for step, share in curve.items() if share >= GOAL)
        for seed, curve in _accuracies(evidence, some).items()
        # A seed that diverged is not successful, wherever it had been; one that runs may yet be.
        if states[seed] == "finished" and any(share >= GOAL for share in curve.values())
    )
    n = sum(state in COUNTED for state in states.values())
    if not n:
        return f"{label}: no seed counted."
    band = fraction_interval(len(first), n)
    said = (
        f"{label}: {len(first)}/{n} seeds reach {100 * GOAL:g} % at some test "
        f"(95 %: {interval(band.low, band.high)})"
    )
    if not first:
        return f"{said}."
    at = f"after {number(median(first))} steps in the median"
    return f"{said}, {at} ({number(first[0])} to {number(first[-1])})."


def _clock(evidence: Evidence, chosen: Sequence[Configuration]) -> str:
    runs: list[Any] = evidence.runs_of(chosen)
    places = sorted(
        {
            f"{run['engine']} on {run['host'] or 'a host not recorded'}"
            for run in runs
            if run["engine"]
        }
    )
    return (
        "A step's minutes are the mean time a step over the configuration's seeds, of which those "
        "of a pack share one clock. Computed by "
        f"{', '.join(places[:4]) or 'an engine not recorded'}."
    )


def _minutes_a_step(evidence: Evidence, some: list[Configuration]) -> float:
    runs = [run for run in evidence.runs_of(some) if run["steps"] and run["wall_seconds"]]
    return fmean(run["wall_seconds"] / run["steps"] / 60 for run in runs) if runs else 0.0


def _claim(figure: int, words: str) -> float:
    return float(
        next(
            row["value"]
            for row in published("freivalds2017_claims")
            if row["figure"] == figure and words in row["claim"]
        )
    )


def steps_to_goal() -> list[tuple[str, float, float]]:
    """Published: steps to 99 % of the two models."""
    return [
        ("published: diagonal Neural GPU", _claim(3, "steps to 99%"), GOAL),
        ("published: Neural GPU", _claim(3, "original Neural GPU"), GOAL),
    ]


def minutes_to_goal() -> list[tuple[str, float, float]]:
    """Published: minutes to 99 %, an upper bound on a Tesla K40."""
    return [("published: less than, Tesla K40", _claim(4, "minutes to 99%"), GOAL)]


def coded_decimals_claim() -> str:
    """Published: how many seeds multiply decimals."""
    share = _claim(9, "below 1% error")
    k = round(share * FREIVALDS_RUNS)
    band = fraction_interval(k, FREIVALDS_RUNS)
    return (
        f"Published ({SOURCES['freivalds2017_claims']}): {k} of {FREIVALDS_RUNS} seeds below 1 % "
        f"error (95 %: {interval(band.low, band.high)}), 192 maps, trained to 5 digits, "
        "tested at 50."
    )
