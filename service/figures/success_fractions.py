"""Figure 2 of Price et al.: in what fraction of seeds each variant learns, and generalizes."""

from collections.abc import Iterable, Mapping
from typing import Any

from ngpu_core.statistics import Estimate, Interval, fraction_interval, mean_of_fractions
from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Cell, Figure, Row, Table
from service.figures.published import FIGURE2_RUNS, SOURCES, published
from service.formats import DASH, interval, percent

COLUMNS = (
    "variant", "filters", "split", "source", "tasks", "requested", "counted", "diverged",
    "excluded", "succeeded", "fraction", "low", "high",
)  # fmt: skip
#: What the columns count. Which of a setting's two tasks entered the published test cells is not
#: known (SPECS G.3): each is told, and the sweep's own rule.
TRAINING, RULE, FIRST, OTHER = "training", "test", "test, task trained on", "test, other task"
#: A word of our variant's name -> the published row; parts count where they are left out.
_ROWS = {
    "cutoff": "without gate cutoff",
    "dropout": "without dropout",
    "one copy": "one independent copy of weights",
    "one independent copy": "one independent copy of weights",
    "noise on gradients": "with noise on gradients",
    "gradient noise": "with noise on gradients",
    "batch": "with batch normalization",
    "resnet": "with resnet instead of GRU",
}
_PARTS = ("cutoff", "dropout")
_CLASSICAL, _FAMILY = "classical", "neural_gpu"


def choose_variants(evidence: Evidence) -> list[str]:
    """The variants, in the grid's order: every sweep has one."""
    return list(dict.fromkeys(variant(one) for one in evidence.configurations))


def variant(one: Configuration) -> str:
    """What the spec calls the variant: its axis, else all axes but size and task."""
    if "variant" in one.axes:
        return one.axes["variant"]
    rest = [level for axis, level in one.axes.items() if axis not in ("filters", "task")]
    return " · ".join(rest) or (_CLASSICAL if one.family == _FAMILY else one.family)


def published_row(name: str) -> str | None:
    """The row of the published table that a variant's name means."""
    words = name.lower()
    if words == _CLASSICAL:
        return _CLASSICAL
    removed = "without" in words or "no " in words
    return next(
        (row for word, row in _ROWS.items() if word in words and (removed or word not in _PARTS)),
        None,
    )


def draw_figure2(evidence: Evidence) -> Figure:
    """Training and test success by variant and size, beside the published fractions."""
    variants = choose_variants(evidence)
    places = list(dict.fromkeys((variant(one), one.filters) for one in evidence.configurations))
    succeeded = _successes(evidence)
    rows: list[dict[str, Any]] = []
    for name, filters in sorted(places, key=lambda place: (variants.index(place[0]), place[1])):
        chosen = [
            one
            for one in evidence.configurations
            if variant(one) == name and one.filters == filters
        ]
        told = published_row(name) if all(one.family == _FAMILY for one in chosen) else None
        for split in (TRAINING, RULE, FIRST, OTHER):
            row = _ours(evidence, chosen, succeeded[split])
            if row is not None:
                rows.append({"variant": name, "filters": filters, "split": split, **row})
        rows += [
            {
                "variant": name,
                "filters": filters,
                "split": split,
                **_published(told, filters, split),
            }
            for split in (TRAINING, RULE)
        ]
    return Figure(
        name="figure2",
        title="Fraction of seeds that learn and generalize, by variant",
        caption=_caption(evidence),
        chart=_chart(rows, variants),
        columns=COLUMNS,
        rows=rows,
        table=_table(rows, variants),
    )


def _successes(evidence: Evidence) -> dict[str, Mapping[int, bool]]:
    """Split -> seed run -> whether it succeeded; a seed run without a measurement is absent."""
    configurations = {one.id: one for one in evidence.configurations}
    of_run = {run["seed_run_id"]: configurations[run["configuration_id"]] for run in evidence.runs}
    training: dict[int, bool] = {}
    for row in evidence.training():
        if row["task"] == of_run[row["seed_run_id"]].target:
            training[row["seed_run_id"]] = row["first_below"] is not None
    first: dict[int, bool] = {}
    other: dict[int, bool] = {}
    for row in evidence.tests():
        split = first if row["task"] in of_run[row["seed_run_id"]].trained else other
        split[row["seed_run_id"]] = row["first_below"] is not None
    # A setting with one task has no other.
    if not other:
        first = {}
    rule = {run["seed_run_id"]: bool(run["succeeded_ever"]) for run in evidence.runs}
    return {TRAINING: training, RULE: rule, FIRST: first, OTHER: other}


def _ours(
    evidence: Evidence, configurations: Iterable[Configuration], succeeded: Mapping[int, bool]
) -> dict[str, Any] | None:
    """One cell: the mean over its settings, each of the same weight."""
    if not succeeded:
        return None
    chosen = list(configurations)
    runs = evidence.runs_of(chosen)
    strata: dict[int, list[bool]] = {one.id: [] for one in chosen}
    for run in runs:
        if run["state"] in COUNTED:
            good = run["state"] == "finished" and succeeded.get(run["seed_run_id"], False)
            strata[run["configuration_id"]].append(good)
    counts = [(sum(stratum), len(stratum)) for stratum in strata.values() if stratum]
    estimate = mean_of_fractions(counts) if counts else None
    return {
        "source": drawing.OURS,
        "tasks": len(chosen),
        "requested": len(runs),
        "counted": sum(n for _, n in counts),
        "diverged": sum(run["state"] == "diverged" for run in runs),
        "excluded": sum(run["state"] in ("failed", "cancelled") for run in runs),
        "succeeded": sum(k for k, _ in counts),
        **_estimate(estimate),
    }


def _published(name: str | None, filters: int, split: str) -> dict[str, Any]:
    value = next(
        (
            row["success_fraction"]
            for row in published("price2016_figure2")
            if (row["variant"], row["filters"]) == (name, filters)
            and row["split"] == ("training" if split == TRAINING else "test")
        ),
        None,
    )
    found: dict[str, Any] = dict.fromkeys(COLUMNS[4:])
    if value is not None:
        k = round(value * FIGURE2_RUNS)
        band = fraction_interval(k, FIGURE2_RUNS)
        found |= {"tasks": 13, "counted": FIGURE2_RUNS, "succeeded": k}
        found |= _estimate(Estimate(value=value, interval=Interval(low=band.low, high=band.high)))
    return {"source": drawing.PUBLISHED, **found}


def _estimate(estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {"fraction": None, "low": None, "high": None}
    band = estimate.interval
    return {"fraction": estimate.value, "low": band.low, "high": band.high}


def _caption(evidence: Evidence) -> tuple[str, ...]:
    below = {f"{100 * sweep['success_below']:g} %" for sweep in evidence.sweeps}
    return (
        "Training: some epoch's sequence error, over its batches at whatever length the curriculum "
        f"had reached, was below {' or '.join(sorted(below))} on the task trained. Test: the "
        "error was at some test (ever).",
        captions.rules(evidence),
        captions.counts(evidence.runs),
        "Blue: ours, with k/n. Ochre: published. A fraction is the mean over tasks, each of "
        "equal weight, with a stratified 95 % interval (Price and Bonett; Wilson's for one task).",
        captions.conditions(evidence.configurations),
        f"Published: {SOURCES['price2016_figure2']}, 13 settings × 15 seeds a cell as described, "
        "tested at length 201; Wilson's interval for 195 runs is ours. Which of a setting's two "
        "tasks entered the published test cells is not known: the CSV has both.",
        captions.origin(evidence),
    )


def _chart(rows: list[dict[str, Any]], variants: list[str]) -> dict[str, Any]:
    sizes = sorted({row["filters"] for row in rows})
    panels = []
    for filters in sizes:
        for split in (TRAINING, RULE):
            shown = [
                {"label": row["variant"], "source": row["source"], "value": row["fraction"],
                 "low": row["low"], "high": row["high"], "counts": _counts(row)}
                for row in rows
                if (row["filters"], row["split"]) == (filters, split)
            ]  # fmt: skip
            labels = [name for name in variants if any(one["label"] == name for one in shown)]
            across = drawing.share("value", f"fraction of seeds ({split})")
            panels.append(
                drawing.intervals(shown, labels, across, title=f"{filters} filters: {split}")
            )
    return drawing.together(panels, columns=2)


def _counts(row: Row) -> str:
    if row["source"] == drawing.PUBLISHED:
        return percent(row["fraction"])
    return f"{row['succeeded']}/{row['counted']}"


def _table(rows: list[dict[str, Any]], variants: list[str]) -> Table:
    found = {(row["variant"], row["filters"], row["split"], row["source"]): row for row in rows}
    sizes = sorted({row["filters"] for row in rows})
    columns = [(filters, split) for split in (TRAINING, RULE) for filters in sizes]
    lines = []
    for name in variants:
        cells = []
        for filters, split in columns:
            ours = found.get((name, filters, split, drawing.OURS))
            paper = found.get((name, filters, split, drawing.PUBLISHED))
            cells.append(_cell(ours, paper))
        lines.append((name, tuple(cells)))
    heads = tuple(f"{split}, {filters} filters" for filters, split in columns)
    return Table(heads=heads, lines=tuple(lines))


def _cell(ours: Row | None, paper: Row | None) -> Cell:
    said = ""
    if paper is not None and paper["fraction"] is not None:
        said = f"published {percent(paper['fraction'])} ({interval(paper['low'], paper['high'])})"
    if ours is None or not ours["counted"]:
        return Cell(text=DASH, note="no seed counted", published=said)
    note = f"{ours['succeeded']}/{ours['counted']} · {interval(ours['low'], ours['high'])}"
    return Cell(text=percent(ours["fraction"]), note=note, published=said)
