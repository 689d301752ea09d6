"""What a request handler may ask for: settings, engine, a connection to read with, SQL console."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Connection, Engine

from db.console import Console, read_only
from db.engine import reading
from service.settings import Settings


def get_settings(request: Request) -> Settings:
    """The settings the app was made with."""
    return request.app.state.settings


def get_engine(request: Request) -> Engine:
    """The engine the lifespan opened."""
    return request.app.state.engine


def get_connection(request: Request) -> Iterator[Connection]:
    """A read transaction: one consistent view of the record for the whole request."""
    with reading(get_engine(request)) as connection:
        yield connection


def get_console(request: Request) -> Console:
    """Where users' own SQL is asked."""
    settings = get_settings(request)
    return read_only(
        settings.database_url, seconds=settings.sql_seconds, reader=settings.sql_database_url
    )


SettingsDep = Annotated[Settings, Depends(get_settings)]
EngineDep = Annotated[Engine, Depends(get_engine)]
ConsoleDep = Annotated[Console, Depends(get_console)]
#: Give the connection back before the response is sent: a slow reader holds no transaction.
ConnectionDep = Annotated[Connection, Depends(get_connection, scope="function")]
