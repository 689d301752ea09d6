"""`ngpu sweep bundle`: a sweep in one file for a reviewer."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.context import settings_of
from service.commands.sweeps import SweepArgument
from service.printing import message


def bundle(
    context: typer.Context,
    sweep_id: SweepArgument,
    file: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="The ZIP file to write.")
    ],
) -> None:
    """Write spec, record, tables, figures and proof of a sweep into one file, without a service."""
    from db.engine import open_engine
    from service.bundle import Unbundled, write_bundle

    settings = settings_of(context)
    engine = open_engine(settings.database_url)
    try:
        made = write_bundle(engine, sweep_id, file, settings.checkpoints)
    except Unbundled as error:
        message(str(error))
        raise typer.Exit(1) from error
    message(f"{file}: {made.bytes} bytes, {len(made.parts)} parts")
    if not made.verification.holds:
        total = made.verification.findings_total
        message(f"the proof found {total} things: see verification.json in it")
