"""The published numbers, as the sources print them, each file with where it is from."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PRICE = "Price, Zaremba, Sutskever (2016), arXiv:1611.00736"
KAISER = "Kaiser, Sutskever (2016), arXiv:1511.08228"
KAISER_SLIDES = "Kaiser, slides on the Neural GPU"
FREIVALDS = "Freivalds, Liepins (2017), arXiv:1702.08727"
ZAREMBA = "Zaremba, slides on learning algorithms"

#: File -> what it holds.
SOURCES: Mapping[str, str] = {
    "price2016_figure2": f"{PRICE}, Figure 2",
    "price2016_table2": f"{PRICE}, Table 2",
    "price2016_table3_zero_padded": f"{PRICE}, Table 3",
    "price2016_figure6_left": f"{PRICE}, Figure 6 left, by its text",
    "price2016_figure6_right": f"{PRICE}, Figure 6 right and its text",
    "kaiser_slides_errors": f"{KAISER_SLIDES}: error tables",
    "kaiser2016_table1": f"{KAISER}, table of generalization",
    "freivalds2017_claims": f"{FREIVALDS}, text and Figures 3 to 9",
    "freivalds2017_readme_plot": f"{FREIVALDS}, read off a plot of the released code's README",
    "zaremba_known_results": f"{ZAREMBA}: known results, bigger models",
}

#: Seed runs behind a cell of Figure 2: 13 tasks × 15 seeds.
FIGURE2_RUNS = 195
#: Seed runs behind Figure 6 right.
CARRY_RUNS = 1121
#: Seed runs behind each curve of the diagonal Neural GPU's paper.
FREIVALDS_RUNS = 5


@cache
def published(name: str) -> tuple[Mapping[str, Any], ...]:
    """The rows of one file: numbers as numbers, an empty cell as None."""
    text = files("service.figures").joinpath(f"published/{name}.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple({key: _value(cell) for key, cell in row.items()} for row in rows)


def _value(cell: str) -> Any:
    if cell in ("True", "False"):
        return cell == "True"
    # Digits of an answer stay text: its zeros count.
    if cell.isdigit() and len(cell) > 20:
        return cell
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None
