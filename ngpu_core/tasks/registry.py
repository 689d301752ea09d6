"""Every task by its name."""

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import chain
from types import MappingProxyType

from ngpu_core.tasks.arithmetic import arithmetic_tasks, diagonal_tasks
from ngpu_core.tasks.binary_coded import binary_coded_tasks
from ngpu_core.tasks.expressions import expression_tasks
from ngpu_core.tasks.multiterm import multiterm_tasks
from ngpu_core.tasks.pairs import pair_tasks
from ngpu_core.tasks.sequences import sequence_tasks
from ngpu_core.tasks.spaced import spaced_tasks
from ngpu_core.tasks.spaced_words import spaced_word_tasks
from ngpu_core.tasks.task import Batch, Task

__all__ = ["Batch", "Task", "UnknownTask", "TASKS", "task", "valid_lengths"]


class UnknownTask(ValueError):
    """There is no task of that name."""

    def __init__(self, name: str) -> None:
        nearest = get_close_matches(name, TASKS, n=1, cutoff=0.0)[0]
        super().__init__(f"there is no task {name!r}: the nearest name is {nearest!r}")
        self.name = name
        self.nearest = nearest

    def __reduce__(self) -> tuple[type["UnknownTask"], tuple[str]]:
        return UnknownTask, (self.name,)


def _by_name() -> Mapping[str, Task]:
    tasks = chain(
        arithmetic_tasks(),
        spaced_tasks(),
        spaced_word_tasks(),
        multiterm_tasks(),
        expression_tasks(),
        sequence_tasks(),
        pair_tasks(),
        diagonal_tasks(),
        binary_coded_tasks(),
    )
    return MappingProxyType({task.name: task for task in tasks})


TASKS: Mapping[str, Task] = _by_name()


def task(name: str) -> Task:
    """Look a task up.

    Raises:
        UnknownTask: There is none; the message names the nearest.
    """
    if name not in TASKS:
        raise UnknownTask(name)
    return TASKS[name]


def valid_lengths(task: Task, low: int, high: int) -> list[int]:
    """The lengths in low..high, both included, at which the task has problems."""
    return [length for length in range(low, high + 1) if task.valid(length)]
