"""Figures of probes, from rows that the record holds."""

from dataclasses import replace

import pytest
from figure_record import learned, measured
from sqlalchemy import Engine

from db.engine import reading
from db.recording import Rows
from ngpu_core.config import RunConfig
from service.figures.evidence import read_evidence
from service.figures.files import Format, written
from service.figures.registry import FIGURES

SPEC = """
name: probes
base:
  training: {tasks: [TASK], max_steps: 400}
  evaluation: {lengths: [201], every: 200, probes: [PROBE]}
grid: {variant: {classical: {}}}
seeds: {count: 3}
success: {length: 201, below: 0.01}
"""
DIGITS = [(10 * a + b, f"{a}×{b}") for a in range(10) for b in range(10)]
NUMBERS = [(n, str(n)) for n in (21, 41, 101, 4001)]


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.mark.parametrize(
    ("task", "probe", "points", "name"),
    [
        ("add", "carries", NUMBERS, "figure6-left"),
        ("mul", "padded_digits", DIGITS, "table3"),
        ("bmul", "lengths", NUMBERS, "dngpu-figure5"),
        ("bmul", "lengths", NUMBERS, "dngpu-figure6"),
        ("bmul", "lengths", NUMBERS, "kaiser-errors"),
    ],
)
def test_a_probe_is_drawn_at_every_point_it_asks(
    engine: Engine, task: str, probe: str, points: list[tuple[int, str]], name: str
) -> None:
    def rows(run: RunConfig, seed: int) -> tuple[Rows, str]:
        asked = [
            {
                "seed": seed, "step": 400, "task": task, "probe": probe, "point": point,
                "label": label, "sequences": 64, "wrong_sequences": point % 3, "symbols": 640,
                "wrong_symbols": point % 3, "first_wrong": None, "last_wrong": None,
            }
            for point, label in points
        ]  # fmt: skip
        return replace(learned(run, seed, at=0.3), probe_results=asked), "finished"

    sweep = measured(engine, SPEC.replace("TASK", task).replace("PROBE", probe), rows)
    with reading(engine) as conn:
        drawn = FIGURES[name].draw(read_evidence(conn, [sweep]))

    ours = [row for row in drawn.rows if row.get("source") != "published" and row.get("seeds")]
    assert len(ours) == len(points)
    assert {row["seeds"] for row in ours} == {3}
    assert written(drawn, Format.SVG).startswith(b"<svg")
