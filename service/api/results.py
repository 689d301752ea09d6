"""`/sweeps/{id}/…`: what a sweep found, from the views, as JSON or CSV."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection, Engine

from db import queries
from db.curve_pages import curve_page, curve_rows
from db.engine import reading
from db.states import SeedState
from service.api.lists import paged, streamed, whole
from service.api.parameters import BigId, Cursor, Limit, SweepId, TaskName
from service.dependencies import ConnectionDep
from service.problems import responses
from service.schemas import (
    CarryThreshold,
    CurvePoint,
    Failure,
    Page,
    ProbeError,
    SeedResult,
    SuccessFraction,
)
from service.tables import CSV_CONTENT, CsvDep

router = APIRouter(
    prefix="/sweeps/{sweep_id}",
    tags=["results"],
    responses={**CSV_CONTENT, **responses(400, 404, 422)},
)

#: JSON as a page of the route's `response_model`, CSV as a response of its own.
Answer: TypeAlias = Page[Any] | Response

ConfigurationFilter = Annotated[
    BigId | None, Query(description="A configuration_id: only this configuration.")
]


@router.get("/success", response_model=Page[SuccessFraction])
def success(sweep_id: SweepId, conn: ConnectionDep, csv: CsvDep) -> Answer:
    """Success fractions with interval and counts, a row a configuration."""
    queries.sweep(conn, sweep_id)
    return whole(SuccessFraction, queries.success(conn, sweep_id), csv=csv)


@router.get("/seeds", response_model=Page[SeedResult])
def seeds(
    sweep_id: SweepId,
    conn: ConnectionDep,
    csv: CsvDep,
    state: SeedState | None = None,
    configuration: ConfigurationFilter = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Answer:
    """Seed results, a row a seed run."""
    queries.sweep(conn, sweep_id)

    def fetch(conn: Connection, cursor: str | None, limit: int) -> queries.Page:
        return queries.seeds(
            conn,
            sweep_id,
            configuration_id=configuration,
            state=state,
            cursor=cursor,
            limit=limit,
        )

    return paged(SeedResult, fetch, conn, csv=csv, cursor=cursor, limit=limit)


@router.get("/curves", response_model=Page[CurvePoint])
def curves(
    sweep_id: SweepId,
    conn: ConnectionDep,
    csv: CsvDep,
    configuration: ConfigurationFilter = None,
    kind: Literal["training", "test"] | None = None,
    task: TaskName = None,
    length: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> Answer:
    """Learning curves, a row a seed run, kind, task, length and step."""
    queries.sweep(conn, sweep_id)
    if csv and cursor is None:
        chosen = [row["id"] for row in queries.configurations(conn, sweep_id)]
        if configuration is not None:
            chosen = [one for one in chosen if one == configuration]
        parts = _curves_of(
            conn.engine, sweep_id, sorted(chosen), kind=kind, task=task, length=length
        )
        return streamed(CurvePoint, parts)

    def fetch(conn: Connection, cursor: str | None, limit: int) -> queries.Page:
        return curve_page(
            conn,
            sweep_id,
            configuration_id=configuration,
            kind=kind,
            task=task,
            length=length,
            cursor=cursor,
            limit=limit,
        )

    return paged(CurvePoint, fetch, conn, csv=csv, cursor=cursor, limit=limit)


def _curves_of(
    engine: Engine, sweep_id: str, configurations: Sequence[int], **chosen: Any
) -> Iterator[Iterable[Any]]:
    """The curves of each configuration, in a transaction of its own."""
    for one in configurations:
        with reading(engine) as conn:
            yield curve_rows(conn, sweep_id, configuration_id=one, **chosen)


@router.get("/thresholds", response_model=Page[CarryThreshold])
def thresholds(sweep_id: SweepId, conn: ConnectionDep, csv: CsvDep) -> Answer:
    """Carry thresholds, a row a seed run and task."""
    queries.sweep(conn, sweep_id)
    return whole(CarryThreshold, queries.thresholds(conn, sweep_id), csv=csv)


@router.get("/probes", response_model=Page[ProbeError])
def probes(
    sweep_id: SweepId,
    conn: ConnectionDep,
    csv: CsvDep,
    configuration: ConfigurationFilter = None,
    task: TaskName = None,
    probe: TaskName = None,
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> Answer:
    """What seeds wrote where probes asked them, a row a seed run, task, probe and point."""
    queries.sweep(conn, sweep_id)

    def fetch(conn: Connection, cursor: str | None, limit: int) -> queries.Page:
        return queries.probes(
            conn,
            sweep_id,
            configuration_id=configuration,
            task=task,
            probe=probe,
            cursor=cursor,
            limit=limit,
        )

    return paged(ProbeError, fetch, conn, csv=csv, cursor=cursor, limit=limit)


@router.get("/failures", response_model=Page[Failure])
def failures(
    sweep_id: SweepId,
    conn: ConnectionDep,
    csv: CsvDep,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Answer:
    """Seed runs that failed, diverged or were cancelled, in this order."""
    queries.sweep(conn, sweep_id)

    def fetch(conn: Connection, cursor: str | None, limit: int) -> queries.Page:
        return queries.failures(conn, sweep_id, cursor=cursor, limit=limit)

    return paged(Failure, fetch, conn, csv=csv, cursor=cursor, limit=limit)
