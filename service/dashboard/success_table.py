"""The table of success fractions laid out like the paper's Figure 2: pure, rows in, cells out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

#: An interval wider than this says too little: the cell is shown pale.
WIDEST_TELLING_INTERVAL = 0.6


@dataclass(frozen=True, kw_only=True)
class Line:
    """The levels of the row axes, and a fraction a column (None: not in the grid)."""

    heads: tuple[str, ...]
    cells: tuple[Row | None, ...]


@dataclass(frozen=True, kw_only=True)
class SuccessTable:
    """Row axes to the left; the last axis across when there are at least two."""

    row_axes: tuple[str, ...]
    #: Headings: the levels of the last axis, each with its axis.
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    hidden: int


def success_table(fractions: Sequence[Row], *, most_lines: int = 200) -> SuccessTable:
    """Lay out rows of `success_fractions`, in the order of the grid.

    Args:
        fractions: One row a configuration, by position. All have the same axes.
        most_lines: Lines laid out; the rest is only counted (`hidden`).
    """
    axes: tuple[str, ...] = tuple(fractions[0]["axes"]) if fractions else ()
    row_axes: tuple[str, ...]
    columns: tuple[str, ...]
    if len(axes) < 2:
        lines = [Line(heads=(row["configuration"],), cells=(row,)) for row in fractions]
        row_axes, columns = ("configuration",), ("fraction",)
    else:
        row_axes, column_axis = axes[:-1], axes[-1]
        levels = tuple(dict.fromkeys(row["axes"][column_axis] for row in fractions))
        lines = _pivot(fractions, row_axes, column_axis, levels)
        columns = tuple(f"{column_axis}: {level}" for level in levels)
    return SuccessTable(
        row_axes=row_axes,
        columns=columns,
        lines=tuple(lines[:most_lines]),
        hidden=max(0, len(lines) - most_lines),
    )


def _pivot(
    fractions: Sequence[Row], row_axes: tuple[str, ...], column_axis: str, levels: tuple[str, ...]
) -> list[Line]:
    by_heads: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in fractions:
        heads = tuple(row["axes"][axis] for axis in row_axes)
        by_heads.setdefault(heads, {})[row["axes"][column_axis]] = row
    return [
        Line(heads=heads, cells=tuple(cells.get(level) for level in levels))
        for heads, cells in by_heads.items()
    ]


def too_few(row: Row) -> bool:
    """Whether the seeds counted so far leave an interval too wide to tell anything."""
    return row["low"] is None or row["high"] - row["low"] > WIDEST_TELLING_INTERVAL


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Seed runs of a whole sweep by what became of them."""

    requested: int
    counted: int
    succeeded: int
    diverged: int
    failed: int
    cancelled: int
    open: int


def totals(fractions: Sequence[Row]) -> Totals:
    """Sum the configurations' counts: the numbers the caption states."""

    def total(*keys: str) -> int:
        return sum(row[key] or 0 for row in fractions for key in keys)

    return Totals(
        requested=total("requested"),
        counted=total("counted"),
        succeeded=total("succeeded"),
        diverged=total("diverged"),
        failed=total("failed"),
        cancelled=total("cancelled"),
        open=total("pending", "running"),
    )
