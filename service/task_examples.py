"""Tasks with examples: what REST, `ngpu task` and the page /tasks show."""

from functools import cache

from pydantic import BaseModel, Field

from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import TASKS, Task, task
from ngpu_core.tasks.task import WrongLength

__all__ = ["Example", "TaskDetail", "TaskSummary", "WrongLength", "detail", "summaries"]

#: Examples shown of a task, the most of them, the longest one, the last seed.
COUNT = 3
MAX_COUNT = 100
MAX_LENGTH = 401
MAX_SEED = 2**31 - 1
#: Examples are of the first valid length from here on, unless one is asked for.
USUAL_LENGTH = 11


class Example(BaseModel):
    """One problem and its answer."""

    input: str = Field(description="As people read it, the most significant digit first.")
    output: str
    rows: list[list[int]] = Field(description="The symbols the network is given, row by row.")
    target: list[int] = Field(description="The symbols it is to answer; 0 pads.")


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
    length_step: int = Field(description="How far apart valid lengths are.")
    lengths: str = Field(description="The first valid lengths.", examples=["3, 5, 7, …"])
    example: Example


class TaskDetail(TaskSummary):
    """A problem generator with problems of one length."""

    length: int
    examples: list[Example]


@cache
def summaries() -> tuple[TaskSummary, ...]:
    """Every task, those of one family together."""
    return tuple(_summary(each) for each in TASKS.values())


def detail(name: str, *, length: int | None, count: int, seed: int) -> TaskDetail:
    """One task with drawn problems.

    Args:
        name: The task's.
        length: Of the problems, in symbols; None takes a short one.
        count: Problems.
        seed: Of the stream they are drawn from.

    Raises:
        UnknownTask: There is none of that name; the message names the nearest.
        WrongLength: It has no problems of that length; the message names the nearest.
    """
    found = task(name)
    size = length or _usual_length(found)
    shown = _examples(found, size, count, seed)
    return TaskDetail(**_summary(found).model_dump(), length=size, examples=shown)


def _summary(found: Task) -> TaskSummary:
    """The fields of a task and its first example."""
    first, step = found.minimum_length, found.length_step
    (example,) = _examples(found, _usual_length(found), 1, 0)
    return TaskSummary(
        name=found.name,
        description=found.description,
        family=found.family,
        base=found.base,
        rows=found.rows,
        input_symbols=found.input_symbols,
        output_symbols=found.output_symbols,
        minimum_length=first,
        length_step=step,
        lengths=f"{first}, {first + step}, {first + 2 * step}, …",
        example=example,
    )


def _usual_length(found: Task) -> int:
    steps = max(0, -(-(USUAL_LENGTH - found.minimum_length) // found.length_step))
    return found.minimum_length + steps * found.length_step


def _examples(found: Task, length: int, count: int, seed: int) -> list[Example]:
    """The first `count` problems of a seed; asking for more does not change them."""
    return [_example(found, length, seed, place) for place in range(count)]


def _example(found: Task, length: int, seed: int, place: int) -> Example:
    batch = found.sample(stream(seed, f"example {found.name} {length}", place), 1, length)
    inputs, target = batch.inputs[0], batch.targets[0]
    return Example(
        input=found.input_text(inputs, length),
        output=found.target_text(target, length),
        rows=inputs.tolist(),
        target=target.tolist(),
    )
