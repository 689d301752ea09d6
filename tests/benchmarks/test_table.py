"""Goals, the printed table, the plot."""

import json
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import describe
from benchmarks.page import PAGE, renewed, results
from benchmarks.roofline import apart, roofline
from benchmarks.rows import CPU
from benchmarks.table import judged, save, table

SVG = "{http://www.w3.org/2000/svg}"


def result(**changes: Any) -> dict[str, Any]:
    """What a row might have measured."""
    told = {
        "seeds": 4,
        "seed_steps_per_second": 40.0,
        "peers": {"naive": 10.0, "naive-one-process": 8.0, "tensorflow": 20.0},
        "ratios": {"naive": 4.0, "naive-one-process": 5.0, "tensorflow": 2.0},
        "fraction_of_peak": 0.8,
        "flop_per_step": 9.56e9,
        "flop_per_second": 40 * 9.56e9,
        "traffic_bytes": {"naive": 1_180_000_000, "ours": 98_000_000},
        "peak_flop_per_second": 5e11,
        "peak_bytes": 50,
        "peer_peak_bytes": {"naive": 1000},
    }
    return told | changes


def test_a_row_is_held_to_the_faster_loop() -> None:
    row = judged(CPU["neural-gpu-24-length-20"], result())

    loop, share = row["goals"]
    assert loop == {"measure": "loop", "at_least": 3.5, "found": 4.0, "met": True}
    assert share["met"] is False


def test_a_peer_left_out_leaves_its_goal_open() -> None:
    only_loop = result(ratios={"naive": 4.0})

    loop, tensorflow = judged(CPU["diagonal-96-nine-bins"], only_loop)["goals"]

    assert loop["met"] is True
    assert (tensorflow["found"], tensorflow["met"]) == (None, None)


def test_memory_is_held_to_the_loop_for_as_many_seeds() -> None:
    [goal] = judged(CPU["memory-16-seeds"], result(seeds=16))["goals"]

    assert goal["found"] == pytest.approx(16 * 1000 / 50)


def test_the_table_says_of_every_goal_whether_it_is_met() -> None:
    open_goal = result(fraction_of_peak=None)
    rows = {"one": judged(CPU["neural-gpu-24-length-20"], open_goal)}

    printed = table(rows)

    assert "met: 4.00 x the loop, goal 3.50 x the loop" in printed
    assert "not measured (goal 85.0% of the FMA peak)" in printed


def stored() -> dict[str, Any]:
    rows = {
        name: judged(CPU[name], result())
        for name in ("neural-gpu-24-length-8", "neural-gpu-24-length-20")
    }
    without_loop = judged(CPU["jax-16-seeds"], result(peers={"jax": 5.0}))
    return {
        "rows": rows | {"jax-16-seeds": without_loop},
        "machine": describe({"torch": "2"}) | {"processor": "A <processor> & more", "cores": 2},
        "ceilings": {
            "peak_flop_per_second": 5e11,
            "read_bytes_per_second": {"memory": 4e10, "L2": 3e11},
        },
    }


def test_the_roofline_is_well_formed_and_marks_the_rows_with_a_loop() -> None:
    image = ElementTree.fromstring(roofline(stored()))

    circles = image.findall(f"{SVG}circle")
    assert len(circles) == 2 * 2 + 2  # a loop and an engine a row, two in the legend
    assert "prefers-color-scheme: dark" in (image.findtext(f"{SVG}style") or "")
    assert image.findtext(f"{SVG}title") == "Roofline: A <processor> & more, 2 cores"


def test_labels_move_apart_and_no_further() -> None:
    assert apart([10.0, 100.0]) == [10.0, 100.0]
    placed = apart([50.0, 48.0, 52.0, 51.0, 200.0])
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(sorted(placed)))
    assert placed[4] == 200.0
    assert sum(placed[:4]) == pytest.approx(50.0 + 48.0 + 52.0 + 51.0)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "results" / "machine.json"
    save(path, {"rows": {}})
    save(path, {"rows": {"one": 1}})

    assert json.loads(path.read_text()) == {"rows": {"one": 1}}
    assert list(path.parent.iterdir()) == [path]


def test_the_page_shows_ratios_and_every_goal() -> None:
    told = results(stored())

    assert "| neural_gpu, 24 filters, L = 20 | 10, tensorflow 20 | 40 | 4.00 × | 80% |" in told
    assert "L = 20: 3.50 x the loop | 4.00 x the loop | holds |" in told
    assert "L = 8: 4.50 x the loop | 4.00 x the loop | **does not hold** |" in told
    assert "7.00 x JAX | not measured here | |" in told


def test_a_page_is_renewed_between_its_marks_only() -> None:
    page = PAGE.read_text()
    once = renewed(page, stored())

    assert once.startswith("# Performance")
    assert renewed(once, stored()) == once
    assert once.split("<!-- /results -->")[1] == page.split("<!-- /results -->")[1]
