"""`ngpu figure`: a table or figure of the sources, drawn from sweeps, as a file."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.context import client_of
from service.printing import Output, message, print_rows

#: Ending of a file -> what is written to it.
FORMATS = {".svg": "svg", ".png": "png", ".pdf": "pdf", ".csv": "csv", ".json": "vega"}
LIST_COLUMNS = ("name", "title", "source", "needs")


def figure(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which figure; without one, lists them.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="The sweep's id; several are read as one.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="Where to: .svg, .png, .pdf, .csv or .json."
        ),
    ] = None,
) -> None:
    """Draw a table or figure of the sources from sweeps, the published values beside ours."""
    sweeps = sweep or []
    with client_of(context) as client:
        if name is None:
            found = client.figures(sweep=sweeps[0] if sweeps else None)
            columns = ("name", "title", "missing") if sweeps else LIST_COLUMNS
            return print_rows(found, Output.TABLE, columns=columns)
        if not sweeps:
            raise typer.BadParameter("name the sweep to draw it from: --sweep ID")
        if file is None or file.suffix.lower() not in FORMATS:
            raise typer.BadParameter(f"name a file that ends in {', '.join(FORMATS)}: -o FILE")
        drawn = client.figure(name, sweeps, format=FORMATS[file.suffix.lower()])
    file.write_bytes(drawn)
    return message(f"{file}: {len(drawn)} bytes")
