"""The dashboard: HTML pages over the same named queries as the API. No SQL of its own."""

from importlib.resources import files
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from db import queries
from db.console import RELATIONS
from db.states import OPEN_SEEDS, UNENDED_SWEEPS, EventKind
from service.access import authorize
from service.dashboard import figure_pages, login, seed_parts, sweep_parts
from service.dashboard.examples import EXAMPLES
from service.dashboard.glossary import WORDS
from service.dashboard.html import STATIC, error_pages, render
from service.dependencies import ConnectionDep, SettingsDep
from service.outcomes import OUTCOMES
from service.task_examples import (
    COUNT,
    MAX_LENGTH,
    MAX_SEED,
    TaskSummary,
    WrongLength,
    detail,
    summaries,
)

SWEEPS_A_PAGE = 50
#: Kinds of server-sent events that make a sweep's page fetch its parts again.
EVENT_KINDS = (*EventKind, "progress", "end")

router = APIRouter(
    include_in_schema=False,
    default_response_class=HTMLResponse,
    dependencies=[Depends(authorize)],
)


def get_sweep(conn: ConnectionDep, sweep_id: str) -> dict[str, Any]:
    """The sweep a page is about."""
    return queries.sweep(conn, sweep_id)


Part = Literal["progress", "success", "curves", "carries", "failures", "seeds"]
SweepDep = Annotated[dict[str, Any], Depends(get_sweep)]


def chosen_configuration(
    conn: ConnectionDep,
    sweep: SweepDep,
    configuration: Annotated[str, Query(max_length=20)] = "",
) -> int | None:
    """The configuration a page is narrowed to; the filter's "all" sends an empty text.

    Raises:
        HTTPException: The sweep has no such configuration: a page of nothing would look like one
            of a configuration without seeds.
    """
    if not configuration:
        return None
    for row in queries.configurations(conn, sweep["id"]):
        if str(row["id"]) == configuration:
            return int(configuration)
    raise HTTPException(404, f"sweep {sweep['name']} has no configuration {configuration}")


Chosen = Annotated[int | None, Depends(chosen_configuration)]
Cursor = Annotated[str | None, Query(max_length=1000)]


@router.get("/")
def sweeps_page(request: Request, conn: ConnectionDep, cursor: Cursor = None) -> Response:
    """Every sweep, the newest first."""
    return render(request, "sweeps.html", _sweep_list(conn, cursor))


@router.get("/sweeps-list")
def sweeps_list(request: Request, conn: ConnectionDep, cursor: Cursor = None) -> Response:
    """The list alone, for its live refresh."""
    return render(request, "sweep/_list.html", _sweep_list(conn, cursor))


def _sweep_list(conn: ConnectionDep, cursor: str | None) -> dict[str, Any]:
    page = queries.list_sweeps(conn, cursor=cursor, limit=SWEEPS_A_PAGE)
    return {
        "sweeps": page.items,
        "next_cursor": page.next_cursor,
        "max_steps": {
            sweep["id"]: sweep_parts.mean_max_steps(conn, sweep)
            for sweep in page.items
            if sweep["running"]
        },
        "any_active": any(sweep["state"] in UNENDED_SWEEPS for sweep in page.items),
    }


@router.get("/sweeps/{sweep_id}")
def sweep_page(
    request: Request, conn: ConnectionDep, sweep: SweepDep, chosen: Chosen, cursor: Cursor = None
) -> Response:
    """One sweep: progress, fractions, curves, carries, failures, seeds."""
    context = (
        {"sweep": sweep, "active": sweep_parts.is_active(sweep), "event_kinds": EVENT_KINDS}
        | sweep_parts.progress_part(conn, sweep)
        | sweep_parts.success_part(conn, sweep)
        | sweep_parts.curves_part(conn, sweep, chosen, at_once=sweep_parts.CURVE_VALUES_AT_ONCE)
        | sweep_parts.carries_part(conn, sweep, chosen)
        | sweep_parts.failures_part(conn, sweep)
        | sweep_parts.seeds_part(conn, sweep, chosen, cursor)
    )
    return render(request, "sweep.html", context)


@router.get("/sweeps/{sweep_id}/{part}")
def sweep_part(
    request: Request, conn: ConnectionDep, sweep: SweepDep, part: Part, chosen: Chosen
) -> Response:
    """One part of a sweep's page as it is now."""
    found = {
        "progress": lambda: sweep_parts.progress_part(conn, sweep),
        "success": lambda: sweep_parts.success_part(conn, sweep),
        "curves": lambda: sweep_parts.curves_part(conn, sweep, chosen),
        "carries": lambda: sweep_parts.carries_part(conn, sweep, chosen),
        "failures": lambda: sweep_parts.failures_part(conn, sweep),
        "seeds": lambda: sweep_parts.seeds_part(conn, sweep, chosen, None),
    }[part]()
    context = {"sweep": sweep, "active": sweep_parts.is_active(sweep)} | found
    return render(request, f"sweep/_{part}.html", context)


@router.get("/seeds/{seed_run_id}")
def seed_page(request: Request, conn: ConnectionDep, seed_run_id: int) -> Response:
    """One seed run: its curves, errors by length and carry, provenance."""
    seed = queries.seed(conn, seed_run_id)
    sweep = queries.sweep(conn, seed["sweep_id"])
    context = (
        {"seed": seed, "sweep": sweep, "open": seed["state"] in OPEN_SEEDS}
        | seed_parts.curves_part(conn, seed, sweep)
        | seed_parts.lengths_part(conn, seed)
        | seed_parts.carries_part(conn, seed)
        | seed_parts.provenance_part(seed)
    )
    return render(request, "seed.html", context)


@router.get("/new")
def new_page(request: Request) -> Response:
    """A form with an example spec."""
    example = files("sweeps").joinpath("specs/demo.yaml").read_text(encoding="utf-8")
    return render(request, "new.html", {"example": example})


@router.get("/sql")
def sql_page(request: Request, settings: SettingsDep) -> Response:
    """An editor for one's own questions, with examples."""
    context = {"examples": EXAMPLES, "relations": RELATIONS, "seconds": settings.sql_seconds}
    return render(request, "sql.html", context)


@router.get("/tasks")
def tasks_page(request: Request) -> Response:
    """Every task with an example, by family."""
    families: dict[str, list[TaskSummary]] = {}
    for each in summaries():
        families.setdefault(each.family, []).append(each)
    return render(request, "tasks.html", {"families": families.items()})


@router.get("/tasks/{name}")
def task_page(
    request: Request,
    name: str,
    length: Annotated[int | None, Query(ge=1, le=MAX_LENGTH)] = None,
    seed: Annotated[int, Query(ge=0, le=MAX_SEED)] = 0,
) -> Response:
    """One task: problems of a length as people read them and as the network does."""
    try:
        shown, refusal = detail(name, length=length, count=COUNT, seed=seed), None
    except WrongLength as error:
        shown, refusal = detail(name, length=None, count=COUNT, seed=seed), str(error)
    context = {"task": shown, "refusal": refusal, "seed": seed, "max_length": MAX_LENGTH}
    return render(request, "task.html", context)


@router.get("/help")
def help_page(request: Request) -> Response:
    """The words, how to submit, how to read the table, SQL."""
    return render(request, "help.html", {"words": WORDS, "outcomes": OUTCOMES})


class _StaticFiles(StaticFiles):
    """Files named with their digest may be kept for good; the others are asked for again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        versioned = scope.get("query_string", b"").startswith(b"v=")
        kept = "public, max-age=31536000, immutable" if versioned else "no-cache"
        response.headers["Cache-Control"] = kept
        return response


def mount(app: FastAPI) -> None:
    """Add the pages and their static files to the app; after `problems.install`."""
    # Its addresses go before those of a sweep's parts.
    app.include_router(figure_pages.router)
    app.include_router(router)
    app.include_router(login.router)
    error_pages(app, login.login_address)
    app.mount("/static", _StaticFiles(directory=STATIC), name="static")
