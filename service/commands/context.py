"""What every command starts from: the settings, with the flags given before its name on top."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from service.client import Client
    from service.settings import Settings


def settings_of(context: typer.Context, **flags: Any) -> "Settings":
    """The settings of this command; a flag that was not given (None) changes nothing."""
    from service.settings import Settings

    given = {**(context.obj or {}), **flags}
    return Settings(**{key: value for key, value in given.items() if value is not None})


def client_of(context: typer.Context) -> "Client":
    """A client of the service the settings name."""
    from service.client import Client

    settings = settings_of(context)
    return Client(settings.server_url, token=settings.token)
