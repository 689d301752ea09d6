"""`ngpu sweep`: submit, follow and change sweeps over the REST API."""

from typing import Annotated, Any

import typer

from service.commands.context import client_of
from service.outcomes import standing
from service.printing import Output, OutputOption, message, print_object, print_rows

app = typer.Typer(help="Submit, follow and change sweeps.", no_args_is_help=True)

SpecArgument = Annotated[
    typer.FileText, typer.Argument(metavar="SPEC", help="A YAML or JSON file; - reads stdin.")
]
SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="The sweep's id.")]

LIST_COLUMNS = ("id", "name", "state", "requested", "ended", "created_at")


@app.command()
def submit(
    context: typer.Context,
    spec: SpecArgument,
    new: Annotated[bool, typer.Option(help="Even if this spec was submitted before.")] = False,
    watch: Annotated[bool, typer.Option(help="Follow it to its end.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Submit a sweep; the same spec again gives the same sweep."""
    with client_of(context) as client:
        sweep = client.submit(spec.read(), new=new)
        made = "submitted" if sweep["created"] else "was submitted before: this is"
        message(f"{made} sweep {sweep['id']} · {client.server_url}/sweeps/{sweep['id']}")
        if sweep["state"] == "cancelled":
            message(
                f"it was cancelled: `ngpu sweep retry {sweep['id']} --cancelled` takes it up, "
                "`--new` trains it afresh"
            )
        elif sweep["state"] == "paused":
            message(f"it is paused: `ngpu sweep resume {sweep['id']}` takes it up")
        if watch:
            _follow(context, sweep["id"], output)
        else:
            _changed(sweep, output)


@app.command()
def preview(
    context: typer.Context, spec: SpecArgument, output: OutputOption = Output.TABLE
) -> None:
    """Say what a spec would run, and what it can show; nothing is stored."""
    with client_of(context) as client:
        print_object(client.preview(spec.read()), output)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only sweeps in this state.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the sweeps, the newest first."""
    with client_of(context) as client:
        sweeps = list(client.sweeps(state=state))
    if output is not Output.JSON:
        sweeps = [_listed(sweep) for sweep in sweeps]
    print_rows(sweeps, output, columns=LIST_COLUMNS)


@app.command()
def show(
    context: typer.Context, sweep_id: SweepArgument, output: OutputOption = Output.TABLE
) -> None:
    """Show a sweep and, as a table, its success fractions."""
    with client_of(context) as client:
        sweep = client.sweep(sweep_id)
        if output is not Output.TABLE:
            return print_object(sweep, output)
        print_object(_listed(sweep), output)
        return _print_success(sweep, client.success(sweep_id), output)


@app.command()
def watch(
    context: typer.Context, sweep_id: SweepArgument, output: OutputOption = Output.TABLE
) -> None:
    """Follow a sweep to its end, then print its success fractions."""
    _follow(context, sweep_id, output)


@app.command()
def pause(
    context: typer.Context, sweep_id: SweepArgument, output: OutputOption = Output.TABLE
) -> None:
    """Pause a sweep at its next checkpoints; `resume` goes on from there."""
    with client_of(context) as client:
        _changed(client.pause(sweep_id), output)


@app.command()
def resume(
    context: typer.Context, sweep_id: SweepArgument, output: OutputOption = Output.TABLE
) -> None:
    """Take a paused sweep up again."""
    with client_of(context) as client:
        _changed(client.resume(sweep_id), output)


@app.command()
def stop(
    context: typer.Context, sweep_id: SweepArgument, output: OutputOption = Output.TABLE
) -> None:
    """Let the seeds in training finish and cancel the others."""
    with client_of(context) as client:
        _changed(client.stop(sweep_id), output)


@app.command(context_settings={"ignore_unknown_options": True})
def prioritize(
    context: typer.Context,
    sweep_id: SweepArgument,
    priority: Annotated[int, typer.Argument(help="Greater goes first; a sweep begins with 0.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a sweep go before those of a smaller priority."""
    with client_of(context) as client:
        _changed(client.prioritize(sweep_id, priority), output)


@app.command()
def cancel(
    context: typer.Context, sweep_id: SweepArgument, output: OutputOption = Output.TABLE
) -> None:
    """End a sweep now; what has finished stays."""
    with client_of(context) as client:
        _changed(client.cancel(sweep_id), output)


@app.command()
def retry(
    context: typer.Context,
    sweep_id: SweepArgument,
    cancelled: Annotated[bool, typer.Option(help="Cancelled seed runs too.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Queue the failed seed runs again; --cancelled takes up a cancelled sweep."""
    with client_of(context) as client:
        sweep = client.retry(sweep_id, cancelled=cancelled)
    message(f"{sweep['queued']} seed runs queued again")
    _changed(sweep, output)


@app.command()
def extend(
    context: typer.Context,
    sweep_id: SweepArgument,
    count: Annotated[int, typer.Argument(min=1, help="Seeds more in every configuration.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Add seeds to every configuration of a sweep."""
    with client_of(context) as client:
        sweep = client.extend(sweep_id, count)
    message(f"{sweep['queued']} seed runs added")
    _changed(sweep, output)


def _listed(sweep: dict[str, Any]) -> dict[str, Any]:
    progress = sweep["progress"]
    ended = progress["requested"] - progress["pending"] - progress["running"]
    shown = {key: sweep.get(key, progress.get(key)) for key in LIST_COLUMNS}
    return {**shown, "state": standing(sweep), "ended": ended}


def _changed(sweep: dict[str, Any], output: Output) -> None:
    print_object(sweep if output is Output.JSON else _listed(sweep), output)


def _follow(context: typer.Context, sweep_id: str, output: Output) -> None:
    from service.watching import watch_sweep

    with client_of(context) as client:
        sweep = watch_sweep(client, sweep_id)
        _print_success(sweep, client.success(sweep_id), output)
    if sweep["state"] != "finished":
        message(f"sweep {sweep_id} is {sweep['state']}")
        raise typer.Exit(1)


def _print_success(sweep: dict[str, Any], rows: list[dict[str, Any]], output: Output) -> None:
    from service.watching import print_success

    if output is Output.TABLE:
        print_success(sweep, rows)
    else:
        print_rows(rows, output)
