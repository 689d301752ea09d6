"""`ngpu serve`, `api`, `scheduler`, `demo`, `db upgrade`, `version`: the service's processes."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.context import settings_of
from service.printing import Output, OutputOption, message, print_object

db = typer.Typer(help="The record.", no_args_is_help=True)


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Run the API, the dashboard and the scheduler together."""
    from service.control.supervisor import serve as run

    settings = settings_of(context, host=host, port=port)
    message(f"{settings.server_url} · everything written is under {settings.home}")
    run(settings)


def api(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Run the API and the dashboard alone, beside a scheduler elsewhere."""
    from service.control.supervisor import serve_web

    settings = settings_of(context, host=host, port=port)
    message(settings.server_url)
    serve_web(settings)


def scheduler(context: typer.Context) -> None:
    """Run the scheduler alone, beside a web process elsewhere."""
    from service.control.scheduler import run

    run(settings_of(context))


def demo(
    context: typer.Context,
    exit_: Annotated[bool, typer.Option("--exit", help="End when the sweep has ended.")] = False,
    spec: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Another sweep to show.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a configuration.")] = None,
    new: Annotated[bool, typer.Option(help="Even if this home has trained it before.")] = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Start the service, train a small sweep, show which seeds learned their task."""
    from service.demo import run_demo

    text = spec.read_text() if spec else None
    settings = settings_of(context, port=port)
    raise typer.Exit(run_demo(settings, text, seeds=seeds, new=new, leave=exit_))


@db.command()
def upgrade(context: typer.Context) -> None:
    """Bring the record to the newest schema; safe to run again."""
    from db.engine import current_revision, open_engine
    from db.engine import upgrade as run

    settings = settings_of(context)
    settings.make_home()
    engine = open_engine(settings.database_url)
    run(engine)
    message(f"{engine.url.render_as_string()} is at revision {current_revision(engine)}")


def version(output: OutputOption = Output.TABLE) -> None:
    """Say which code this is."""
    from service.version import code_version

    if output is Output.TABLE:
        typer.echo(code_version())
    else:
        print_object({"version": code_version()}, output)
