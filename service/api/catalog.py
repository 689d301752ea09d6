"""What a spec may name: tasks with examples, families with their keys, the JSON Schema."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from ngpu_core.config import FAMILY_DEFAULTS, RunConfig, family_defaults
from service.problems import responses
from service.schemas import Page
from service.task_examples import (
    COUNT,
    MAX_COUNT,
    MAX_LENGTH,
    MAX_SEED,
    TaskDetail,
    TaskSummary,
    WrongLength,
    detail,
    summaries,
)
from sweeps.spec import spec_json_schema

router = APIRouter(tags=["catalog"])


class ModelFamily(BaseModel):
    """A kind of model: every key a spec may set, dotted, with its default."""

    name: str
    defaults: dict[str, Any]


@router.get("/tasks")
def list_tasks() -> Page[TaskSummary]:
    """Every task with an example as people read it."""
    return Page(items=list(summaries()), next_cursor=None)


@router.get("/tasks/{name}", responses=responses(404, 422))
def show_task(
    name: str,
    length: Annotated[
        int | None, Query(ge=1, le=MAX_LENGTH, description="Of the problems, in symbols.")
    ] = None,
    count: Annotated[int, Query(ge=1, le=MAX_COUNT, description="Problems.")] = COUNT,
    seed: Annotated[int, Query(ge=0, le=MAX_SEED, description="Another draws others.")] = 0,
) -> TaskDetail:
    """One task with problems and their answers, as people read them and as the network does."""
    try:
        return detail(name, length=length, count=count, seed=seed)
    except WrongLength as error:
        wrong = {"type": "value_error", "loc": ("query", "length"), "msg": str(error)}
        raise RequestValidationError([wrong]) from error


@router.get("/models")
def list_models() -> Page[ModelFamily]:
    """Every family with every key and its default."""
    families = [ModelFamily(name=name, defaults=_defaults(name)) for name in FAMILY_DEFAULTS]
    return Page(items=families, next_cursor=None)


@router.get("/schema/sweep")
def sweep_schema() -> dict[str, Any]:
    """The JSON Schema of a spec, for editors."""
    return spec_json_schema()


def _defaults(family: str) -> dict[str, Any]:
    plain = RunConfig().to_mapping()
    dotted = {f"{part}.{key}": value for part, keys in plain.items() for key, value in keys.items()}
    return dotted | {"model.family": family} | family_defaults(family, None)
