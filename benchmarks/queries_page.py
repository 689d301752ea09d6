"""Renews the figures of the record in `docs/performance.md`, from results of `benchmarks.queries`.

python -m benchmarks.queries_page benchmarks/results/queries-*.json
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page import PAGE

START, END = "<!-- queries -->", "<!-- /queries -->"
#: What is timed, in words, by its addresses without their ids; of several the slowest counts.
WORDS = {
    "/": "list of all sweeps",
    "/sweeps/*": "a sweep's page",
    "/sweeps/*/curves": "its learning curves",
    "/sweeps/*/carries": "its carries",
    "/sweeps/*/failures": "its failures",
    "/seeds/*": "a seed run's page",
    "/api/v1/sweeps/*/success": "success fractions over HTTP",
    "/api/v1/sweeps/*/seeds?limit=1000": "1000 seed results",
    "/api/v1/sweeps/*/curves?limit=1000": "1000 points of curves",
}


def results(stored: Sequence[Mapping[str, Any]]) -> str:
    """The machine in a sentence, a column a database."""
    machine = stored[0]["machine"]
    rows = [
        ["", *(_name(one) for one in stored)],
        ["---"] * (1 + len(stored)),
        ["seed runs", *(f"{one['seed_runs']:,}" for one in stored)],
        ["rows of evaluations", *(f"{one['evaluations']:,}" for one in stored)],
        ["success fractions of the slowest sweep", *(_fractions(one) for one in stored)],
        *([words, *(_slowest(one, kind) for one in stored)] for kind, words in WORDS.items()),
        ["slowest answer of all", *(_milliseconds(one["page_milliseconds"]) for one in stored)],
        ["memory while every seed streams as CSV", *(_growth(one) for one in stored)],
        ["goals", *(_goals(one["goals"]) for one in stored)],
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    said = f"{machine['processor']}, {machine['cores']} cores; {machine['date']}."
    return "\n".join([said, "", *lines])


def _name(one: Mapping[str, Any]) -> str:
    name = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[one["database"]]
    return f"{name} {one['machine']['versions'][one['database']].split()[0]}"


def _fractions(one: Mapping[str, Any]) -> str:
    return f"{_milliseconds(one['success_milliseconds'])}, at most 300"


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms"


def kind_of(address: str) -> str:
    """An address with its id left out: `/sweeps/*/curves`."""
    return re.sub(r"\b(sweeps|seeds)/[^/?]+", r"\1/*", address)


def _slowest(one: Mapping[str, Any], kind: str) -> str:
    took = [told["median"] for name, told in one["answers"].items() if kind_of(name) == kind]
    return _milliseconds(max(took)) if took else ""


def _growth(one: Mapping[str, Any]) -> str:
    return f"{one['csv_growth_bytes'] / 2**20:+.0f} MiB"


def _goals(goals: Sequence[Mapping[str, Any]]) -> str:
    missed = [goal["measure"] for goal in goals if not goal["met"]]
    return f"**not met: {', '.join(missed)}**" if missed else "met"


def renewed(page: str, stored: Sequence[Mapping[str, Any]]) -> str:
    """The page with its figures renewed."""
    before, rest = page.split(START)
    return f"{before}{START}\n{results(stored)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+")
    stored = [json.loads(path.read_text()) for path in parser.parse_args().results]
    PAGE.write_text(renewed(PAGE.read_text(), stored))


if __name__ == "__main__":
    main()
