"""`ngpu db backup` and `ngpu db restore`."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.context import settings_of
from service.printing import message


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to; replaced when complete.")],
) -> None:
    """Copy the record into a file; sweeps may be running."""
    from db.backup import backup as run

    size = run(settings_of(context).database_url, file)
    message(f"{file}: {size} bytes. Copy the folder of checkpoints after it, not before")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="From `db backup`.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Even if the record holds sweeps: they are lost.")
    ] = False,
) -> None:
    """Make the record what it was at a backup; stop the service first."""
    from db.backup import restore as run

    settings = settings_of(context)
    settings.make_home()
    sweeps = run(settings.database_url, file, overwrite=overwrite)
    message(f"{sweeps} sweeps restored: `ngpu sweep verify` proves each, `ngpu serve` goes on")
