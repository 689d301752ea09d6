"""`/seeds/{id}`: one seed run, its curves, its errors by length."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from db import queries
from service.api.lists import whole
from service.api.parameters import BigId
from service.dependencies import ConnectionDep
from service.problems import responses
from service.schemas import CurvePoint, LengthEvaluation, Page, SeedRun
from service.tables import CSV_CONTENT, CsvDep

router = APIRouter(prefix="/seeds/{seed_run_id}", tags=["seeds"], responses=responses(404, 422))

SeedRunId = Annotated[BigId, Path(description="The seed_run_id of a seed result.")]


@router.get("")
def show_seed(seed_run_id: SeedRunId, conn: ConnectionDep) -> SeedRun:
    """One seed run: its result, its complete configuration, where and by which code it ran."""
    return SeedRun.model_validate(queries.seed(conn, seed_run_id))


@router.get("/curves", response_model=Page[CurvePoint], responses=CSV_CONTENT)
def seed_curves(
    seed_run_id: SeedRunId, conn: ConnectionDep, csv: CsvDep
) -> Page[CurvePoint] | Response:
    """Its learning curves, by kind, task, length and step."""
    queries.seed(conn, seed_run_id)
    return whole(CurvePoint, queries.seed_curves(conn, seed_run_id), csv=csv)


@router.get("/evaluations", response_model=Page[LengthEvaluation], responses=CSV_CONTENT)
def seed_evaluations(
    seed_run_id: SeedRunId, conn: ConnectionDep, csv: CsvDep
) -> Page[LengthEvaluation] | Response:
    """Its last test of each task and length, with raw counts."""
    queries.seed(conn, seed_run_id)
    return whole(LengthEvaluation, queries.evaluations_by_length(conn, seed_run_id), csv=csv)
