"""`ngpu sql`: a read-only question to the record, without the service."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.context import settings_of
from service.printing import Output, OutputOption, message, print_rows


def sql(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="One SELECT; the views are the interface.")],
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 10_000,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask the record in SQL: seed_results, success_fractions, learning_curves, …"""
    from db.console import read_only, run_query

    url = settings_of(context).database_url
    _require_record(url)
    result = run_query(read_only(url, as_owner=True), query, max_rows=limit)
    print_rows(result.items, output, columns=result.columns)
    if result.truncated:
        message(f"only the first {limit} rows: ask for more with --limit")


def _require_record(url: str) -> None:
    """SQLite would only say that it cannot open the file."""
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        raise FileNotFoundError(f"no record at {path}: `ngpu serve` or `ngpu db upgrade` makes one")
