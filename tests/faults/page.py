"""Writes `docs/reliability.md` from the record of the last run: `python -m tests.faults.page`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.cases import CASES, Case

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORD = DOCS / "reliability.json"
#: What a person wrote: why it holds, and what is not promised.
WHY = Path(__file__).with_name("why.md")

Entries = Sequence[Mapping[str, Any]]

HEAD = """# Reliability

What dies, how that was done to the running service, and what became of the sweep. Every line of the first table is a test that ran: `make test-faults`
runs them all again and writes this page from its record, [`reliability.json`](reliability.json). The service is the real one – scheduler, Ray, runners,
workers, PostgreSQL or SQLite – on one machine of two cores; the sweep trains for some ten seconds to minutes, and its rows are held against those of the
same spec trained undisturbed, value by value.

- **lost**: rows that a reader had once seen committed and that are not there in the end, or with another value.
- **doubled**: rows beyond those of the undisturbed run.
- **wrong**: rows of the undisturbed run that are missing or have another value.
- **recovery**: from the fault (or its end, where it says so) to the first row written again – for a killed worker under a newer lease, so that
  starting a process, loading torch and a second of training are in it – the longest of all repetitions. Goals: 10 s for runner, worker and node, 30 s for the head.

Wherever the sweep went on to its end, `ngpu sweep verify` and the checks of `ngpu doctor` found nothing afterwards, and no process was left.
"""  # noqa: E501


def main() -> None:
    """Write the page."""
    kept = json.loads(RECORD.read_text())
    parts = [HEAD, "## What was done, and what became of it\n", *_runs(kept)]
    parts += ["\n## The 34 cases\n", *_cases(kept), "\n", WHY.read_text()]
    (DOCS / "reliability.md").write_text("\n".join(parts))


def _runs(kept: Entries) -> Iterator[str]:
    yield "| case | injected | on | proof that it fired | recovery | rows | lost | doubled | wrong |"  # noqa: E501
    yield "|---:|---|---|---|---:|---:|---:|---:|---:|"
    for one in kept:
        where = f"{one['runner']}, {_database(one['database'])}"
        proof = "; ".join(one["proof"])
        numbers = " | ".join(str(one[name]) for name in ("rows", "lost", "doubled", "wrong"))
        recovery = _recovery(one)
        yield f"| {one['case']} | {one['injected']} | {where} | {proof} | {recovery} | {numbers} |"
    yield ""
    yield _busy(kept)


def _busy(kept: Entries) -> str:
    loads = sorted(one["load"] for one in kept)
    if not loads:
        return "Nothing has run."
    middle = loads[len(loads) // 2]
    kept_from, kept_to = min(one["at"] for one in kept), max(one["at"] for one in kept)
    return (
        f"{len(kept)} runs from {kept_from} to {kept_to}{_codes(kept)}. "
        "Processes that wanted one of the two cores meanwhile, the service's "
        f"own included: {middle:g} in the median, {loads[-1]:g} at most; recovery is slower the "
        "more there are. " + _over(kept)
    )


def _codes(kept: Entries) -> str:
    codes = {one.get("code", "") for one in kept}
    if len(codes) == 1 and "" not in codes:
        return f", all of version `{codes.pop()}`"
    return ", **not all of the same version of the code**: `make test-faults` renews them"


def _over(kept: Entries) -> str:
    timed = [one for one in kept if one["goal_seconds"] is not None]
    over = [one for one in timed if one["recovery_seconds"] > one["goal_seconds"]]
    if not over:
        return f"All {len(timed)} recoveries that have a goal were within it."
    loads = sorted(one["load"] for one in over)
    return (
        f"**{len(over)} of {len(timed)} recoveries were over their goals**, on a machine with "
        f"other work: {loads[0]:g} to {loads[-1]:g} processes wanted its two cores."
    )


def _recovery(one: Mapping[str, Any]) -> str:
    if one["recovery_seconds"] is None:
        return "–"
    since = "" if one["recovery_from"] == "fault" else f" after {one['recovery_from']}"
    goal = "" if one["goal_seconds"] is None else f" (goal {one['goal_seconds']:g} s)"
    return f"{one['recovery_seconds']:.1f} s{since}{goal}"


def _database(name: str) -> str:
    return {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[name]


def _cases(kept: Entries) -> Iterator[str]:
    ran = dict.fromkeys((case.number for case in CASES), 0)
    for one in kept:
        ran[one["case"]] += 1
    yield "| case | fault | must hold | held by |"
    yield "|---:|---|---|---|"
    for case in CASES:
        yield f"| {case.number} | {case.fault} | {case.aim} | {_held_by(case, ran[case.number])} |"


def _held_by(case: Case, runs: int) -> str:
    said: Iterable[str] = [f"{runs} runs above" if runs > 1 else "1 run above"] if runs else []
    said = [*said, *(f"`{test}`" for test in case.elsewhere)]
    return "; ".join(said) + (". " if said and case.reason else "") + case.reason


if __name__ == "__main__":
    main()
