"""`ngpu`: the command line. Results go to stdout, messages to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the service.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from service.commands import (
    backup,
    checkpoints,
    processes,
    queries,
    seeds,
    sweeps,
    tasks,
    tokens,
    verification,
)
from service.commands.bundle import bundle
from service.commands.doctor import doctor
from service.commands.figures import figure
from service.commands.probe import ensemble, probe, probes
from service.commands.trace import trace
from service.commands.train import train
from service.printing import message

FAILED, USAGE, REFUSED = 1, 2, 3

app = typer.Typer(
    name="ngpu",
    help="Train every seed of a sweep, and say which configurations learn their algorithm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(processes.serve)
app.command()(processes.api)
app.command()(processes.scheduler)
app.command()(processes.demo)
processes.db.command("backup")(backup.backup)
processes.db.command("restore")(backup.restore)
app.add_typer(processes.db, name="db")
sweeps.app.command()(verification.verify)
sweeps.app.command()(bundle)
app.add_typer(sweeps.app, name="sweep")
app.add_typer(seeds.app, name="seed")
app.add_typer(tasks.app, name="task")
app.add_typer(checkpoints.app, name="checkpoints")
app.add_typer(tokens.app, name="token")
app.command()(figure)
app.command()(train)
app.command()(probe)
app.command()(probes)
app.command()(ensemble)
app.command()(trace)
app.command()(queries.sql)
app.command()(doctor)
app.command()(processes.version)


@app.callback()
def settings(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Folder everything is written under.")] = None,
    database_url: Annotated[str | None, typer.Option(help="SQLite or PostgreSQL.")] = None,
    server_url: Annotated[str | None, typer.Option(help="Where the service is.")] = None,
    token: Annotated[str | None, typer.Option(help="What the service asks for.")] = None,
) -> None:
    """Flags win over NGPU_* variables, these over ngpu.toml."""
    context.obj = {
        "home": home,
        "database_url": database_url,
        "server_url": server_url,
        "token": token,
    }


def main() -> None:
    """Run the command line; every expected failure is one message and an exit code."""
    try:
        app()
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
        sys.exit(code)


def _explain(error: Exception) -> int | None:
    """Say what went wrong; None for what nobody expected, which shows its traceback."""
    # Only a failure pays for these imports.
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError

    from db.errors import RecordError
    from service.client import ServiceRefused, ServiceUnreachable, WrongDigest
    from service.weights import WeightsError

    if isinstance(error, ServiceRefused):
        _explain_refusal(error)
        return REFUSED
    if isinstance(error, ValidationError) and error.title == "Settings":
        for one in error.errors():
            message(f"setting {'.'.join(map(str, one['loc']))}: {one['msg']}")
        return USAGE
    if isinstance(error, DBAPIError):
        message(f"the record did not answer: {error.orig}")
        return FAILED
    if isinstance(error, ServiceUnreachable | WrongDigest | WeightsError | RecordError | OSError):
        message(str(error))
        return FAILED
    return None


def _explain_refusal(error: Exception) -> None:
    from service.client import ServiceRefused

    assert isinstance(error, ServiceRefused)
    in_short = "the spec is not right" if error.about_spec else "the request is not right"
    message(f"refused ({error.status}): {in_short if error.problems else error}")
    for one in error.problems:
        hint = f" (did you mean {one['nearest']}?)" if one.get("nearest") else ""
        message(f"  {one['path'] or 'the document'}: {one['message']}{hint}")


if __name__ == "__main__":
    main()
