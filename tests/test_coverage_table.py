"""`docs/coverage.md` has every row of the inventory (SPECS A.0-A.4), and names what exists."""

import re
from typing import Any, cast

import pytest

from scripts.readme_tree import ROOT
from service.figures.evidence import Configuration, Evidence
from service.figures.registry import FIGURES
from sweeps.expansion import configurations
from sweeps.spec import parse_spec

INVENTORY = {
    *(f"A1.{number}" for number in range(1, 18)),
    *(f"A2.F{part}" for part in ("1", "2", "3", "4", "5", "6L", "6R", "7")),
    *(f"A2.T{number}" for number in range(1, 4)),
    *(f"A2.x{number}" for number in range(1, 5)),
    *(f"A3.{number}" for number in range(1, 7)),
    *(f"A4.{number}" for number in range(1, 6)),
    *(f"A4.F{number}" for number in range(1, 10)),
    *("A4.App1", "A4.App2"),
}
TEXT = (ROOT / "docs" / "coverage.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if re.match(r"\| A\d", line)
]
NOTHING = "–"


def specs_of(cell: str) -> list[str]:
    return re.findall(r"\]\(\.\./sweeps/specs/([\w-]+)\.yaml\)", cell)


def figures_of(cell: str) -> list[str]:
    return [] if cell == NOTHING else cell.split(", ")


#: (spec, figure) that stand in one row, place by place; a row may have one figure of several specs.
PAIRS = sorted(
    {
        pair
        for _, _, spec, figure, _ in ROWS
        if figures_of(figure)
        for pair in zip(specs_of(spec), figures_of(figure), strict=True)
    }
)


def test_every_row_of_the_inventory_stands_there_once() -> None:
    ids = [row[0] for row in ROWS]
    assert set(ids) == INVENTORY
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_repeats_it_and_what_came_of_it(row: list[str]) -> None:
    assert len(row) == 5
    _, what, spec, figure, result = row
    assert what
    assert result
    assert (spec == NOTHING) == (not specs_of(spec))
    assert all((ROOT / "sweeps" / "specs" / f"{one}.yaml").exists() for one in specs_of(spec))
    assert all(one in FIGURES for one in figures_of(figure))
    if spec == NOTHING:
        assert figure == NOTHING


def test_every_spec_and_every_figure_is_in_the_table() -> None:
    """But for the demo and ever-final, which are ours, and the small ones."""
    here = {path.stem for path in (ROOT / "sweeps" / "specs").glob("*.yaml")}
    named = {one for row in ROWS for cell in row for one in specs_of(cell)}
    assert named == {one for one in here if not one.endswith("-small")} - {"demo"}
    assert {one for row in ROWS for one in figures_of(row[3])} == set(FIGURES) - {"ever-final"}


@pytest.mark.parametrize(("spec", "figure"), PAIRS)
@pytest.mark.parametrize("suffix", ["", "-small"])
def test_the_figure_can_be_drawn_of_the_spec(spec: str, figure: str, suffix: str) -> None:
    path = ROOT / "sweeps" / "specs" / f"{spec}{suffix}.yaml"
    expanded = configurations(parse_spec(path.read_text()))
    evidence = Evidence(
        conn=cast(Any, None),  # what a figure needs is decided before it reads
        sweeps=(),
        configurations=tuple(
            Configuration(
                id=one.position,
                sweep_id="",
                label=one.label,
                axes=one.axes,
                run=one.run.to_mapping(),
                max_steps=one.run.training.max_steps,
                digest=one.digest,
            )
            for one in expanded
        ),
        runs=(),
        repeated=0,
    )
    assert FIGURES[figure].missing(evidence) is None
