"""`ngpu token`: who may use the service. Over the record itself, so that there is a first one."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.context import settings_of
from service.printing import Output, OutputOption, message, print_rows

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer(help="Who may use the service.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Whose it is; names it in lists.")]


@app.command()
def create(
    context: typer.Context,
    name: NameArgument,
    role: Annotated[str, typer.Option(help="read, submit or admin.")] = "submit",
    file: Annotated[
        typer.FileText | None,
        typer.Option("--from", help="A file that holds the token: put it in force instead."),
    ] = None,
) -> None:
    """Make a token and print it, once: the record keeps a hash only."""
    from db.engine import writing
    from db.states import Role
    from db.tokens import adopt_token, create_token

    if role not in list(Role):
        raise typer.BadParameter(f"{role!r} is not one of {', '.join(Role)}")
    if file is not None:
        with writing(_engine(context)) as conn:
            new = adopt_token(conn, name, Role(role), file.read().strip())
        message(f"{name} may {role}" if new else "this token is in the record already")
        return
    with writing(_engine(context)) as conn:
        token = create_token(conn, name, Role(role))
    typer.echo(token)
    message(f"{name} may {role}. It is not shown again; use it as NGPU_TOKEN or --token.")


@app.command(name="list")
def list_(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the tokens: name, role, when made, last used and revoked."""
    from db.engine import reading
    from db.tokens import list_tokens

    with reading(_engine(context)) as conn:
        rows = list_tokens(conn)
    print_rows(rows, output, columns=("name", "role", "created_at", "used_at", "revoked_at"))


@app.command()
def revoke(context: typer.Context, name: NameArgument) -> None:
    """Take a token out of force, at once and for good."""
    from db.engine import writing
    from db.tokens import revoke_token

    with writing(_engine(context)) as conn:
        revoke_token(conn, name)
    message(f"{name} is revoked")


def _engine(context: typer.Context) -> "Engine":
    from db.engine import open_engine, upgrade

    settings = settings_of(context)
    engine = open_engine(settings.database_url)
    if settings.embedded:
        # The first token comes before the first start.
        settings.make_home()
        upgrade(engine)
    return engine
