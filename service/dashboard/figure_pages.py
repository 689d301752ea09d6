"""The pages of figures: what there is, what a sweep can show, and one figure of a sweep."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from db import queries
from service.access import authorize
from service.api.figures import SweepIds
from service.dashboard.html import render
from service.dependencies import ConnectionDep
from service.figures.evidence import read_evidence
from service.figures.figure import Figure, Missing
from service.figures.files import SCHEMA, Format
from service.figures.registry import FIGURES, figure

#: Sweeps offered to draw from.
OFFERED = 100

router = APIRouter(
    include_in_schema=False,
    default_response_class=HTMLResponse,
    dependencies=[Depends(authorize)],
)


@router.get("/figures")
def figures_page(
    request: Request, conn: ConnectionDep, sweep: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Every figure, and of a sweep which of them it can show."""
    return _listed(request, conn, sweep)


@router.get("/sweeps/{sweep_id}/figures")
def sweep_figures_page(request: Request, conn: ConnectionDep, sweep_id: str) -> Response:
    """Which figures a sweep can show."""
    return _listed(request, conn, sweep_id)


@router.get("/sweeps/{sweep_id}/figures/{name}")
def figure_page(
    request: Request,
    conn: ConnectionDep,
    sweep_id: str,
    name: str,
    sweep: Annotated[SweepIds | None, Query(description="More sweeps, read as one.")] = None,
) -> Response:
    """One figure of a sweep."""
    entry = figure(name)
    ids = [sweep_id, *(sweep or [])]
    evidence = read_evidence(conn, ids)
    drawn: Figure | None = None
    missing = ""
    try:
        drawn = entry.draw(evidence)
    except Missing as lack:
        missing = str(lack)
    query = urlencode([("sweep", one) for one in ids])
    context = {
        "entry": entry,
        "sweep": evidence.sweeps[0],
        "figure": drawn,
        "missing": missing,
        # A table is shown as one; its drawing is for print.
        "chart": {"$schema": SCHEMA, **drawn.chart} if drawn and not drawn.only_table else None,
        "formats": list(Format),
        "address": f"/api/v1/figures/{entry.name}?{query}",
    }
    return render(request, "figure.html", context)


def _listed(request: Request, conn: ConnectionDep, sweep_id: str) -> Response:
    evidence = read_evidence(conn, [sweep_id]) if sweep_id else None
    context = {
        "sweep": evidence.sweeps[0] if evidence else None,
        "sweeps": queries.list_sweeps(conn, limit=OFFERED).items,
        "figures": [(one, one.missing(evidence) if evidence else None) for one in FIGURES.values()],
    }
    return render(request, "figures.html", context)
