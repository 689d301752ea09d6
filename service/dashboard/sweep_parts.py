"""The parts of a sweep's page, each from the named queries.

The whole page and its live refresh call the same functions, so both show the same numbers.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from sqlalchemy import Connection

from db import queries
from db.bands import curve_bands
from db.states import UNENDED_SWEEPS
from ngpu_core.statistics import fraction_interval, survival_curve
from service.dashboard import charts
from service.dashboard.success_table import success_table, totals
from service.outcomes import OUTCOMES, outcome
from service.sentences import carries_tested, metric, rule

Row = Mapping[str, Any]
Context = dict[str, Any]

#: Configurations whose charts one page draws.
MOST_CHARTS = 12
#: Values, one a seed, task and step, from which one page draws its learning curves, and the points
#: a curve has at least and at most: of very many seeds fewer steps are shown.
CURVE_VALUES = 200_000
CURVE_STEPS = (25, 250)
#: Values from which a whole page draws them at once; of more they follow when it stands.
CURVE_VALUES_AT_ONCE = 50_000
SEEDS_A_PAGE = 100
FAILURES_SHOWN = 50
#: Finished seed runs looked through for those that did not generalize.
FINISHED_READ = 500


def progress_part(conn: Connection, sweep: Row) -> Context:
    """Counts by state, rate and time left."""
    progress = queries.progress(conn, sweep["id"])
    ended = sum(progress[state] for state in ("finished", "diverged", "failed", "cancelled"))
    steps = mean_max_steps(conn, sweep) if progress["running"] else None
    return {"progress": progress, "ended": ended, "max_steps": steps}


def mean_max_steps(conn: Connection, sweep: Row) -> float:
    """A seed run's steps at most, over the configurations: each has as many seeds."""
    return fmean(row["max_steps"] for row in queries.configurations(conn, sweep["id"]))


def is_active(sweep: Row) -> bool:
    """Whether more of the sweep may still come: what an empty part may promise."""
    return sweep["state"] in UNENDED_SWEEPS


def success_part(conn: Connection, sweep: Row) -> Context:
    """The table of success fractions and what its caption states."""
    fractions = queries.success(conn, sweep["id"])
    return {
        "fractions": fractions,
        "table": success_table(fractions),
        "totals": totals(fractions),
        "rule": rule(sweep),
    }


def curves_part(
    conn: Connection, sweep: Row, chosen: int | None, *, at_once: int | None = None
) -> Context:
    """Learning curves of the first configurations, or of the chosen one.

    Args:
        conn: A connection.
        sweep: The sweep.
        chosen: A configuration's id; None: the first ones.
        at_once: From more values than this none is drawn (`curves_later`); None: always.
    """
    configurations = queries.configurations(conn, sweep["id"])
    wanted = [row for row in configurations if chosen in (None, row["id"])]
    shown = wanted[:MOST_CHARTS]
    requested = queries.progress(conn, sweep["id"])["requested"]
    seeds = requested / len(configurations)
    values = seeds * sum(_curves_a_seed(sweep, row["run"]) for row in shown)
    steps = steps_shown(values)
    later = at_once is not None and values * steps > at_once
    drawn = [] if later else shown
    return {
        "curves": _curves(conn, sweep, drawn, steps),
        "curves_later": later,
        "hidden_curves": len(wanted) - len(shown),
        "shown_curves": len(shown),
        "metric": metric(sweep),
    }


def _curves_a_seed(sweep: Row, run: Row) -> int:
    """Of the tasks that the success rule reads, and of those trained on."""
    tested = 1 if sweep["success_task"] else len(run["evaluation"]["tasks"])
    return tested + len(run["training"]["tasks"])


def steps_shown(values: float) -> int:
    """Steps of each curve on a page whose curves have so many values a step."""
    least, most = CURVE_STEPS
    return int(min(most, max(least, CURVE_VALUES // max(1, values))))


def _curves(conn: Connection, sweep: Row, drawn: Sequence[Row], steps: int) -> list[Context]:
    """A chart for each configuration and task the success rule reads, of so many steps."""
    asked: dict[str, Any] = {
        "metric": sweep["success_metric"],
        "configuration_ids": [one["id"] for one in drawn],
        "most_steps": steps,
    }
    judged = {"length": sweep["success_length"], "task": sweep["success_task"]}
    test = _by_task(curve_bands(conn, sweep["id"], kind="test", **asked, **judged))
    training = _by_task(curve_bands(conn, sweep["id"], kind="training", **asked))
    return [
        curve
        for row in drawn
        for curve in _of_one(sweep, row, test[row["id"]], training[row["id"]])
    ]


def _by_task(rows: Iterable[Row]) -> dict[int, dict[str, list[Row]]]:
    """Rows by configuration and task."""
    grouped: dict[int, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row["configuration_id"]][row["task"]].append(row)
    return grouped


def _of_one(
    sweep: Row,
    configuration: Row,
    test: Mapping[str, list[Row]],
    training: Mapping[str, list[Row]],
) -> list[Context]:
    """One configuration's charts."""
    tasks = list(test or training)
    return [
        _curve(sweep, configuration, task, test.get(task, []), _nearest(training, task))
        | {"name": _name(configuration["label"], task, tasks)}
        for task in tasks
    ]


def _nearest(training: Mapping[str, list[Row]], task: str) -> list[Row]:
    """The training curve beside a test: of the same task, else of the first one trained on."""
    return training.get(task) or next(iter(training.values()), [])


def _name(configuration: str, task: str, tasks: Collection[str]) -> str:
    return configuration if len(tasks) == 1 else f"{configuration} · {task}"


def _curve(
    sweep: Row, configuration: Row, task: str, test: Sequence[Row], training: Sequence[Row]
) -> Context:
    spec = charts.learning_chart(
        test,
        training,
        below=sweep["success_below"],
        last_step=configuration["max_steps"],
        error=metric(sweep),
    )
    return {"spec": spec, "label": f"{metric(sweep)} on {task} against step: {_summary(test)}"}


def _summary(test: Sequence[Row]) -> str:
    if not test:
        return "not tested yet"
    last = test[-1]
    return f"median {last['median']:.3f} over {last['seeds']} seeds at step {last['step']}"


def carries_part(conn: Connection, sweep: Row, chosen: int | None) -> Context:
    """Share of seeds still right at each carry length, a chart a configuration."""
    carrying = _carrying(conn, sweep)
    fractions = queries.success(conn, sweep["id"]) if carrying else []
    counts = {row["configuration_id"]: row for row in fractions}
    wanted = [counts[one] for one in carrying if chosen in (None, one)]
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in queries.thresholds(conn, sweep["id"]):
        if chosen in (None, row["configuration_id"]):
            groups[(row["configuration_id"], row["task"])].append(row)
    tasks = {task for _, task in groups}
    survivals = [
        _survival(_name(counts[one]["configuration"], task, tasks), thresholds)
        | {"tested": carries_tested(thresholds, counts[one])}
        for (one, task), thresholds in list(groups.items())[:MOST_CHARTS]
    ]
    drawn = {one for one, _ in groups}
    return {
        "survivals": survivals,
        "hidden_carries": len(groups) - len(survivals),
        # A configuration of which every seed diverged has no chart, and must not vanish with it.
        "untested": [
            {"configuration": row["configuration"], "tested": carries_tested([], row)}
            for row in wanted
            if row["configuration_id"] not in drawn and row["counted"]
        ],
        "tests_carries": bool(carrying),
    }


def _carrying(conn: Connection, sweep: Row) -> list[int]:
    """The configurations whose seeds are tested with carries."""
    rows = queries.configurations(conn, sweep["id"])
    return [row["id"] for row in rows if row["run"]["evaluation"]["carry_limit"]]


def _survival(name: str, rows: Sequence[Row]) -> Context:
    limit = max(row["carry_limit"] for row in rows)
    censored = sum(row["censored"] for row in rows)
    label = f"{name}: share of {len(rows)} seeds still right at carry length k"
    spec = charts.survival_chart(_survival_points(rows, limit), limit=limit)
    return {
        "configuration": name,
        "spec": spec,
        "label": label,
        "seeds": len(rows),
        "censored": censored,
        "limit": limit,
    }


def _survival_points(rows: Sequence[Row], limit: int) -> Iterable[dict[str, float]]:
    """The product-limit estimate as steps from carry length 1 to the longest one tested."""
    whole = fraction_interval(len(rows), len(rows))
    point = {"carry_length": 1, "share": 1.0, "low": whole.low, "high": whole.high}
    yield point
    lengths = [row["carry_limit"] if row["censored"] else row["threshold"] for row in rows]
    for one in survival_curve(lengths, [row["censored"] for row in rows]):
        band = one.beyond.interval
        point = {
            "carry_length": one.length,
            "share": one.beyond.value,
            "low": band.low,
            "high": band.high,
        }
        yield point
    yield point | {"carry_length": limit}


def failures_part(conn: Connection, sweep: Row) -> Context:
    """Seed runs that ended without success: faults, then diverged, then not generalized."""
    faults = queries.failures(conn, sweep["id"], limit=FAILURES_SHOWN)
    ended = queries.seeds(conn, sweep["id"], state="finished", limit=FINISHED_READ)
    return {
        "failures": [row for row in faults.items if row["state"] != "cancelled"],
        "progress": queries.progress(conn, sweep["id"]),
        "more_failures": faults.next_cursor is not None,
        "without": _by_configuration(row for row in ended.items if not row["succeeded"]),
        "more_without": ended.next_cursor is not None,
    }


def seeds_part(conn: Connection, sweep: Row, chosen: int | None, cursor: str | None) -> Context:
    """A page of seed results."""
    page = queries.seeds(
        conn, sweep["id"], configuration_id=chosen, cursor=cursor, limit=SEEDS_A_PAGE
    )
    return {
        "seeds": page.items,
        "dots": _by_configuration(page.items),
        "next_cursor": page.next_cursor,
        "first_page": cursor is None,
        "chosen": chosen,
        "outcomes": OUTCOMES,
        "shown_outcomes": {outcome(seed) for seed in page.items},
    }


def _by_configuration(seeds: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for seed in seeds:
        grouped[seed["configuration"]].append(seed)
    return grouped
