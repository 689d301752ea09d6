"""What a request handler may ask for: the settings, the engine, a connection to read with."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Connection, Engine

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


SettingsDep = Annotated[Settings, Depends(get_settings)]
EngineDep = Annotated[Engine, Depends(get_engine)]
#: Give the connection back before the response is sent: a slow reader holds no transaction.
ConnectionDep = Annotated[Connection, Depends(get_connection, scope="function")]
