"""Probes: families of questions with a structure that random sequences hardly ever have.

A network that is right on all of 128 random products of 100 digits may write 2 × 2 wrong when
enough zeros stand before it (SPECS A.2, B.6, B.7). Each probe is a pure generator: the questions
at a point are fixed by (seed, probe, task, point). Loads no torch.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

import numpy as np

from ngpu_core.carries import CARRY_SAMPLES, carry_sample, curve_carry_lengths
from ngpu_core.config import RunConfig
from ngpu_core.evaluation.cofactors import cofactor_pairs
from ngpu_core.randomness import stream
from ngpu_core.tasks import digits
from ngpu_core.tasks.operands import swapped
from ngpu_core.tasks.registry import TASKS
from ngpu_core.tasks.task import Batch, Digits, Task

#: k: digits of each operand, unless the probe says otherwise; problems then have 2k + 1 symbols.
OPERAND_DIGITS = 100
#: Longest carry of the curves (SPECS B.6).
LONGEST_CARRY = 95
#: Random pairs asked, and pairs a length of equal digits.
RANDOM_PAIRS, EQUAL_DIGIT_PAIRS = 128, 32
#: Digits that are equal in a row.
RUN_LENGTHS = (1, 2, 3, 5, 10, 20, 33, 50, 100)
#: First length of the error by length, and the factor to the next (SPECS D).
FIRST_LENGTH, GROWTH = 7, (4, 3)
#: Symbols of a batch at most, and its sequences.
BLOCK_SYMBOLS, BLOCK_SEQUENCES = 2**17, 128
#: How tasks that keep leading zeros are written.
_WITH_ZEROS = ("padded", "aligned", "diagonal")

Pair = tuple[Digits, Digits]


class UnknownProbe(ValueError):
    """There is no probe of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.nearest = get_close_matches(name, PROBES, n=1, cutoff=0.0)[0]

    def __str__(self) -> str:
        return f"there is no probe {self.name!r}: the nearest name is {self.nearest!r}"


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
    for name in config.evaluation.probes:
        for task in (TASKS[name] for name in config.evaluation_tasks):
            if probe(name).fits(task):
                yield task, probe(name)


def asked_shapes(config: RunConfig) -> set[tuple[int, int]]:
    """(length, sequences) of the largest batches a configuration's probes ask; for memory plans."""
    return {
        (length, block_size(length))
        for task, one in probes_of(config)
        for point in one.points(task, config)
        for length in [one.length(task, point)]
    }


def block_size(length: int) -> int:
    """Sequences that are drawn and asked at once: fewer where they are long."""
    return max(1, min(BLOCK_SEQUENCES, BLOCK_SYMBOLS // length))


def written_length(operand_digits: int) -> int:
    """Symbols of a problem whose operands have that many digits."""
    return 2 * operand_digits + 1


def error_lengths(task: Task, limit: int) -> Iterator[int]:
    """7, then 4/3 of the last one, each the next at which the task has problems, up to `limit`."""
    valid = [length for length in range(FIRST_LENGTH, limit + 1) if task.valid(length)]
    wanted = FIRST_LENGTH
    while valid:
        wanted = min(wanted, valid[-1])
        length = next(length for length in valid if length >= wanted)
        yield length
        if length == valid[-1]:
            return
        wanted = max(length + 1, length * GROWTH[0] // GROWTH[1])


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


def _computes(operations: str, families: tuple[str, ...] = ()) -> Callable[[Task], bool]:
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


def _full_length(task: Task, point: Point) -> int:
    return written_length(OPERAND_DIGITS)


def _numbered(numbers: Callable[[Task], Iterator[tuple[int, str]]]) -> Points:
    def at(task: Task, config: RunConfig) -> Iterator[Point]:
        for number, label in numbers(task):
            yield Point(number=number, label=label)

    return at


def _one_pair(pair: Callable[[int, int], tuple[int, int]], width: Callable[[int], int]) -> Draw:
    """Ask one pair a point: (base, number) -> two numbers, swapped by a coin."""

    def draw(
        task: Task, config: RunConfig, generator: np.random.Generator, point: Point
    ) -> Iterator[Batch]:
        assert task.base is not None
        k = width(point.number)
        numbers = pair(task.base, point.number)
        first, second = (in_digits(number, task.base, k) for number in numbers)
        yield _pose(task, generator, *swapped(generator, first, second))

    return draw


def _pose(task: Task, generator: np.random.Generator, first: Digits, second: Digits) -> Batch:
    assert task.pose is not None
    return task.pose(generator, first, second, written_length(first.shape[1]))


# What each probe asks


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


def _digit_points(task: Task) -> Iterator[tuple[int, str]]:
    base = task.base or 0
    return ((base * a + b, f"{a}×{b}") for a in range(base) for b in range(base))


def _padded_digits(
    task: Task, config: RunConfig, generator: np.random.Generator, point: Point
) -> Iterator[Batch]:
    # Not swapped: 2×3 and 3×2 are two of the hundred.
    assert task.base is not None
    pair = divmod(point.number, task.base)
    first, second = (in_digits(digit, task.base, OPERAND_DIGITS) for digit in pair)
    yield _pose(task, generator, first, second)


def _power_points(task: Task) -> Iterator[tuple[int, str]]:
    rest = OPERAND_DIGITS
    return ((i, f"{task.base}^{i}×{task.base}^{rest - i}") for i in range(1, rest))


def _cofactor_points(task: Task) -> Iterator[tuple[int, str]]:
    pairs = cofactor_pairs(task.base or 0, OPERAND_DIGITS)
    return ((number, str(first)) for number, (first, _) in enumerate(pairs))


def _square_points(task: Task) -> Iterator[tuple[int, str]]:
    b = task.base
    return ((n, f"({b}^{n}-1)×({b}^{n}+1)") for n in range(1, OPERAND_DIGITS))


def _repunit_points(task: Task) -> Iterator[tuple[int, str]]:
    return ((ones, str(ones)) for ones in range(1, OPERAND_DIGITS + 1))


def _run_points(task: Task) -> Iterator[tuple[int, str]]:
    return ((run, str(run)) for run in RUN_LENGTHS)


def _equal_digits(
    task: Task, config: RunConfig, generator: np.random.Generator, point: Point
) -> Iterator[Batch]:
    first, second = (_runs(task, generator, point.number) for _ in range(2))
    yield _pose(task, generator, first, second)


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
    yield _pose(task, generator, first, second)


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
    sums, products = _computes("+"), _computes("*")
    for name, where in (("carries", "the lowest digits"), ("carries_offset", "a random place")):
        yield Probe(
            name=name,
            description=f"Sums of {OPERAND_DIGITS} digits with one carry through the number of "
            f"digits given, at {where}: {CARRY_SAMPLES} in which it happens, as many in which it "
            "nearly does.",
            unit="digits the carry runs through",
            asks="additions",
            fits=sums,
            length=_full_length,
            at=_numbered(_carry_points),
            draw=_carries(name == "carries_offset"),
        )
    yield Probe(
        name="padded_digits",
        description="All products of two single digits, with "
        f"{OPERAND_DIGITS - 1} zeros before each.",
        unit="base × first digit + second digit",
        asks="multiplications written with leading zeros",
        fits=_computes("*", _WITH_ZEROS),
        length=_full_length,
        at=_numbered(_digit_points),
        draw=_padded_digits,
    )
    yield from _structured_products(products)
    either = _computes("+*")
    yield Probe(
        name="equal_digits",
        description=f"{EQUAL_DIGIT_PAIRS} pairs of numbers of {OPERAND_DIGITS} digits, of which as "
        "many in a row are equal as given.",
        unit="equal digits in a row",
        asks="additions and multiplications",
        fits=either,
        length=_full_length,
        at=_numbered(_run_points),
        draw=_equal_digits,
    )
    yield Probe(
        name="random_pairs",
        description=f"{RANDOM_PAIRS} random pairs of {OPERAND_DIGITS} digits: what the other "
        "probes are to be held against.",
        unit="pairs",
        asks="additions and multiplications",
        fits=either,
        length=_full_length,
        at=_numbered(lambda task: iter([(RANDOM_PAIRS, "random")])),
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


def _structured_products(fits: Callable[[Task], bool]) -> Iterator[Probe]:
    """Products that are powers, powers less one, and of repunits: one pair a point."""
    k = OPERAND_DIGITS
    one_pair: dict[str, tuple[str, str, Points, Draw]] = {
        "powers": (
            f"b^i × b^({k} - i), whose product is b^{k}.",
            "i",
            _numbered(_power_points),
            _one_pair(lambda base, i: (base**i, base ** (k - i)), lambda _: k),
        ),
        "powers_less_one": (
            f"Cofactors whose product is b^{k} - 1, all those that cyclotomic factors give.",
            "place of the pair, by its smaller factor",
            _numbered(_cofactor_points),
            _one_pair(lambda base, number: cofactor_pairs(base, k)[number], lambda _: k),
        ),
        "squares_less_one": (
            "(b^n - 1) × (b^n + 1), whose product is b^2n - 1.",
            "n",
            _numbered(_square_points),
            _one_pair(lambda base, n: (base**n - 1, base**n + 1), lambda _: k),
        ),
    }
    for name, (description, unit, at, draw) in one_pair.items():
        yield Probe(
            name=name,
            description=description,
            unit=unit,
            asks="multiplications",
            fits=fits,
            length=_full_length,
            at=at,
            draw=draw,
        )
    yield Probe(
        name="repunits",
        description="1…1 × 1…1, at its own length.",
        unit="ones of each factor",
        asks="multiplications",
        fits=fits,
        length=lambda task, point: written_length(_repunit_width(point.number)),
        at=_numbered(_repunit_points),
        draw=_one_pair(lambda base, n: ((base**n - 1) // (base - 1),) * 2, _repunit_width),
    )


def _repunit_width(ones: int) -> int:
    return max(2, ones)  # a single digit is shorter than anything trained on


#: Every probe by its name.
PROBES: Mapping[str, Probe] = MappingProxyType({one.name: one for one in _probes()})
