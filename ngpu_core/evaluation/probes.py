"""Probes: families of questions with a structure that random sequences hardly ever have.

A network that is right on all of 128 random products of 100 digits may write 2 × 2 wrong when
enough zeros stand before it (SPECS A.2, B.6, B.7). Each probe is a pure generator: the questions
at a point are fixed by (seed, probe, task, point). Loads no torch.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from ngpu_core.carries import CARRY_SAMPLES, carry_sample, curve_carry_lengths
from ngpu_core.config import RunConfig
from ngpu_core.evaluation.probe import (
    OPERAND_DIGITS,
    Draw,
    Point,
    Probe,
    block_size,
    computes,
    full_length,
    numbered,
    pose,
)
from ngpu_core.evaluation.products import product_probes
from ngpu_core.tasks import digits
from ngpu_core.tasks.registry import task
from ngpu_core.tasks.task import Batch, Digits, Task

#: Longest carry of the curves (SPECS B.6).
LONGEST_CARRY = 95
#: Random pairs asked, and pairs a length of equal digits.
RANDOM_PAIRS, EQUAL_DIGIT_PAIRS = 128, 32
#: Digits that are equal in a row.
RUN_LENGTHS = (1, 2, 3, 5, 10, 20, 33, 50, 100)
#: First length of the error by length, and the factor to the next (SPECS D).
FIRST_LENGTH, GROWTH = 7, (4, 3)


class UnknownProbe(ValueError):
    """There is no probe of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.nearest = get_close_matches(name, PROBES, n=1, cutoff=0.0)[0]

    def __str__(self) -> str:
        return f"there is no probe {self.name!r}: the nearest name is {self.nearest!r}"


def probe(name: str) -> Probe:
    """Look a probe up.

    Raises:
        UnknownProbe: There is none; the message names the nearest.
    """
    if name not in PROBES:
        raise UnknownProbe(name)
    return PROBES[name]


def probes_of(config: RunConfig) -> Iterator[tuple[Task, Probe]]:
    """What a configuration asks after training: each probe with each task it fits."""
    for one in map(probe, config.evaluation.probes):
        for asked in map(task, config.evaluation_tasks):
            if one.fits(asked):
                yield asked, one


@lru_cache(maxsize=256)
def asked_shapes(config: RunConfig) -> frozenset[tuple[int, int]]:
    """(length, sequences) of the largest batches a configuration's probes ask; for memory plans."""
    lengths = {
        one.length(asked, point)
        for asked, one in probes_of(config)
        for point in one.points(asked, config)
    }
    return frozenset((length, block_size(length)) for length in lengths)


def error_lengths(task: Task, limit: int) -> Iterator[int]:
    """7, then 4/3 of the last one, each the next at which the task has problems, up to `limit`."""
    last = next(filter(task.valid, range(limit, FIRST_LENGTH - 1, -1)), None)
    wanted = FIRST_LENGTH
    while last is not None and wanted <= last:
        length = next(filter(task.valid, range(wanted, last + 1)))
        yield length
        grown = length * GROWTH[0] // GROWTH[1]
        wanted = max(length + 1, min(grown, last))


def _carries(random_offset: bool) -> Draw:
    def draw(
        task: Task, config: RunConfig, generator: np.random.Generator, point: Point
    ) -> Iterator[Batch]:
        for overflow in (False, True):
            yield carry_sample(
                task,
                generator,
                CARRY_SAMPLES,
                point.number,
                overflow,
                operand_digits=OPERAND_DIGITS,
                random_offset=random_offset,
            )

    return draw


def _carry_points(task: Task) -> Iterator[tuple[int, str]]:
    return ((carry, str(carry)) for carry in curve_carry_lengths(LONGEST_CARRY))


def _run_points(task: Task) -> Iterator[tuple[int, str]]:
    return ((run, str(run)) for run in RUN_LENGTHS)


def _equal_digits(
    task: Task, config: RunConfig, generator: np.random.Generator, point: Point
) -> Iterator[Batch]:
    first, second = (_runs(task, generator, point.number) for _ in range(2))
    yield pose(task, generator, first, second)


def _runs(task: Task, generator: np.random.Generator, length: int) -> Digits:
    """Numbers of runs of that many equal digits; the first run may be cut."""
    shape = (EQUAL_DIGIT_PAIRS, OPERAND_DIGITS // length + 2)
    runs = np.repeat(generator.integers(0, task.base, size=shape), length, axis=1)
    start = generator.integers(0, length, size=(EQUAL_DIGIT_PAIRS, 1))
    if length >= OPERAND_DIGITS:
        start[:] = 0
    return np.take_along_axis(runs, start + np.arange(OPERAND_DIGITS), axis=1)


def _random_pairs(
    task: Task, config: RunConfig, generator: np.random.Generator, point: Point
) -> Iterator[Batch]:
    widths = np.full(point.number, OPERAND_DIGITS)
    first, second = (
        digits.uniform(generator, task.base or 0, widths, OPERAND_DIGITS) for _ in range(2)
    )
    yield pose(task, generator, first, second)


def _length_points(task: Task, config: RunConfig) -> Iterator[Point]:
    for length in error_lengths(task, config.evaluation.length_limit):
        yield Point(number=length, label=str(length))


def _lengths(
    task: Task, config: RunConfig, generator: np.random.Generator, point: Point
) -> Iterator[Batch]:
    left, block = config.evaluation.length_sequences, block_size(point.number)
    symbols = min(config.model.input_symbols, config.model.output_symbols)
    while left > 0:
        yield task.sample(generator, min(left, block), point.number, symbols=symbols)
        left -= block


def _probes() -> Iterator[Probe]:
    for name, where in (("carries", "the lowest digits"), ("carries_offset", "a random place")):
        yield Probe(
            name=name,
            description=f"Sums of {OPERAND_DIGITS} digits with one carry through the number of "
            f"digits given, at {where}: {CARRY_SAMPLES} in which it happens, as many in which it "
            "nearly does.",
            unit="digits the carry runs through",
            asks="additions",
            fits=computes("+"),
            length=full_length,
            at=numbered(_carry_points),
            draw=_carries(name == "carries_offset"),
        )
    yield from product_probes()
    either = computes("+*")
    yield Probe(
        name="equal_digits",
        description=f"{EQUAL_DIGIT_PAIRS} pairs of numbers of {OPERAND_DIGITS} digits, of which as "
        "many in a row are equal as given.",
        unit="equal digits in a row",
        asks="additions and multiplications",
        fits=either,
        length=full_length,
        at=numbered(_run_points),
        draw=_equal_digits,
    )
    yield Probe(
        name="random_pairs",
        description=f"{RANDOM_PAIRS} random pairs of {OPERAND_DIGITS} digits: what the other "
        "probes are to be held against.",
        unit="pairs",
        asks="additions and multiplications",
        fits=either,
        length=full_length,
        at=numbered(lambda task: iter([(RANDOM_PAIRS, "random")])),
        draw=_random_pairs,
    )
    yield Probe(
        name="lengths",
        description="Fresh sequences by length, each length 4/3 of the last one.",
        unit="symbols",
        asks="any task",
        fits=lambda task: True,
        length=lambda task, point: point.number,
        at=_length_points,
        draw=_lengths,
    )


#: Every probe by its name.
PROBES: Mapping[str, Probe] = MappingProxyType({one.name: one for one in _probes()})
