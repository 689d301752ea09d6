"""What a figure is: a chart or table, its caption, and the numbers behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Spec = dict[str, Any]


class Missing(Exception):
    """The sweeps do not hold what a figure shows; the text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table: what stands in it, the counts behind it, and the published value."""

    text: str
    note: str = ""
    published: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as people read it. Each line starts with its heading."""

    heads: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure drawn from the rows of some sweeps."""

    name: str
    title: str
    #: Whole sentences: what is shown, n, interval, rule, exclusions, the source.
    caption: tuple[str, ...]
    #: Vega-Lite; marks name styles and no colours (`service.dashboard.charts`).
    chart: Spec
    #: The numbers, ours and the published ones; every row has these keys.
    columns: tuple[str, ...]
    rows: Sequence[Row]
    table: Table | None = None
    #: The chart is the table, drawn for print.
    only_table: bool = False

    @property
    def label(self) -> str:
        """The figure in words, for readers who cannot see it."""
        return f"{self.title}. {self.caption[0]}"
