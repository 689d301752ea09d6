"""`/figures`: every table and figure of the sources, drawn from sweeps."""

from typing import Annotated

from annotated_types import MaxLen, MinLen
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, StringConstraints

from db.engine import reading
from service.dependencies import ConnectionDep, EngineDep
from service.figures.evidence import read_evidence
from service.figures.files import MEDIA_TYPES, Format, written
from service.figures.registry import FIGURES, Entry, figure
from service.problems import responses
from service.schemas import Page

router = APIRouter(tags=["figures"])

#: Sweeps drawn as one at most.
MOST_SWEEPS = 20
SweepIds = Annotated[
    list[Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]],
    MinLen(1),
    MaxLen(MOST_SWEEPS),
]
FigureName = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]


class FigureSummary(BaseModel):
    """A table or figure, and whether some sweeps can show it."""

    name: str
    title: str
    source: str
    #: What a sweep must hold.
    needs: str
    #: What the sweeps asked about lack; null: nothing, or none was named.
    missing: str | None


@router.get("/figures", responses=responses(404, 422))
def list_figures(
    conn: ConnectionDep,
    sweep: Annotated[
        str | None,
        Query(
            max_length=64,
            pattern=r"^[0-9A-Za-z_-]+$",
            description="Say of each figure what this sweep lacks for it.",
        ),
    ] = None,
) -> Page[FigureSummary]:
    """Every figure: what it shows, where it is from, what it needs."""
    evidence = None if sweep is None else read_evidence(conn, [sweep])
    items = [
        _summary(one, None if evidence is None else one.missing(evidence))
        for one in FIGURES.values()
    ]
    return Page(items=items, next_cursor=None)


@router.get(
    "/figures/{name}",
    response_class=Response,
    responses={
        **responses(404, 409, 422),
        200: {
            "description": "The figure with its caption; as CSV the numbers behind it.",
            "content": {
                media: {"schema": {"type": "string", "format": "binary"}}
                for media in MEDIA_TYPES.values()
            },
        },
    },
)
def draw_figure(
    name: FigureName,
    engine: EngineDep,
    sweep: Annotated[SweepIds, Query(description="The sweeps; several are read as one.")],
    format: Annotated[Format, Query(description="`vega` is Vega-Lite.")] = Format.SVG,
) -> Response:
    """One figure drawn from sweeps, beside the published values."""
    entry = figure(name)
    with reading(engine) as conn:
        drawn = entry.draw(read_evidence(conn, sweep))
    # Printing takes a second: the transaction is over before.
    return Response(written(drawn, format), media_type=MEDIA_TYPES[format])


def _summary(one: Entry, missing: str | None) -> FigureSummary:
    return FigureSummary(
        name=one.name, title=one.title, source=one.source, needs=one.needs, missing=missing
    )
