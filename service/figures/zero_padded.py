"""Table 3 of Price et al.: products of single digits with ninety-nine zeros before each."""

import re
from collections.abc import Sequence
from statistics import median
from typing import Any

from ngpu_core.statistics import fraction_interval
from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Cell, Figure, Missing, Row, Spec, Table
from service.figures.published import SOURCES, published
from service.figures.task_names import operation
from service.formats import DASH, interval, percent

PROBE = "padded_digits"
#: The source's count for one model, of 100 pairs.
PUBLISHED_WRONG, PAIRS = 38, 100
COLUMNS = (
    "first", "second", "series", "seeds", "seeds_wrong", "fraction", "low", "high", "wrong_symbols",
    "published", "published_right",
)  # fmt: skip


def choose_padded_probe(evidence: Evidence) -> list[Configuration]:
    """The configurations whose seeds are asked padded digits."""
    found = [
        one
        for one in evidence.configurations
        if PROBE in (one.run["evaluation"].get("probes") or ())
        and any(operation(task) == "multiplication" for task in one.tested)
    ]
    if not found:
        raise Missing(
            "no multiplier of this sweep is asked zero-padded digits: name the probe in "
            f"evaluation.probes, as in [{PROBE}]"
        )
    return found


def draw_table3(evidence: Evidence) -> Figure:
    """Which products of single digits how many seeds get wrong, beside the published ones."""
    chosen = choose_padded_probe(evidence)
    runs = evidence.runs_of(chosen)
    rows = padded_rows(chosen, runs, evidence.probes(PROBE))
    if not rows:
        raise Missing(
            "no seed has been asked zero-padded digits yet: they are, when it has finished"
        )
    return Figure(
        name="table3",
        title="Products of two digits with 99 zeros before each",
        caption=(
            "In how many seeds the product is wrong anywhere in its 200 digits.",
            *_wrong_counts(rows, evidence, chosen),
            captions.counts(runs),
            captions.INTERVALS,
            f"Published ({SOURCES['price2016_table3_zero_padded']}): one model, {PUBLISHED_WRONG} "
            f"of {PAIRS} pairs wrong; 0^n stands for n zeros. Its right and wrong marks are "
            "by arithmetic, as the text has lost them. Pairs it shows are framed in ochre.",
            captions.conditions(chosen),
            captions.origin(evidence),
        ),
        chart=_chart(rows),
        columns=COLUMNS,
        rows=rows,
        table=_table(rows),
    )


def padded_rows(
    configurations: Sequence[Configuration], runs: Sequence[Row], probes: Sequence[Row]
) -> list[dict[str, Any]]:
    """One row a series and pair of digits.

    Args:
        configurations: What was trained.
        runs: Their seed runs.
        probes: seed_run_id, point (base × first + second), label, wrong_sequences, wrong_symbols.
    """
    labels = {one.id: one.name for one in configurations}
    owner = {
        run["seed_run_id"]: labels[run["configuration_id"]]
        for run in runs
        if run["state"] in COUNTED and run["configuration_id"] in labels
    }
    tasks = {row["task"] for row in probes}
    found: dict[tuple[str, int, int], list[Row]] = {}
    for row in probes:
        if row["seed_run_id"] not in owner:
            continue
        series = owner[row["seed_run_id"]]
        name = series if len(tasks) == 1 else f"{series} · {row['task']}"
        first, second = map(int, row["label"].split("×"))
        found.setdefault((name, first, second), []).append(row)
    return [_row(key, group) for key, group in sorted(found.items())]


def _row(key: tuple[str, int, int], group: Sequence[Row]) -> dict[str, Any]:
    series, first, second = key
    wrong = sum(row["wrong_sequences"] > 0 for row in group)
    band = fraction_interval(wrong, len(group))
    told = next(
        (
            row
            for row in published("price2016_table3_zero_padded")
            if (row["left_digit"], row["right_digit"]) == (first, second)
        ),
        None,
    )
    return {
        "first": first, "second": second, "series": series, "seeds": len(group),
        "seeds_wrong": wrong, "fraction": wrong / len(group), "low": band.low, "high": band.high,
        "wrong_symbols": sum(row["wrong_symbols"] for row in group),
        "published": None if told is None else shortened(told["observed"]),
        "published_right": None if told is None else told["correct"],
    }  # fmt: skip


def shortened(digits: str) -> str:
    """A number with its long runs of zeros counted: ``0^145 17666666666885 0^41 7``."""
    return re.sub(r"0{20,}", lambda run: f" 0^{len(run[0])} ", digits).strip()


def _wrong_counts(
    rows: Sequence[Row], evidence: Evidence, chosen: Sequence[Configuration]
) -> list[str]:
    """How many pairs a seed gets wrong, a series a sentence."""
    counted: dict[int, int] = {}
    for row in evidence.probes(PROBE):
        wrong = counted.get(row["seed_run_id"], 0)
        counted[row["seed_run_id"]] = wrong + (row["wrong_sequences"] > 0)
    said = []
    for one in chosen:
        seeds = [
            counted[run["seed_run_id"]]
            for run in evidence.runs_of([one])
            if run["seed_run_id"] in counted
        ]
        if seeds:
            said.append(
                f"{one.name}: {median(seeds):g} pairs wrong in the median seed "
                f"({min(seeds)} to {max(seeds)})."
            )
    return said


def _table(rows: Sequence[Row]) -> Table:
    series = list(dict.fromkeys(row["series"] for row in rows))
    told = [
        (row["left_digit"], row["right_digit"], row["observed"], row["correct"])
        for row in published("price2016_table3_zero_padded")
    ]
    found = {(row["series"], row["first"], row["second"]): row for row in rows}
    lines = []
    for first, second, observed, correct in told:
        paper = Cell(text="right" if correct else "wrong", published=shortened(observed))
        ours = [_cell(found.get((name, first, second))) for name in series]
        lines.append((f"{first} × {second}", (paper, *ours)))
    return Table(heads=("published model", *series), lines=tuple(lines))


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell(text=DASH, note="not asked")
    note = f"{row['seeds_wrong']}/{row['seeds']} seeds · {interval(row['low'], row['high'])}"
    return Cell(text=f"{percent(row['fraction'])} wrong", note=note)


def _chart(rows: Sequence[Row]) -> Spec:
    panels = []
    for name in dict.fromkeys(row["series"] for row in rows):
        own = [row for row in rows if row["series"] == name]
        digits = sorted({row["first"] for row in own} | {row["second"] for row in own})
        side = {"type": "ordinal", "sort": digits, "axis": {"labelAngle": 0}}
        place = {
            "x": {**side, "field": "second", "title": "second digit"},
            "y": {**side, "field": "first", "title": "first digit"},
        }
        shade = {
            "field": "fraction",
            "type": "quantitative",
            "scale": {"domain": [0, 1], "range": [0.04, 0.7]},
            "legend": None,
        }
        told = [
            drawing.tip("first"),
            drawing.tip("second"),
            drawing.tip("seeds_wrong"),
            drawing.tip("seeds"),
        ]
        seen = [row for row in own if row["published"] is not None]
        panels.append(
            drawing.panel(
                f"{name}: seeds wrong of {max(row['seeds'] for row in own)}",
                [
                    drawing.layer(
                        "heat", "rect", own, {**place, "opacity": shade, "tooltip": told}
                    ),
                    drawing.layer("heat-frame", "rect", seen, place, filled=False),
                    drawing.layer(
                        "ours-label", "text", own, {**place, "text": {"field": "seeds_wrong"}}
                    ),
                ],
                width=320,
                height=320,
            )
        )
    return drawing.together(panels, columns=2)
