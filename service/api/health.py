"""Whether the service lives, whether it can answer, and which code it is."""

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from db.engine import is_current
from service.dependencies import EngineDep
from service.problems import responses
from service.refusals import NotReady
from service.version import code_version

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Version(BaseModel):
    """Which code runs."""

    version: str


@router.get("/healthz")
def healthz() -> Health:
    """The process lives; says nothing about the record."""
    return Health()


@router.get("/readyz", responses=responses(503))
def readyz(engine: EngineDep) -> Health:
    """The record answers and has the schema this code expects."""
    try:
        current = is_current(engine)
    except SQLAlchemyError as error:
        raise NotReady("the database does not answer") from error
    if not current:
        raise NotReady("the database is not at the newest schema: run `ngpu db upgrade`")
    return Health()


@router.get("/version")
def version() -> Version:
    """Which code runs: `git describe`, or the package's version."""
    return Version(version=code_version())
