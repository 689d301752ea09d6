"""How *ever* and *final* differ, and how *ever* grows with the number of looks.

A seed that counts if any of its last m tests was below the bound: m = 1 is the rule *final*, all of
them is *ever*, as the sources count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ngpu_core.statistics import mean_of_fractions
from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Figure, Missing, Row, Spec
from service.formats import interval, percent

COLUMNS = (
    "series", "looks", "tasks", "counted", "diverged", "succeeded", "fraction", "low", "high",
)  # fmt: skip
#: Series drawn, a panel each; the CSV has all.
MOST_SERIES = 12
#: Numbers of looks shown of a long record of tests.
MOST_LOOKS = 40


def draw_ever_final(evidence: Evidence) -> Figure:
    """The success fraction against how many of the last tests may count."""
    series = series_of(evidence)
    tests = {row["seed_run_id"]: row for row in evidence.tests(worst_task=True)}
    if not tests:
        raise Missing("no seed run has been tested at the length of the success rule yet")
    rows = [row for label, some in series.items() for row in _rows(evidence, label, some, tests)]
    if not rows:
        raise Missing("no seed run has ended yet")
    shown = list(dict.fromkeys(row["series"] for row in rows))[:MOST_SERIES]
    return Figure(
        name="ever-final",
        title="Ever and final: how many looks a success may take",
        caption=(
            "A seed counts if any of its last m tests was below the bound. At m = 1 that is the "
            "rule final, at all tests the rule ever, which the sources use: it grows with how "
            "often one looks.",
            captions.rules(evidence),
            *(_ends(name, rows) for name in shown),
            captions.counts(evidence.runs),
            "A band is the 95 % interval of the mean over tasks, stratified (Price and Bonett; "
            "Wilson's for one task).",
            *captions.left_out(len({row["series"] for row in rows}), MOST_SERIES),
            captions.conditions(evidence.configurations),
            captions.origin(evidence),
        ),
        chart=_chart([row for row in rows if row["series"] in shown], shown),
        columns=COLUMNS,
        rows=rows,
    )  # fmt: skip


def series_of(evidence: Evidence) -> dict[str, list[Configuration]]:
    """Configurations by all their axes but the task, over which fractions are averaged."""
    found: dict[str, list[Configuration]] = {}
    labels = evidence.labels()
    for one in evidence.configurations:
        rest = [level for axis, level in one.axes.items() if axis != "task"]
        averaged = len(rest) < len(one.axes) and rest
        found.setdefault(" · ".join(rest) if averaged else labels[one.id], []).append(one)
    return found


def _rows(
    evidence: Evidence,
    label: str,
    configurations: Sequence[Configuration],
    tests: Mapping[int, Row],
) -> list[dict[str, Any]]:
    strata: dict[int, list[float | None]] = {one.id: [] for one in configurations}
    diverged, most = 0, 0
    for run in evidence.runs_of(configurations):
        if run["state"] not in COUNTED:
            continue
        diverged += run["state"] == "diverged"
        test = tests.get(run["seed_run_id"])
        since = None if test is None or run["state"] == "diverged" else test["tests_after_below"]
        most = max(most, test["tests"] if test else 0)
        strata[run["configuration_id"]].append(since)
    counted = [stratum for stratum in strata.values() if stratum]
    if not counted:
        return []
    return [_row(label, looks, counted, diverged) for looks in _numbers(most) if looks]


def _row(
    label: str, looks: int, strata: Sequence[Sequence[float | None]], diverged: int
) -> dict[str, Any]:
    counts = [
        (sum(since is not None and since < looks for since in stratum), len(stratum))
        for stratum in strata
    ]
    estimate = mean_of_fractions(counts)
    return {
        "series": label, "looks": looks, "tasks": len(counts),
        "counted": sum(n for _, n in counts), "diverged": diverged,
        "succeeded": sum(k for k, _ in counts), "fraction": estimate.value,
        "low": estimate.interval.low, "high": estimate.interval.high,
    }  # fmt: skip


def _numbers(most: int) -> list[int]:
    """1 to most, thinned evenly in proportion where there are many."""
    if most <= MOST_LOOKS:
        return list(range(1, most + 1))
    ratio = most ** (1 / (MOST_LOOKS - 1))
    return sorted({round(ratio**place) for place in range(MOST_LOOKS)})


def _ends(name: str, rows: Sequence[Row]) -> str:
    own = [row for row in rows if row["series"] == name]
    final, ever = own[0], own[-1]

    def told(row: Row) -> str:
        counted = f"{row['succeeded']}/{row['counted']}"
        return f"{counted} = {percent(row['fraction'])} ({interval(row['low'], row['high'])})"

    return f"{name}: final {told(final)}; ever, in {ever['looks']} tests, {told(ever)}."


def _chart(rows: Sequence[Row], labels: Sequence[str]) -> Spec:
    most = max(row["looks"] for row in rows)
    across = drawing.x(
        "looks",
        "number m of last tests looked at",
        scale={"type": "log", "domain": [1, max(2, most)], "nice": False},
        axis={"format": "d", "values": drawing.log_ticks(1, most)},
    )
    up = drawing.share("value", "fraction of seeds that count")
    told = [drawing.tip("looks"), drawing.tip("succeeded"), drawing.tip("counted"),
            drawing.tip("value", "fraction", ".3f")]  # fmt: skip
    panels = []
    for name in labels:
        own = [{**row, "value": row["fraction"]} for row in rows if row["series"] == name]
        layers = drawing.bands(own, across, up, drawing.series([name]), tooltip=told)
        panels.append(drawing.panel(name, layers, width=200, height=150))
    return drawing.together(panels, columns=min(3, len(panels)))
