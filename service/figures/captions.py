"""The sentences a caption is made of. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Row
from service.formats import number
from service.sentences import rule

INTERVALS = "Intervals are 95 %: Wilson's, Clopper and Pearson's at none or all of n."


def counts(runs: Collection[Row]) -> str:
    """How many seed runs stand behind a figure, and which do not."""
    states = [run["state"] for run in runs]
    of = {state: states.count(state) for state in ("diverged", "failed", "cancelled")}
    counted = sum(states.count(state) for state in COUNTED)
    open_ = len(states) - counted - of["failed"] - of["cancelled"]
    diverged = f", {of['diverged']} of them diverged (not successful)" if of["diverged"] else ""
    excluded = [f"{of[state]} {state}" for state in ("failed", "cancelled") if of[state]]
    told = f"Excluded: {', '.join(excluded)}." if excluded else "None is excluded."
    waiting = f" {number(open_)} have not ended." if open_ else ""
    return (
        f"n = {number(counted)} of {number(len(states))} seed runs requested{diverged}. "
        f"{told}{waiting}"
    )


def rules(evidence: Evidence) -> str:
    """The success rule of each sweep, once."""
    return " ".join(dict.fromkeys(rule(sweep) for sweep in evidence.sweeps))


def origin(evidence: Evidence) -> str:
    """Which sweeps the rows are of."""
    named = ", ".join(f"{sweep['name']} ({sweep['id']})" for sweep in evidence.sweeps)
    again = ""
    if evidence.repeated:
        again = f" {evidence.repeated} seed runs stand in two of them and are counted once."
    return f"Sweep{'s' if len(evidence.sweeps) > 1 else ''}: {named}.{again}"


def conditions(configurations: Collection[Configuration]) -> str:
    """What was trained and tested, to be held beside what the source did."""

    def among(values: Iterable[Any]) -> str:
        found = sorted(set(values))
        return number(found[0]) if len(found) == 1 else f"{number(found[0])} to {number(found[-1])}"

    tested = {one.run["evaluation"]["sequences"] for one in configurations}
    every = {one.run["evaluation"]["every"] for one in configurations}
    lengths = {max(one.run["evaluation"]["lengths"]) for one in configurations}
    return (
        f"Ours: {tasks(configurations)}, lengths to {among(c.trained_to for c in configurations)}, "
        f"at most {among(c.max_steps for c in configurations)} steps, tested to length "
        f"{among(lengths)} on {among(tested)} fresh sequences every {among(every)} steps."
    )


def tasks(configurations: Collection[Configuration], most: int = 6) -> str:
    """The tasks that are trained, in words."""
    names = list(dict.fromkeys("→".join(one.trained) for one in configurations))
    if len(names) > most:
        return f"{len(names)} settings of tasks"
    return f"task{'s' if len(names) > 1 else ''} {', '.join(names)}"


def left_out(series: int, most: int) -> list[str]:
    """What a chart of so many series does not draw; nothing where it draws all."""
    if series <= most:
        return []
    return [f"The first {most} series of {series} are drawn; the CSV has all."]


def by_seed(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    """Rows by their seed run."""
    grouped: dict[int, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["seed_run_id"], []).append(row)
    return grouped
