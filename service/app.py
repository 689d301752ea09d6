"""The web process: REST API and dashboard over the record. It loads neither torch nor Ray."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI

from db.engine import open_engine, upgrade
from service import metrics, problems
from service.access import authorize
from service.api import (
    catalog,
    events,
    figures,
    health,
    logs,
    results,
    seeds,
    sql,
    sweeps,
    verification,
    weights,
)
from service.api.parameters import refuse_unknown
from service.body_limit import BodyLimit
from service.dashboard import pages
from service.headers import SecureHeaders
from service.rate import Rate
from service.settings import Settings
from service.version import code_version

API = "/api/v1"
DESCRIPTION = """Train every seed of a sweep, and say which configurations learn their algorithm.
Errors are application/problem+json (RFC 9457); lists are pages with an opaque cursor."""


def create_app(settings: Settings) -> FastAPI:
    """The app of one service; nothing is opened before its lifespan begins."""
    app = FastAPI(
        title="Neural GPU sweeps",
        description=DESCRIPTION,
        version=code_version(),
        lifespan=_lifespan,
        openapi_url=f"{API}/openapi.json",
        # The interactive pages fetch their scripts from outside; the schema itself is served.
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.settings = settings
    app.state.submits = Rate(settings.submits_per_minute)
    app.add_middleware(BodyLimit, exempt=f"{API}/sweeps")
    app.add_middleware(SecureHeaders)
    problems.install(app)
    app.include_router(_api())
    pages.mount(app)
    metrics.install(app)
    return app


def _api() -> APIRouter:
    # Every address may refuse a parameter it does not take.
    api = APIRouter(
        prefix=API,
        dependencies=[Depends(authorize), Depends(refuse_unknown)],
        responses=problems.responses(401, 403, 422),
    )
    parts = (
        sweeps,
        results,
        figures,
        verification,
        events,
        seeds,
        weights,
        logs,
        sql,
        catalog,
        health,
    )
    for part in parts:
        api.include_router(part.router)
    return api


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = open_engine(settings.database_url)
    if settings.embedded:
        settings.make_home()
        upgrade(engine)
    app.state.engine = engine
    app.state.metrics.watch(engine)
    yield
    engine.dispose()
