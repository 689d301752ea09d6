"""Renews the figures of `docs/performance.md`: its table and its roofline, from stored results.

python -m benchmarks.page benchmarks/results/MACHINE.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import ROOT
from benchmarks.roofline import roofline
from benchmarks.rows import LOOPS
from benchmarks.table import WORDS

PAGE = ROOT / "docs" / "performance.md"
IMAGE = ROOT / "docs" / "images" / "roofline.svg"
START, END = "<!-- results -->", "<!-- /results -->"
HEAD = ("work", "the loop", "ours", "ratio", "share of peak", "memory, loop → ours")


def results(stored: Mapping[str, Any]) -> str:
    """The machine in a sentence, the rates as a table, the goals as a list."""
    lines = [_machine(stored["machine"]), "", _cells(HEAD), _cells(["---"] * len(HEAD))]
    lines += [_cells(_row(row)) for row in stored["rows"].values()]
    goals = [_goal(row["title"], goal) for row in stored["rows"].values() for goal in row["goals"]]
    if goals:
        lines += ["", "| must hold | found | |", "|---|---|---|", *goals]
    return "\n".join(lines)


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine(machine: Mapping[str, Any]) -> str:
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    kind = "virtual machine" if machine["virtual"] else "machine"
    gpu = f"{machine['gpu']} ({machine['precision']}), " if "gpu" in machine else ""
    family = " ".join(part for part in machine["family_model"] if part)
    return (
        f"{gpu}{machine['processor']} (family and model {family}), {kind}, "
        f"{machine['cores']} cores, {caches}, {machine['memory_bytes'] / 2**30:.0f} GiB; "
        f"{', '.join(machine['instruction_sets'])}; {versions}; {machine['date']}."
    )


def _row(row: Mapping[str, Any]) -> list[str]:
    """Rates in seed-steps, or in sequences of a test, a second."""
    own = row.get("sequences_per_second") or row["seed_steps_per_second"]
    loops = {name: row["peers"][name] for name in LOOPS if name in row["peers"]}
    others = [f"{name} {rate:.3g}" for name, rate in row["peers"].items() if name not in LOOPS]
    share = row["fraction_of_peak"]
    memory = f"{row['peak_bytes'] / 1e6:.0f} MB"
    if not loops:
        ratios = ", ".join(f"{ratio:.1f} × {name}" for name, ratio in row["ratios"].items())
        return [row["title"], ", ".join(others), f"{own:.3g}", ratios, _percent(share), memory]
    best = max(loops, key=lambda name: loops[name])
    return [
        row["title"],
        ", ".join([f"{loops[best]:.3g}", *others]),
        f"{own:.3g}",
        f"{own / loops[best]:.2f} ×",
        _percent(share),
        f"{row['peer_peak_bytes'][best] / 1e6:.0f} → {memory}",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _goal(title: str, goal: Mapping[str, Any]) -> str:
    words = WORDS[goal["measure"]]
    bound = words.format(goal["at_least"])
    if goal["found"] is None:
        return f"| {title}: {bound} | not measured here | |"
    said = words.format(goal["found"])
    return f"| {title}: {bound} | {said} | {'holds' if goal['met'] else '**does not hold**'} |"


def renewed(page: str, stored: Mapping[str, Any]) -> str:
    """The page with its figures renewed."""
    before, rest = page.split(START)
    return f"{before}{START}\n{results(stored)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    stored = json.loads(parser.parse_args().results.read_text())
    PAGE.write_text(renewed(PAGE.read_text(), stored))
    if "ceilings" in stored:
        IMAGE.write_text(roofline(stored))


if __name__ == "__main__":
    main()
