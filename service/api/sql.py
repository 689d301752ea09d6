"""`/sql`: a user's own read-only question to the record, as JSON or CSV."""

import math
from threading import BoundedSemaphore
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from db.console import MAX_ROWS, QueryResult, run_query
from service.dependencies import ConsoleDep
from service.problems import responses
from service.refusals import TooManyQueries
from service.tables import CSV_CONTENT, CSV_TYPE, CsvDep, csv_of_values

router = APIRouter(tags=["sql"])

#: Queries of one web process at once: each has a process of its own.
AT_ONCE = 4
#: Seconds a query waits for its turn.
PATIENCE_SECONDS = 2.0
_TURNS = BoundedSemaphore(AT_ONCE)

Integer = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
Double = Annotated[StrictFloat, Field(allow_inf_nan=False)]


class SqlQuestion(BaseModel):
    """One SELECT, and how much of its answer to give."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(
        min_length=1,
        max_length=100_000,
        examples=["SELECT seed, state FROM seed_results WHERE sweep = $1"],
    )
    #: What `$1`, `$2`, … in the query stand for.
    parameters: list[StrictBool | Integer | Double | StrictStr | None] = Field(
        default=[], max_length=100
    )
    limit: int = Field(default=1_000, ge=1, le=MAX_ROWS, description="Rows at most.")


class SqlColumn(BaseModel):
    """A column of the answer; SQLite types values, so there its type is that of the values."""

    name: str
    type: str = Field(examples=["integer"])


class SqlAnswer(BaseModel):
    """What a query gave."""

    columns: list[SqlColumn]
    rows: list[list[Any]]
    row_count: int
    #: Whether there were more rows than `limit`, or than an answer may hold.
    truncated: bool
    elapsed_seconds: float


@router.post(
    "/sql", response_model=SqlAnswer, responses={**CSV_CONTENT, **responses(413, 422, 503)}
)
def ask(question: SqlQuestion, console: ConsoleDep, csv: CsvDep) -> SqlAnswer | Response:
    """Ask the record in SQL, read only: the views `seed_results`, `success_fractions`, ….

    One SELECT, bounded in time, rows, bytes and memory.
    """
    if not _TURNS.acquire(timeout=PATIENCE_SECONDS):
        raise TooManyQueries
    try:
        result = run_query(
            console, question.query, parameters=question.parameters, max_rows=question.limit
        )
    finally:
        _TURNS.release()
    return _as_csv(result) if csv else _as_json(result)


def _as_json(result: QueryResult) -> SqlAnswer:
    named = zip(result.columns, result.types, strict=True)
    return SqlAnswer(
        columns=[SqlColumn(name=name, type=kind) for name, kind in named],
        rows=[[_finite(value) for value in row] for row in result.rows],
        row_count=len(result.rows),
        truncated=result.truncated,
        elapsed_seconds=round(result.seconds, 3),
    )


def _as_csv(result: QueryResult) -> Response:
    headers = {
        "Content-Disposition": 'attachment; filename="answer.csv"',
        "Row-Count": str(len(result.rows)),
        "Truncated": str(result.truncated).lower(),
    }
    text = csv_of_values(result.columns, result.rows)
    return Response(text, headers=headers, media_type=CSV_TYPE)


def _finite(value: Any) -> Any:
    """JSON has no word for what is not a finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
