"""`ngpu seed`: look at one seed run."""

from typing import Annotated

import typer

from service.commands.context import client_of
from service.printing import Output, OutputOption, message, print_object, print_rows

app = typer.Typer(help="Look at one seed run.", no_args_is_help=True)

EVALUATION_COLUMNS = ("task", "length", "step", "sequences", "sequence_error", "symbol_error")


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
