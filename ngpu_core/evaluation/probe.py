"""What a probe is: points, and for each point questions that are a pure function of the seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ngpu_core.config import RunConfig
from ngpu_core.randomness import stream
from ngpu_core.tasks.task import Batch, Digits, Task

#: k: digits of each operand, unless the probe says otherwise; problems then have 2k + 1 symbols.
OPERAND_DIGITS = 100
#: Symbols of a batch at most, and its sequences.
BLOCK_SYMBOLS, BLOCK_SEQUENCES = 2**17, 128


class UnfitProbe(ValueError):
    """A probe does not fit a task."""

    def __init__(self, probe: str, task: str, asks: str) -> None:
        super().__init__(probe, task, asks)

    def __str__(self) -> str:
        probe, task, asks = self.args
        return f"probe {probe} does not fit task {task}: it asks {asks}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One place at which a probe asks."""

    #: Unique within the probe: the carry's length, the factor's index, …
    number: int
    #: The same as people read it.
    label: str


#: (task, config) -> where to ask
Points = Callable[[Task, RunConfig], Iterator[Point]]
#: (task, config, generator, point) -> questions, in blocks of bounded size
Draw = Callable[[Task, RunConfig, np.random.Generator, Point], Iterator[Batch]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """A named family of structured questions."""

    name: str
    description: str
    #: What a point's number counts.
    unit: str
    #: What tasks it asks, completing "it asks …".
    asks: str
    fits: Callable[[Task], bool]
    #: Symbols of the problems at a point.
    length: Callable[[Task, Point], int]
    at: Points
    draw: Draw

    def points(self, task: Task, config: RunConfig) -> list[Point]:
        """Where it asks.

        Raises:
            UnfitProbe: It does not fit the task.
        """
        self.require(task)
        return list(self.at(task, config))

    def questions(self, task: Task, config: RunConfig, seed: int, point: Point) -> Iterator[Batch]:
        """The questions at one of its points, in blocks; equal seeds are asked the same.

        Raises:
            UnfitProbe: It does not fit the task.
        """
        self.require(task)
        generator = stream(seed, f"probe:{self.name}:{task.name}:{point.number}")
        return self.draw(task, config, generator, point)

    def all_questions(
        self, task: Task, config: RunConfig, seed: int
    ) -> Iterator[tuple[Point, Batch]]:
        """The questions at every point, in blocks.

        Raises:
            UnfitProbe: It does not fit the task.
        """
        for point in self.points(task, config):
            for block in self.questions(task, config, seed, point):
                yield point, block

    def require(self, task: Task) -> None:
        """Refuse a task that it does not fit."""
        if not self.fits(task):
            raise UnfitProbe(self.name, task.name, self.asks)


def block_size(length: int) -> int:
    """Sequences that are drawn and asked at once: fewer where they are long."""
    return max(1, min(BLOCK_SEQUENCES, BLOCK_SYMBOLS // length))


def written_length(operand_digits: int) -> int:
    """Symbols of a problem whose operands have that many digits."""
    return 2 * operand_digits + 1


def in_digits(number: int, base: int, width: int) -> Digits:
    """One number as (1, width) digits, the last one first.

    Raises:
        OverflowError: It has more digits than that.
    """
    found = []
    for _ in range(width):
        number, digit = divmod(number, base)
        found.append(digit)
    if number:
        raise OverflowError(f"a number has more than {width} digits in base {base}")
    return np.array([found], np.int64)


def computes(operations: str, families: tuple[str, ...] = ()) -> Callable[[Task], bool]:
    """Whether a task writes down two given numbers and asks for one of these operations."""

    def fits(task: Task) -> bool:
        return (
            task.operation is not None
            and task.operation in operations
            and task.pose is not None
            and task.base is not None
            and (not families or task.family in families)
        )

    return fits


def full_length(task: Task, point: Point) -> int:
    """Symbols of a problem with operands of `OPERAND_DIGITS`."""
    return written_length(OPERAND_DIGITS)


def numbered(numbers: Callable[[Task], Iterator[tuple[int, str]]]) -> Points:
    """Points from their numbers and labels."""

    def at(task: Task, config: RunConfig) -> Iterator[Point]:
        for number, label in numbers(task):
            yield Point(number=number, label=label)

    return at


def pose(task: Task, generator: np.random.Generator, first: Digits, second: Digits) -> Batch:
    """Two operands as the task writes them, as short as they go."""
    assert task.pose is not None
    return task.pose(generator, first, second, written_length(first.shape[1]))
