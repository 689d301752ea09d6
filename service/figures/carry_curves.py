"""Figure 6 left of Price et al.: error against the number of carries, a series a training set."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Figure, Missing, Row, Spec
from service.figures.published import SOURCES, published
from service.figures.task_names import base, operation

PROBE = "carries"
#: Digits the source plots to.
LONGEST = 60
COLUMNS = (
    "base", "series", "task", "carries", "mean", "least", "greatest", "seeds", "sequences",
    "wrong_sequences",
)  # fmt: skip
_BASES = {2: "binary", 10: "decimal"}


def choose_carry_probe(evidence: Evidence) -> list[Configuration]:
    """The configurations whose seeds are asked sums with long carries."""
    found = [
        one
        for one in evidence.configurations
        if PROBE in (one.run["evaluation"].get("probes") or ())
        and any(operation(task) == "addition" for task in one.tested)
    ]
    if not found:
        raise Missing(
            "no adder of this sweep is asked carries: name the probe in evaluation.probes, as in "
            f"[{PROBE}]"
        )
    return found


def draw_figure6_left(evidence: Evidence) -> Figure:
    """Mean error over seeds by carry length, with a band over seeds; binary and decimal."""
    chosen = choose_carry_probe(evidence)
    rows = carry_rows(chosen, evidence.runs_of(chosen), evidence.probes(PROBE))
    if not rows:
        raise Missing("no seed has been asked carries yet: they are, when it has finished")
    return Figure(
        name="figure6-left",
        title="Error against the length of a carry",
        caption=(
            "Share of sums wrong that hold one carry through k digits, in half of which it happens "
            "and in half nearly: the mean over seeds, and a band from the best to the worst seed.",
            captions.counts(evidence.runs_of(chosen)),
            f"Published (ochre rule): {_claims()} ({SOURCES['price2016_figure6_left']}).",
            captions.conditions(chosen),
            captions.origin(evidence),
        ),
        chart=_chart(rows),
        columns=COLUMNS,
        rows=rows,
    )


def carry_rows(
    configurations: Sequence[Configuration], runs: Sequence[Row], probes: Sequence[Row]
) -> list[dict[str, Any]]:
    """Errors by base, series and carry length.

    Args:
        configurations: What was trained.
        runs: Their seed runs.
        probes: seed_run_id, task, point (the carry's length), sequences, wrong_sequences.
    """
    by_id = {one.id: one for one in configurations}
    owner = {
        run["seed_run_id"]: by_id[run["configuration_id"]]
        for run in runs
        if run["state"] in COUNTED
    }
    labels = {one.id: _label(one, configurations) for one in configurations}
    found: dict[tuple[int, str, str, int], list[Row]] = {}
    for row in probes:
        one = owner.get(row["seed_run_id"])
        if one is None or row["task"] != _asked(one):
            continue
        key = (base(row["task"]) or 0, labels[one.id], row["task"], row["point"])
        found.setdefault(key, []).append(row)
    return [_row(key, group) for key, group in sorted(found.items())]


def _row(key: tuple[int, str, str, int], group: Sequence[Row]) -> dict[str, Any]:
    errors = [row["wrong_sequences"] / row["sequences"] for row in group]
    in_base, series, task, carries = key
    return {
        "base": in_base, "series": series, "task": task, "carries": carries,
        "mean": fmean(errors), "least": min(errors), "greatest": max(errors), "seeds": len(errors),
        "sequences": sum(row["sequences"] for row in group),
        "wrong_sequences": sum(row["wrong_sequences"] for row in group),
    }  # fmt: skip


def _asked(one: Configuration) -> str:
    """The task asked: the one trained, where it is tested, else the first that adds."""
    if one.target in one.tested:
        return one.target
    return next(task for task in one.tested if operation(task) == "addition")


def _label(one: Configuration, configurations: Sequence[Configuration]) -> str:
    trained = f"trained on {' → '.join(one.trained)}"
    alike = len({other.digest for other in configurations if other.trained == one.trained})
    return trained if alike == 1 else f"{trained} · {one.name}"


def _claims() -> str:
    return ", ".join(
        f"{_BASES[row['base']]} {row['statement']} {row['carries']} digits"
        for row in published("price2016_figure6_left")
    )


def _chart(rows: Sequence[Row]) -> Spec:
    labels = list(dict.fromkeys(row["series"] for row in rows))
    claims: Mapping[int, int] = {
        row["base"]: row["carries"] for row in published("price2016_figure6_left")
    }
    longest = min(LONGEST, max(row["carries"] for row in rows))
    across = drawing.x(
        "carries",
        "carry length k (digits)",
        scale={"domain": [0, longest], "nice": False},
        axis={"format": "d", "tickMinStep": 1},
    )
    up = drawing.share("value", "sequence error")
    told = [drawing.tip("series"), drawing.tip("carries", "k"), drawing.tip("value", "mean", ".3f"),
            drawing.tip("low", "best seed", ".3f"), drawing.tip("high", "worst seed", ".3f"),
            drawing.tip("seeds")]  # fmt: skip
    panels = []
    for in_base in sorted({row["base"] for row in rows}):
        own = [
            {**row, "value": row["mean"], "low": row["least"], "high": row["greatest"]}
            for row in rows
            if row["base"] == in_base and row["carries"] <= longest
        ]
        layers = drawing.bands(own, across, up, drawing.series(labels), tooltip=told)
        if in_base in claims:
            mark = [{"carries": claims[in_base]}]
            layers.append(drawing.layer("published-line", "rule", mark, {"x": across}))
        panels.append(drawing.panel(_BASES.get(in_base, f"base {in_base}"), layers, width=380))
    return drawing.together(panels, columns=2)
