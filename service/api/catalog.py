"""What a spec may name: tasks with examples, families with their keys, the JSON Schema."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from ngpu_core.config import FAMILY_DEFAULTS, RunConfig, family_defaults
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import TASKS, Task, task
from service.problems import responses
from service.schemas import Page
from sweeps.spec import spec_json_schema

router = APIRouter(tags=["catalog"])

#: Examples shown of a task, and the longest one.
EXAMPLES = 5
MAX_EXAMPLE_LENGTH = 401


class TaskSummary(BaseModel):
    """A problem generator."""

    name: str
    description: str
    family: str
    base: int | None
    rows: int
    input_symbols: int
    output_symbols: int
    minimum_length: int


class Example(BaseModel):
    """One problem and its answer, the most significant digit first."""

    input: str
    output: str


class TaskDetail(TaskSummary):
    """A problem generator with problems of one length."""

    length: int
    examples: list[Example]


class ModelFamily(BaseModel):
    """A kind of model: every key a spec may set, dotted, with its default."""

    name: str
    defaults: dict[str, Any]


@router.get("/tasks")
def list_tasks() -> Page[TaskSummary]:
    """Every task."""
    return Page(items=[_summary(each) for each in TASKS.values()], next_cursor=None)


@router.get("/tasks/{name}", responses=responses(404, 422))
def show_task(
    name: str,
    length: Annotated[
        int | None, Query(ge=1, le=MAX_EXAMPLE_LENGTH, description="Of the examples, in symbols.")
    ] = None,
) -> TaskDetail:
    """One task with examples as people read them."""
    found = task(name)
    size = length or next(n for n in range(max(11, found.minimum_length), 99) if found.valid(n))
    try:
        found.require_length(size)
    except ValueError as error:
        wrong = {"type": "value_error", "loc": ("query", "length"), "msg": str(error)}
        raise RequestValidationError([wrong]) from error
    generator = stream(0, "example", size)
    pairs = [found.example(generator, size) for _ in range(EXAMPLES)]
    return TaskDetail(
        **_summary(found).model_dump(),
        length=size,
        examples=[Example(input=asked, output=answer) for asked, answer in pairs],
    )


@router.get("/models")
def list_models() -> Page[ModelFamily]:
    """Every family with every key and its default."""
    families = [ModelFamily(name=name, defaults=_defaults(name)) for name in FAMILY_DEFAULTS]
    return Page(items=families, next_cursor=None)


@router.get("/schema/sweep")
def sweep_schema() -> dict[str, Any]:
    """The JSON Schema of a spec, for editors."""
    return spec_json_schema()


def _summary(found: Task) -> TaskSummary:
    return TaskSummary(**{key: getattr(found, key) for key in TaskSummary.model_fields})


def _defaults(family: str) -> dict[str, Any]:
    plain = RunConfig().to_mapping()
    dotted = {f"{part}.{key}": value for part, keys in plain.items() for key, value in keys.items()}
    return dotted | {"model.family": family} | family_defaults(family, None)
