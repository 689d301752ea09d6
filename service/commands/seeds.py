"""`ngpu seed`: look at one seed run."""

from typing import Annotated

import typer

from service.commands.context import client_of
from service.printing import Output, OutputOption, message, print_object, print_rows

app = typer.Typer(help="Look at one seed run.", no_args_is_help=True)

LOG_COLUMNS = ("timestamp", "level", "event", "fields", "text")
EVALUATION_COLUMNS = ("task", "length", "step", "sequences", "sequence_error", "symbol_error")


@app.command()
def logs(
    context: typer.Context,
    seed_run_id: Annotated[int, typer.Argument(metavar="SEED_RUN", help="Its seed_run_id.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Lines at most.")] = 100,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the last lines of the log that name a seed run."""
    with client_of(context) as client:
        lines = client.seed_logs(seed_run_id, limit=limit)
    print_rows(lines, output, columns=LOG_COLUMNS)


@app.command()
def show(
    context: typer.Context,
    seed_run_id: Annotated[int, typer.Argument(metavar="SEED_RUN", help="Its seed_run_id.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a seed run: what fixed it, where it ran, how it ended, its errors by length."""
    with client_of(context) as client:
        seed = client.seed(seed_run_id)
        print_object(seed, output)
        if output is Output.TABLE:
            message("Errors at its last test:")
            print_rows(client.seed_evaluations(seed_run_id), output, columns=EVALUATION_COLUMNS)
