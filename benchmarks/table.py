"""Measures every row of the table in interleaved rounds and writes `benchmarks/results/`.

    python -m benchmarks.table
    python -m benchmarks.table --only neural-gpu-24-length-20

Ten to twenty minutes on two cores. Rows measured again replace their older figures in the machine's
file; each row keeps its own date. Peers that cannot run here are left out, and their goals with
them: name interpreters by --jax-python and --tensorflow-python.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.arguments import parser, place
from benchmarks.ceilings import Ceilings, NoCompiler
from benchmarks.contenders import ROOT, progress
from benchmarks.evaluation import evaluate
from benchmarks.lineup import Place
from benchmarks.machine import cache_bytes, slug
from benchmarks.measure import Result, measure
from benchmarks.rows import CPU, GPU, LOOPS, Measure, Row

RESULTS = Path(__file__).with_name("results")
#: Wording of a goal: a text with the value and the bound.
WORDS: Mapping[Measure, str] = {
    "loop": "{:.2f} x the loop",
    "tensorflow": "{:.2f} x TensorFlow",
    "jax": "{:.2f} x JAX",
    "fraction_of_peak": "{:.1%} of the FMA peak",
    "memory": "1/{:.1f} of the loop's memory",
}


def found(kind: Measure, result: Result) -> float | None:
    """The value a goal looks at; None when what it needs was left out."""
    if kind == "fraction_of_peak":
        share: float | None = result["fraction_of_peak"]
        return share
    if kind == "memory":
        loop = result["peer_peak_bytes"].get("naive")
        return loop * result["seeds"] / result["peak_bytes"] if loop else None
    names = LOOPS if kind == "loop" else (kind,)
    ratios = [result["ratios"][name] for name in names if name in result["ratios"]]
    return min(ratios) if ratios else None


def judged(row: Row, result: Result) -> dict[str, Any]:
    """A row's result with its goals."""
    goals = []
    for kind, bound in row.goals.items():
        value = found(kind, result)
        met = None if value is None else value >= bound
        goals.append({"measure": kind, "at_least": bound, "found": value, "met": met})
    return {"title": row.title, "goals": goals, **result}


def run(row: Row, where: Place, rounds: int | None = None) -> dict[str, Any]:
    """Measure one row, in as many rounds as it wants unless told otherwise."""
    rounds = rounds or row.rounds
    if row.workload.testing:
        ours, theirs = row.sequences
        result = evaluate(
            row.workload,
            where,
            sequences=ours,
            peer_sequences=theirs,
            rounds=rounds,
            against=row.against,
        )
    else:
        result = measure(row.workload, where, row.against, rounds=rounds, seconds=row.seconds)
        if where.device == "cpu":
            result["traffic_bytes"] = traffic(row)
    return judged(row, result)


def traffic(row: Row) -> dict[str, int]:
    """Bytes a step moves between operators, counted in a process that has torch."""
    command = [sys.executable, "-m", "benchmarks.traffic", row.workload.to_json()]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    counted: dict[str, int] = json.loads(told)
    return counted


def ceilings(where: Place, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Peak and read bandwidths of all threads; empty without a compiler."""
    try:
        measured = Ceilings()
    except NoCompiler:
        return {}
    sizes = {level: cache_bytes(machine, level) for level in ("L2", "L3")}
    last = sizes["L3"] or sizes["L2"] or 2**25
    buffers = {"memory": max(4 * last, 2**27)}
    if sizes["L2"]:
        buffers["L2"] = sizes["L2"] // 2
    if sizes["L3"]:
        buffers["L3"] = max(sizes["L3"] // 4 // where.threads, 2 * (sizes["L2"] or 0))
    return {
        "peak_flop_per_second": measured.fma_peak(where.threads, 0.5),
        "read_bytes_per_second": {
            level: measured.read_bandwidth(where.threads, size, 0.5)
            for level, size in buffers.items()
        },
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Lines for people: work, loop, ours, share of the peak, memory, goals."""
    head = ("work", "peers, best loop first", "ours", "peak", "memory", "goals")
    body = [_line(row) for row in rows.values()]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    ruled = [head, tuple("-" * width for width in widths), *body]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in ruled
    )


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    own = row.get("sequences_per_second") or row["seed_steps_per_second"]
    peers = sorted(row["peers"].items(), key=lambda one: (one[0] not in LOOPS, -one[1]))
    share = row["fraction_of_peak"]
    goals = []
    for goal in row["goals"]:
        bound = WORDS[goal["measure"]].format(goal["at_least"])
        if goal["found"] is None:
            goals.append(f"not measured (goal {bound})")
            continue
        said = WORDS[goal["measure"]].format(goal["found"])
        goals.append(f"{'met' if goal['met'] else 'NOT met'}: {said}, goal {bound}")
    return (
        row["title"],
        ", ".join(f"{name} {rate:.4g}" for name, rate in peers),
        f"{own:.4g}/s",
        f"{share:.1%}" if share else "",
        f"{row['peak_bytes'] / 1e6:.0f} MB",
        "; ".join(goals),
    )


def save(path: Path, stored: Mapping[str, Any]) -> None:
    """Write a machine's file, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(stored, indent=1) + "\n")
    os.replace(aside, path)


def main() -> None:
    """Measure, write, print."""
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", metavar="ROW", help=f"of {', '.join(CPU)}")
    arguments.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    asked = arguments.parse_args()
    where = place(asked)
    rows = CPU if where.device == "cpu" else GPU
    names = asked.only or list(rows)
    unknown = [name for name in names if name not in rows]
    if unknown:
        arguments.error(f"no row {unknown[0]!r}: one of {', '.join(rows)}")
    path: Path | None = None
    stored: dict[str, Any] = {}
    for name in names:
        row = run(rows[name], where, asked.rounds)
        if path is None:
            path = asked.results / f"{slug(row['machine'])}.json"
            stored = json.loads(path.read_text()) if path.exists() else {"rows": {}}
            stored["machine"] = row["machine"]
            if where.device == "cpu":
                stored["ceilings"] = ceilings(where, row["machine"])
        stored["rows"][name] = row
        in_order = [one for one in rows if one in stored["rows"]]
        stored["rows"] = {one: stored["rows"][one] for one in in_order}
        save(path, stored)
    progress(f"written to {path}")
    print(table({name: stored["rows"][name] for name in stored["rows"]}))


if __name__ == "__main__":
    main()
