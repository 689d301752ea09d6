"""Figure 6 right of Price et al.: what fraction of seeds carries at least so far, on log-log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from ngpu_core.statistics import Estimate, fraction_interval, survival_curve
from ngpu_core.tails import TailFit, fit_tail, grouped_exponent, seeds_by_line, seeds_for_length
from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Figure, Missing, Row, Spec
from service.figures.published import CARRY_RUNS, SOURCES, published
from service.formats import DASH, number
from service.sentences import digits

#: The carry whose cost in seeds the source gives: 200 million, which its points do not bear out.
ASKED = 1000
#: Configurations told apart by colour.
MOST_SERIES = 6
#: Points a fitted line is drawn through.
LINE_POINTS = 40
COLUMNS = ("series", "what", "carry_length", "seeds", "share", "low", "high")
_TICKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The tested seeds of one configuration and task."""

    label: str
    #: Threshold, or the longest carry tested where it is censored.
    lengths: tuple[int, ...]
    censored: tuple[bool, ...]
    limit: int


def choose_carrying(evidence: Evidence) -> list[Configuration]:
    """The configurations whose seeds are tested with carries."""
    found = [one for one in evidence.configurations if one.run["evaluation"]["carry_limit"]]
    if not found:
        raise Missing("this sweep has no carry thresholds: set evaluation.carry_limit")
    return found


def draw_figure6_right(evidence: Evidence) -> Figure:
    """Survival curve of carry thresholds with band, tail fit and what it implies."""
    chosen = choose_carrying(evidence)
    groups = _groups(evidence, chosen)
    if not groups:
        raise Missing("no seed has been tested with carries yet: they are, when it has finished")
    fits = {one.label: fit for one in groups if (fit := _fit(one)) is not None}
    rows = [row for one in groups for row in _survival(one)]
    lines = [row for one in groups if one.label in fits for row in _line(one, fits[one.label])]
    paper = list(_published())
    return Figure(
        name="figure6-right",
        title="Fraction of seeds that carry at least so far",
        caption=_caption(evidence, chosen, groups, fits),
        chart=_chart(groups[:MOST_SERIES], rows, lines, paper),
        columns=COLUMNS,
        rows=[*rows, *lines, *paper],
    )


def _groups(evidence: Evidence, chosen: Sequence[Configuration]) -> list[Group]:
    labels = {one.id: label for label, some in evidence.series(chosen).items() for one in some}
    found: dict[tuple[str, str], list[Row]] = {}
    for row in evidence.thresholds():
        if row["configuration_id"] in labels and row["state"] in COUNTED:
            found.setdefault((labels[row["configuration_id"]], row["task"]), []).append(row)
    tasks = {task for _, task in found}
    return [
        Group(
            label=label if len(tasks) == 1 else f"{label} · {task}",
            lengths=tuple(
                row["carry_limit"] if row["censored"] else row["threshold"] for row in rows
            ),
            censored=tuple(bool(row["censored"]) for row in rows),
            limit=max(row["carry_limit"] for row in rows),
        )
        for (label, task), rows in found.items()
    ]


def _survival(group: Group) -> Iterable[Row]:
    """Share of seeds with a threshold of at least k, at each k at which it falls."""
    n = len(group.lengths)
    whole = fraction_interval(n, n)
    share, low, high = 1.0, whole.low, whole.high
    steps = survival_curve(group.lengths, group.censored)

    def row(length: int, seeds: int) -> Row:
        return {
            "series": group.label, "what": "ours", "carry_length": length, "seeds": seeds,
            "share": share, "low": low, "high": high,
        }  # fmt: skip

    yield row(1, n)
    for one in steps:
        # Up to and with this length the share is what it was before any seed failed at it.
        if one.length > 1:
            yield row(one.length, one.at_risk)
        share = one.beyond.value
        low, high = one.beyond.interval.low, one.beyond.interval.high
    if share > 0 and group.limit > (steps[-1].length if steps else 1):
        yield row(group.limit, sum(group.censored))


def _fit(group: Group) -> TailFit | None:
    try:
        return fit_tail(group.lengths, group.censored)
    except ValueError:
        return None


def _line(group: Group, fit: TailFit) -> Iterable[Row]:
    ratio = (ASKED / fit.start) ** (1 / LINE_POINTS)
    for length in sorted({round(fit.start * ratio**place) for place in range(LINE_POINTS + 1)}):
        yield {
            "series": group.label, "what": "tail fit", "carry_length": length, "seeds": fit.seeds,
            "share": fit.beyond(length), "low": None, "high": None,
        }  # fmt: skip


def published_points() -> list[tuple[int, float]]:
    """The points the source states: (length, fraction of seeds that carry at least so far)."""
    stated = [
        row
        for row in published("price2016_figure6_right")
        if row["statement"] in ("at least", f"best of {CARRY_RUNS} seeds")
    ]
    return [(row["carry_length"], row["fraction_of_seeds"]) for row in stated]


def _published() -> Iterable[Row]:
    for length, share in published_points():
        k = round(share * CARRY_RUNS)
        band = fraction_interval(k, CARRY_RUNS)
        yield {
            "series": "published", "what": "published", "carry_length": length, "seeds": k,
            "share": share, "low": band.low, "high": band.high,
        }  # fmt: skip


def published_sentence() -> str:
    """What the published points say of 1000 digits, beside what the source says."""
    points = published_points()
    each = [seeds_by_line([a, b], ASKED) for i, a in enumerate(points) for b in points[i + 1 :]]
    lengths = [length for length, _ in points]
    seeds = [round(share * CARRY_RUNS) for _, share in points]
    fit = grouped_exponent(lengths, seeds)

    def needed(exponent: float) -> float:
        return (ASKED / lengths[0]) ** exponent / points[0][1]

    return (
        f"Published (ochre; {SOURCES['price2016_figure6_right']}): {CARRY_RUNS} seeds, 94 % with a "
        f"threshold of 7 to 9 digits, the best 112. The source names 200 million seeds for {ASKED} "
        f"digits; lines through its own points give {_round(min(each))} to {_round(max(each))}, "
        f"the likeliest tail of its counts {_round(needed(fit.value))} (95 %: "
        f"{_round(needed(fit.interval.low))} to {_round(needed(fit.interval.high))})."
    )


def _caption(
    evidence: Evidence,
    chosen: Sequence[Configuration],
    groups: Sequence[Group],
    fits: Mapping[str, TailFit],
) -> tuple[str, ...]:
    runs = evidence.runs_of(chosen)
    tested = max(len(one.lengths) for one in groups)
    limits = sorted({one.limit for one in groups})
    censored = sum(sum(one.censored) for one in groups)
    untested = sum(run["state"] == "diverged" for run in runs)
    return (
        "The share of seeds whose carry threshold, the shortest carry at which half the answers "
        "are wrong, is at least k.",
        "Product-limit estimate (Kaplan and Meier) with a pointwise 95 % score band; "
        f"{censored} seeds right at the longest carry tested ({digits(limits[-1])}) are "
        "right-censored there.",
        *(_implied(one, fits.get(one.label)) for one in groups[:MOST_SERIES]),
        *captions.left_out(len(groups), MOST_SERIES),
        captions.counts(runs)
        + (f" {untested} diverged before the test and are not in the curve." if untested else "")
        + f" At most {number(tested)} seeds a curve.",
        published_sentence(),
        captions.conditions(chosen),
        captions.origin(evidence),
    )


def _implied(group: Group, fit: TailFit | None) -> str:
    name, n = group.label, len(group.lengths)
    if fit is None:
        return f"{name} ({n} seeds): too few seeds carry far enough to fit a tail."
    needed = seeds_for_length(group.lengths, group.censored, ASKED, start=fit.start)
    a = fit.exponent
    return (
        f"{name} ({n} seeds): from {digits(fit.start)} on, where a power law fits best, "
        f"{fit.seeds} seeds; exponent {a.value:.2g} (95 %: {a.interval.low:.2g} to "
        f"{a.interval.high:.2g}). By it one seed in {_span(needed)} carries {ASKED} digits."
    )


def _span(needed: Estimate) -> str:
    ends = f"{_round(needed.interval.low)} to {_round(needed.interval.high)}"
    return f"{_round(needed.value)} (bootstrap 95 %: {ends})"


def _round(value: float) -> str:
    """Two digits of a number that is known no better: ``1.5 million``."""
    if not isfinite(value):
        return "no bound"
    for size, word in ((1e15, None), (1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value:.0e}" if word is None else f"{float(f'{value / size:.2g}'):g} {word}"
    return number(float(f"{value:.2g}")) if value else DASH


def _chart(
    groups: Sequence[Group], rows: Sequence[Row], lines: Sequence[Row], paper: Sequence[Row]
) -> Spec:
    longest = max([ASKED if lines else 0, 112, *(one.limit for one in groups)])
    least = min(
        [
            1 / CARRY_RUNS,
            *(row["low"] for row in rows if row["low"]),
            *(row["share"] for row in lines if row["carry_length"] < ASKED),
        ]
    )
    bottom = 10.0 ** -len(str(int(1 / max(least, 1e-6))))
    across = drawing.x(
        "carry_length",
        "carry length k (digits)",
        scale={"type": "log", "domain": [1, longest], "nice": False},
        axis={"values": [*(one for one in _TICKS if one < longest / 1.3), longest], "format": "d"},
    )
    up = drawing.y(
        "share",
        "share of seeds with threshold ≥ k",
        scale={"type": "log", "domain": [bottom, 1], "clamp": True, "nice": False},
        axis={
            "format": "~g",
            "values": [10.0**-power for power in range(9) if 10.0**-power >= bottom],
        },
    )
    labels = [one.label for one in groups]
    rows = [row for row in rows if row["series"] in labels]
    lines = [row for row in lines if row["series"] in labels]
    colour = drawing.series(labels)
    shown = [{**row, "low": max(row["low"], bottom)} for row in rows if row["share"] > 0]
    # A curve that has reached 0 falls out of the chart there.
    told = [
        drawing.tip("series"),
        drawing.tip("carry_length", "k"),
        drawing.tip("share", None, ".3~g"),
        drawing.tip("seeds", "seeds at least so far"),
    ]
    place = {"x": across, "y": up}
    layers = [
        drawing.layer(
            "spread",
            "area",
            shown,
            {"x": across, "y": {**up, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            interpolate="step-before",
        ),
        drawing.layer(
            "series", "line", shown, {**place, "color": colour}, interpolate="step-before"
        ),
        drawing.layer("hover", "circle", shown, {**place, "color": colour, "tooltip": told}),
        drawing.layer(
            "fit",
            "line",
            [row for row in lines if row["share"] >= bottom],
            {**place, "color": colour},
        ),
        drawing.layer(
            "published-whisker",
            "rule",
            paper,
            {"x": across, "y": {**up, "field": "low"}, "y2": {"field": "high"}},
        ),
        drawing.layer(
            "published", "point", paper, {**place, "tooltip": told}, shape="diamond", filled=True
        ),
    ]
    return drawing.alone(drawing.panel("", layers, width=520, height=320))
