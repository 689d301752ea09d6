"""Learning curves of the Neural GPU's papers: error against step, a series a setting.

Figures 3, 4, 5 and 7 of Price et al.: the mean over seeds with a band from the best to the worst.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from service.figures import captions, drawing
from service.figures.evidence import Configuration, Evidence
from service.figures.figure import Figure, Missing, Row, Spec
from service.figures.seed_bands import DEGREE, WINDOW, Bands, bands_over_seeds, curves_of
from service.figures.task_names import curriculum, form, is_expression, is_several_terms, operation

COLUMNS = ("panel", "series", "kind", "task", "step", "mean", "least", "greatest", "seeds")
TRAINING, TEST = "training", "test"
_WORDS = {TRAINING: "training error", TEST: "test error"}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a panel: the seeds of some configurations on one task."""

    label: str
    configurations: tuple[Configuration, ...]
    task: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel: series of one kind of error."""

    title: str
    kind: str
    series: tuple[Series, ...]


def figure3_panels(evidence: Evidence) -> list[Panel]:
    """Decimal multiplication: sizes without a curriculum, curricula, and both."""
    ours = [one for one in evidence.configurations if curriculum(one.trained) is not None]
    if not ours:
        raise Missing(
            "no configuration multiplies with a curriculum of bases: set training.tasks to [mul], "
            "[bmul, mul], [bmul, fmul, mul] or [bmul, qmul, mul]"
        )
    bases = {one.id: curriculum(one.trained) or "" for one in ours}

    def filters(one: Configuration) -> str:
        return f"{one.filters} filters"

    def start(one: Configuration) -> str:
        return _curriculum_name(bases[one.id])

    alone = [one for one in ours if "-" not in bases[one.id]]
    middle = _middle_size(ours)
    same = [one for one in ours if one.filters == middle]
    longest = [one for one in ours if bases[one.id].count("-") == 2]
    groups = [
        ("no curriculum", alone, filters),
        (f"{middle} filters", same, start),
        ("2-5-10 beside 2-4-10", longest, lambda one: f"{start(one)}, {one.filters} filters"),
    ]
    return [
        Panel(title=f"{title}: {_WORDS[kind]}", kind=kind, series=_grouped(kind, chosen, name))
        for title, chosen, name in groups
        if chosen
        for kind in (TRAINING, TEST)
    ]


def figure4_panels(evidence: Evidence) -> list[Panel]:
    """Multiplication of three terms: always three, two first, two, three and then any number."""
    ours = [one for one in evidence.configurations if is_several_terms(one.trained)]
    if not ours:
        raise Missing(
            "no configuration multiplies three terms: set training.tasks to [3bmul], "
            "[bmul, 3bmul] or [bmul, 3bmul, kbmul]"
        )

    def name(one: Configuration) -> str:
        return " → ".join(one.trained)

    # Every series is shown on the task all aim at: three terms.
    def three(one: Configuration) -> str:
        return next((task for task in one.trained if task.startswith("3")), one.target)

    return [
        Panel(title=_WORDS[kind], kind=kind, series=_grouped(kind, ours, name, three))
        for kind in (TRAINING, TEST)
    ]


def figure5_panels(evidence: Evidence) -> list[Panel]:
    """Arithmetic expressions by the model's size."""
    ours = [one for one in evidence.configurations if is_expression(one.target)]
    if not ours:
        raise Missing("no configuration trains expressions: set training.tasks to [bexpra]")
    return [
        Panel(
            title=_WORDS[kind],
            kind=kind,
            series=_grouped(kind, ours, lambda one: f"{one.filters} filters"),
        )
        for kind in (TRAINING, TEST)
    ]


def figure7_panels(evidence: Evidence) -> list[Panel]:
    """How the input is written: padded, aligned or unpadded, by operation and size."""
    ours = [one for one in evidence.configurations if form(one.target) is not None]
    forms = {form(one.target) for one in ours}
    if len(forms) < 2:
        raise Missing(
            "the sweep has not two ways of writing the same numbers: set training.tasks to badd "
            "(padded), badde (aligned) and baddz (unpadded), or bmul, bmule and bmulz"
        )
    places = dict.fromkeys((operation(one.target), one.filters) for one in ours)
    return [
        Panel(
            title=f"{place[0]}, {place[1]} filters: test error",
            kind=TEST,
            series=_grouped(
                TEST,
                [one for one in ours if (operation(one.target), one.filters) == place],
                lambda one: str(form(one.target)),
            ),
        )
        for place in sorted(places, key=str)
    ]


def draw_curves(
    name: str,
    title: str,
    panels: Callable[[Evidence], list[Panel]],
    about: str,
) -> Callable[[Evidence], Figure]:
    """A drawing of panels of learning curves.

    Args:
        name: Of the figure.
        title: Of the figure.
        panels: What to show of some sweeps.
        about: What the source says of its figure, with the source.
    """

    def draw(evidence: Evidence) -> Figure:
        chosen = panels(evidence)
        drawn = [
            (panel, series, _bands(evidence, panel, series))
            for panel in chosen
            for series in panel.series
        ]
        rows = [row for panel, series, found in drawn for row in _rows(panel, series, found)]
        if not rows:
            raise Missing("no seed run has been measured yet")
        configurations = _configurations(chosen)
        runs = evidence.runs_of(configurations)
        return Figure(
            name=name,
            title=title,
            caption=(
                "Sequence error against training step: the mean over seeds, and a band from the "
                "best to the worst seed.",
                _smoothing([found for _, _, found in drawn]),
                captions.counts(runs),
                captions.conditions(configurations),
                about,
                captions.origin(evidence),
            ),
            chart=_chart(chosen, rows, max(one.max_steps for one in configurations)),
            columns=COLUMNS,
            rows=rows,
        )

    return draw


def _rows(panel: Panel, series: Series, found: Bands) -> Iterable[Row]:
    for row in found.rows:
        yield {
            "panel": panel.title,
            "series": series.label,
            "kind": panel.kind,
            "task": series.task,
            "step": row["x"],
            "mean": row["value"],
            "least": row["low"],
            "greatest": row["high"],
            "seeds": row["seeds"],
        }


def _bands(evidence: Evidence, panel: Panel, series: Series) -> Bands:
    first = series.configurations[0]
    length = evidence.sweep_of(first)["success_length"] if panel.kind == TEST else None
    points = evidence.points(
        series.configurations,
        kind=panel.kind,
        task=series.task,
        metric="sequence_error",
        length=length,
    )
    skips = panel.kind == TEST and first.run["evaluation"]["only_below"] < 1
    return bands_over_seeds(curves_of(points, untested_is_wrong=skips), smooth=True)


def _smoothing(facts: Sequence[Bands]) -> str:
    short = sum(one.short for one in facts)
    left_out = (
        f" {short} curves with fewer than half the median number of points are left out, as there."
        if short
        else ""
    )
    if any(one.smoothed for one in facts):
        return (
            "Each seed's curve is smoothed as in the source (Savitzky and Golay, "
            f"{WINDOW} points, degree {DEGREE}), kept within 0 and 1.{left_out}"
        )
    return f"Not smoothed: no curve has more than {WINDOW} points.{left_out}"


def _chart(panels: Sequence[Panel], rows: Sequence[Row], last_step: int) -> Spec:
    across = drawing.steps(last_step)
    drawn = []
    for one in panels:
        labels = [series.label for series in one.series]
        own = [
            {**row, "value": row["mean"], "low": row["least"], "high": row["greatest"]}
            for row in rows
            if row["panel"] == one.title
        ]
        up = drawing.share("value", _WORDS[one.kind])
        told = [
            drawing.tip("series"),
            drawing.tip("step", None, ","),
            drawing.tip("value", "mean", ".3f"),
            drawing.tip("low", "best seed", ".3f"),
            drawing.tip("high", "worst seed", ".3f"),
            drawing.tip("seeds"),
        ]
        layers = drawing.bands(own, across, up, drawing.series(labels, columns=2), tooltip=told)
        drawn.append(drawing.panel(one.title, layers))
    return drawing.together(drawn, columns=2)


def _configurations(panels: Iterable[Panel]) -> list[Configuration]:
    found = {
        one.id: one for panel in panels for series in panel.series for one in series.configurations
    }
    return list(found.values())


def _grouped(
    kind: str,
    configurations: Iterable[Configuration],
    name: Callable[[Configuration], str],
    aimed: Callable[[Configuration], str] = lambda one: one.target,
) -> tuple[Series, ...]:
    def task(one: Configuration) -> str:
        wanted = aimed(one)
        return one.judged if kind == TEST and wanted not in one.tested else wanted

    groups: dict[tuple[str, str], list[Configuration]] = {}
    for one in sorted(configurations, key=lambda one: one.filters):
        groups.setdefault((name(one), task(one)), []).append(one)
    many = len({label for label, _ in groups}) < len(groups)
    return tuple(
        Series(
            label=f"{label} · {on}" if many else label,
            configurations=tuple(members),
            task=on,
        )
        for (label, on), members in groups.items()
    )


def _curriculum_name(bases: str) -> str:
    return "base 10" if bases == "10" else bases.replace("-", " to ")


def _middle_size(configurations: Iterable[Configuration]) -> int:
    """The size at which most curricula were tried; the paper's is 256."""
    sizes: dict[int, set[str]] = {}
    for one in configurations:
        sizes.setdefault(one.filters, set()).add(curriculum(one.trained) or "")
    return max(sizes, key=lambda size: (len(sizes[size]), size == 256, size))
