"""`ngpu sweep verify`: the proof that a sweep is whole."""

from typing import Annotated, Any

import typer

from service.commands.context import client_of
from service.commands.sweeps import SweepArgument
from service.printing import Output, OutputOption, message, print_object, print_rows

#: The parts of the denominator, in the order of the sentence.
PARTS = ("finished", "diverged", "failed", "cancelled", "running", "pending")
COLUMNS = ("kind", "configuration", "seed", "seed_run_id", "message")


def verify(
    context: typer.Context,
    sweep_id: SweepArgument,
    checkpoints: Annotated[bool, typer.Option(help="Read the checkpoints' files too.")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prove that every seed run the spec demands is there once, with all its rows."""
    with client_of(context) as client:
        found = client.verify(sweep_id, checkpoints=checkpoints)
    if output is Output.TABLE:
        _print_report(found)
    else:
        print_object(found, output)
    if not found["holds"]:
        raise typer.Exit(1)


def _print_report(found: dict[str, Any]) -> None:
    parts = " + ".join(f"{found[part]} {part}" for part in PARTS)
    typer.echo(f"{found['sweep']} ({found['sweep_id']}) is {found['state']}")
    typer.echo(f"expected {found['expected']} seed runs = {parts}; in the record: {found['found']}")
    typer.echo(f"tests checked at {found['tests']} steps of ended seed runs")
    typer.echo(f"checkpoints read: {found['checkpoints_read']} of {found['checkpoints']}")
    if found["holds"]:
        typer.echo("holds: none missing, none twice, none too many")
        return
    print_rows(found["findings"], Output.TABLE, columns=COLUMNS)
    shown, total = len(found["findings"]), found["findings_total"]
    more = f", the first {shown} shown" if total > shown else ""
    message(f"does not hold: {total} findings{more}")
