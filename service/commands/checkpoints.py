"""`ngpu checkpoints`: the files that training resumes from."""

import shutil
from typing import Annotated, Any

import typer

from service.commands.context import settings_of
from service.printing import Output, OutputOption, message, print_rows

app = typer.Typer(help="The files that training resumes from.", no_args_is_help=True)


@app.command()
def collect(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing.")] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Also folders of sweeps this record does not know.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete checkpoints that nothing in the record needs; sweeps may be running."""
    from db.engine import open_engine
    from service.collection import collect as run
    from service.collection import find_orphans

    settings = settings_of(context)
    engine = open_engine(settings.database_url)
    found = (find_orphans if dry_run else run)(engine, settings.checkpoints)
    root = settings.checkpoints
    rows: list[dict[str, Any]] = [
        {"path": str(one.path.relative_to(root)), "bytes": one.bytes} for one in found.files
    ]
    for folder in found.unknown if unknown else ():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        rows.append({"path": folder.name, "bytes": size})
        if not dry_run:
            shutil.rmtree(folder)
    print_rows(rows, output, columns=("path", "bytes"))
    did = "would be deleted" if dry_run else "deleted"
    message(f"{did}: {len(rows)} of {sum(row['bytes'] for row in rows)} bytes")
    if found.unknown and not unknown:
        message(
            f"{len(found.unknown)} folders belong to sweeps this record does not know: deleted "
            "ones, or another record's. --unknown deletes them"
        )
