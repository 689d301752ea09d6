"""How fast the record answers: a database filled with many seed runs, asked as users ask it.

    python -m benchmarks.queries --seed-runs 50000 --database-url postgresql://… --json
    python -m benchmarks.queries --seed-runs 5000

The database must be empty, or filled by this program before; without an address it is a temporary
SQLite file. Each page of the dashboard and each list of the API is asked for over HTTP from a web
process of its own; `docs/performance.md` says what each key of the result means.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, func, select

from benchmarks.arguments import positive
from benchmarks.client import Served, serving, summarized
from benchmarks.contenders import progress
from benchmarks.machine import describe
from benchmarks.record import SHAPES, fill
from db import queries
from db.engine import open_engine, reading, upgrade
from db.models import configurations, evaluations, seed_runs, sweeps, training_epochs

API = "/api/v1"
#: What must hold: the slowest sweep's fractions, the slowest answer, growth while a CSV streams.
GOALS = {"success_milliseconds": 300.0, "page_milliseconds": 1000.0, "csv_growth_bytes": 2.0**25}


def measure(url: str, seed_runs_wanted: int, *, repeats: int, port: int) -> dict[str, Any]:
    """Fill the record if it is empty, then ask.

    Args:
        url: Of the record.
        seed_runs_wanted: About how many it is filled with.
        repeats: How often each answer is asked for.
        port: The web process listens here.

    Returns:
        Plain values.
    """
    engine = open_engine(url)
    upgrade(engine)
    began = time.perf_counter()
    filled = _filled(engine, seed_runs_wanted)
    fill_seconds = time.perf_counter() - began
    named = _sweeps(engine)
    fractions = {name: _success(engine, one, repeats) for name, one in named.items()}
    slowest = max(one["median"] for one in fractions.values())
    progress(f"{slowest:8.1f} ms  success fractions of the slowest sweep")
    with serving(url, port) as served:
        csv = _every_csv(served, named)
    with serving(url, port) as served:
        answers = {
            address: _asked(served, address, repeats) for address in addresses(engine, named)
        }
    found = {
        "success_milliseconds": slowest,
        "page_milliseconds": max(one["median"] for one in answers.values()),
        "csv_growth_bytes": growth(csv),
    }
    return {
        **_sizes(engine),
        "database": engine.dialect.name,
        "fill_seconds": fill_seconds if filled else None,
        **found,
        "goals": judged(found),
        "success": fractions,
        "answers": answers,
        "csv": csv,
        "repeats": repeats,
        "machine": describe(_version(engine)),
    }


def judged(found: Mapping[str, float]) -> list[dict[str, Any]]:
    """Each goal with what was found."""
    return [
        {"measure": name, "at_most": bound, "found": found[name], "met": found[name] <= bound}
        for name, bound in GOALS.items()
    ]


def _filled(engine: Engine, wanted: int) -> bool:
    """Whether this call filled the record.

    Raises:
        SystemExit: It holds somebody's sweeps.
    """
    names = set(_sweeps(engine))
    if not names:
        fill(engine, wanted, progress)
        return True
    if not all(any(name.startswith(shape.name) for shape in SHAPES) for name in names):
        raise SystemExit("the database holds other sweeps: name an empty one")
    progress("the database is filled already")
    return False


def _sweeps(engine: Engine) -> dict[str, str]:
    with reading(engine) as conn:
        found = conn.execute(select(sweeps.c.name, sweeps.c.id).order_by(sweeps.c.id))
        return {row.name: row.id for row in found}


def _largest(named: Mapping[str, str]) -> list[str]:
    """The first sweep of every shape."""
    return [next(name for name in named if name.startswith(shape.name)) for shape in SHAPES]


def _sizes(engine: Engine) -> dict[str, int]:
    with reading(engine) as conn:
        return {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (sweeps, configurations, seed_runs, evaluations, training_epochs)
        }


def _version(engine: Engine) -> dict[str, str]:
    with engine.connect() as conn:
        asked = "SHOW server_version" if engine.dialect.name != "sqlite" else None
        told = conn.exec_driver_sql(asked or "SELECT sqlite_version()").scalar_one()
    return {engine.dialect.name: str(told)}


def _success(engine: Engine, sweep_id: str, repeats: int) -> Mapping[str, float]:
    """The named query that API, page and command line ask."""
    took = []
    for _ in range(repeats):
        with reading(engine) as conn:
            began = time.perf_counter()
            queries.success(conn, sweep_id)
            took.append(1000 * (time.perf_counter() - began))
    return summarized(took)


def addresses(engine: Engine, named: Mapping[str, str]) -> list[str]:
    """Every page of the dashboard, and every list of the API, of a sweep of each shape."""
    found = ["/", "/new", "/sql", "/help", "/metrics", f"{API}/sweeps", f"{API}/tasks"]
    for name in _largest(named):
        found += _of_sweep(engine, named[name])
    return found


def _of_sweep(engine: Engine, sweep_id: str) -> Sequence[str]:
    s = seed_runs.c
    with reading(engine) as conn:
        first, configuration = conn.execute(
            select(s.id, s.configuration_id).where(s.sweep_id == sweep_id).order_by(s.id).limit(1)
        ).one()
        second = queries.seeds(conn, sweep_id).next_cursor
    page, api, seed = f"/sweeps/{sweep_id}", f"{API}/sweeps/{sweep_id}", f"{API}/seeds/{first}"
    parts = ("progress", "success", "curves", "carries", "failures", "seeds")
    lists = ("success", "seeds?limit=1000", "thresholds", "failures", "curves?limit=1000")
    one = f"configuration={configuration}"
    return [
        page, f"{page}?{one}", *([f"{page}?cursor={second}"] if second else []),
        *(f"{page}/{part}" for part in parts), f"/seeds/{first}",
        api, *(f"{api}/{name}" for name in lists), f"{api}/curves?{one}&kind=test&length=201",
        f"{api}/seeds?{one}", f"{api}/seeds?state=failed",
        seed, f"{seed}/curves", f"{seed}/evaluations",
    ]  # fmt: skip


def _asked(served: Served, address: str, repeats: int) -> Mapping[str, float]:
    told = summarized(served.milliseconds(address, repeats))
    progress(f"{told['median']:8.1f} ms  {address}")
    return told


def _every_csv(served: Served, named: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Every seed of every sweep, a file a sweep, from a process that has loaded what it needs."""
    lists = [f"{API}/sweeps/{sweep_id}/seeds" for sweep_id in named.values()]
    served.milliseconds(f"{lists[-1]}?limit=1", 1)
    told: list[Mapping[str, Any]] = [served.streamed(f"{address}?format=csv") for address in lists]
    progress(f"{growth(told) / 2**20:8.1f} MiB more while all seeds were streamed")
    return told


def growth(streamed: Sequence[Mapping[str, Any]]) -> int:
    """Bytes by which a process grew while it sent some files, one after another."""
    most = max(one["resident_bytes_peak"] for one in streamed)
    return int(most - streamed[0]["resident_bytes_before"])


def summary(result: Mapping[str, Any]) -> str:
    """A few lines for people."""
    slow = sorted(result["answers"].items(), key=lambda one: -one[1]["median"])[:5]
    lines = [
        f"{result['database']}: {result['seed_runs']} seed runs, "
        f"{result['evaluations']} evaluations",
        *(
            f"  {goal['measure']}: {goal['found']:.0f}, at most {goal['at_most']:.0f}: "
            + ("met" if goal["met"] else "NOT met")
            for goal in result["goals"]
        ),
        "  slowest answers:",
        *(f"    {one['median']:.0f} ms  {address}" for address, one in slow),
    ]
    return "\n".join(lines)


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed-runs", type=positive, default=5000)
    parser.add_argument("--database-url", help="an empty database; default: a temporary file")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--port", type=positive, default=8765)
    parser.add_argument("--json", action="store_true", help="print one object")
    asked = parser.parse_args()
    with ExitStack() as stack:
        url = asked.database_url
        if url is None:
            folder = stack.enter_context(TemporaryDirectory(prefix="ngpu-bench-"))
            url = f"sqlite:///{Path(folder) / 'record.sqlite'}"
        result = measure(url, asked.seed_runs, repeats=asked.repeats, port=asked.port)
    print(json.dumps(result, indent=1) if asked.json else summary(result))


if __name__ == "__main__":
    main()
