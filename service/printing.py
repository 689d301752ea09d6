"""Results to stdout as a table, JSON or CSV; messages to stderr. Nothing else is printed there."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="How to print the result.", case_sensitive=False)
]

Rows = Sequence[Mapping[str, Any]]


def message(text: str) -> None:
    """Tell a person something: to stderr, as it is."""
    print(text, file=sys.stderr, flush=True)


def print_rows(rows: Rows, output: Output, *, columns: Sequence[str] | None = None) -> None:
    """A list of objects. `columns` are those of the table; JSON and CSV have all of them."""
    if output is Output.JSON:
        print_json(list(rows))
    elif output is Output.CSV:
        from service.tables import csv_text

        names = list(rows[0]) if rows else list(columns or ())
        sys.stdout.write(csv_text(names, rows))
    else:
        print_table(rows, columns or (list(rows[0]) if rows else ()))


def print_object(value: Mapping[str, Any], output: Output) -> None:
    """One object: in a table, a line a key."""
    if output is Output.TABLE:
        lines = [{"key": key, "value": shown(item)} for key, item in value.items()]
        print_table(lines, ("key", "value"))
    elif output is Output.CSV:
        print_rows([value], output)
    else:
        print_json(value)


def print_json(value: Any) -> None:
    """One JSON value; times as ISO 8601."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    sys.stdout.write(text + "\n")


def print_table(rows: Rows, columns: Sequence[str], *, caption: str | None = None) -> None:
    """Rows as a table, as wide as they need where nobody looks at a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False)
    for column in columns:
        numbers = bool(rows) and all(_is_number(row[column]) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(row[column])) for column in columns))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 200, highlight=False).print(table)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def shown(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
