"""`ngpu sql`: a read-only question to the record, without the service."""

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

    engine = read_only(settings_of(context).database_url)
    result = run_query(engine, query, max_rows=limit)
    print_rows(result.items, output, columns=result.columns)
    if result.truncated:
        message(f"only the first {limit} rows: ask for more with --limit")
