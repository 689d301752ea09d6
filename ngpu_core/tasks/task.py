"""A task: a family of problems with one right answer each, drawn at a given length."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ngpu_core.alphabet import SYMBOLS

Symbols = npt.NDArray[np.int16]
Digits = npt.NDArray[np.int64]
#: What a problem asks: its numbers, the symbols of its word, or an expression as people write it.
Question = tuple[int, ...] | str
#: What an answer says: a number, or the symbols of a word.
Value = int | tuple[int, ...]


class WrongLength(ValueError):
    """A task has no problems of that length; the message names the nearest that it has."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Problems of one length with their answers; symbol 0 pads both."""

    #: (count, rows, length)
    inputs: Symbols
    #: (count, length)
    targets: Symbols


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one task's problems stand in the rows, and how to read them back.

    All functions take the cells of a single problem, cut to its length.
    """

    #: (rows, length) -> what is asked.
    read: Callable[[Symbols], Question]
    #: (length,) -> the answer. Raises ValueError where the symbols are no answer of this task.
    read_target: Callable[[Symbols], Value]
    #: (rows, length) -> text for people.
    show: Callable[[Symbols], str]
    #: (length,) -> text for people, of whatever a network wrote.
    show_target: Callable[[Symbols], str]


#: (generator, count, length, symbols) -> batch
Sampler = Callable[[np.random.Generator, int, int, int], Batch]
#: (generator, first operand, second operand, length) -> batch; operands (count, k), low digit first
Pose = Callable[[np.random.Generator, Digits, Digits, int], Batch]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A named problem generator with its decoder."""

    name: str
    description: str
    #: padded, unpadded, aligned, spaced, spaced_aligned, multiterm, expression, sequence, pairs,
    #: diagonal or binary_coded
    family: str
    #: Base of the numbers; None where there are none.
    base: int | None
    #: `+` or `*` where two numbers are added or multiplied; None elsewhere.
    operation: str | None
    #: Input rows used.
    rows: int
    #: Smallest alphabets, symbol 0 included, that hold the inputs and the targets. Tasks whose
    #: symbols are the model's own (families sequence and pairs) give the minimum, 2.
    input_symbols: int
    output_symbols: int
    #: The smallest valid length, and how far apart the valid lengths are: 2 for odd ones only.
    minimum_length: int
    length_step: int = 1
    #: Cells of a row that a digit takes: 4 in binary-coded decimal.
    digit_cells: int = 1
    layout: Layout
    sampler: Sampler
    #: Write given operands down instead of drawn ones; None where the task has no numbers.
    pose: Pose | None = None

    def valid(self, length: int) -> bool:
        """Whether problems of this length exist."""
        above = length - self.minimum_length
        return above >= 0 and above % self.length_step == 0

    def sample(
        self, generator: np.random.Generator, count: int, length: int, *, symbols: int = SYMBOLS
    ) -> Batch:
        """Draw problems.

        Args:
            generator: the stream to draw from; equal streams give equal batches.
            count: problems.
            length: columns, in symbols.
            symbols: the model's alphabet, symbol 0 included. Only tasks whose symbols are the
                model's own look at it.

        Returns:
            inputs (count, rows, length) and targets (count, length).

        Raises:
            WrongLength: There is no problem of that length.
            ValueError: A negative count, or fewer than two symbols.
        """
        self.require_length(length)
        if count < 0:
            raise ValueError(f"count is {count}: must not be negative")
        if symbols < 2:
            raise ValueError(f"symbols is {symbols}: must be at least 2, the pad and one other")
        return self.sampler(generator, count, length, symbols)

    def require_length(self, length: int) -> None:
        """Refuse a length without problems, naming the nearest ones that have some."""
        if self.valid(length):
            return
        below = length - (length - self.minimum_length) % self.length_step
        near = [n for n in (below, below + self.length_step) if self.valid(n)] or [self.shortest]
        names = " or ".join(str(n) for n in near)
        raise WrongLength(f"length {length} is not valid for task {self.name}: nearest is {names}")

    @property
    def shortest(self) -> int:
        """The smallest valid length."""
        return self.minimum_length

    def length_of(self, digits: int) -> int:
        """The shortest row that holds two operands of that many digits and the operator."""
        return 2 * digits * self.digit_cells + 1

    def decode(self, inputs: npt.NDArray[Any], length: int) -> Question:
        """Read one problem, (rows, at least length) symbols, back."""
        return self.layout.read(inputs[: self.rows, :length].astype(np.int16))

    def decode_target(self, targets: npt.NDArray[Any], length: int) -> Value:
        """Read one answer, (at least length,) symbols, back.

        Raises:
            ValueError: The symbols are not written as an answer of this task is.
        """
        return self.layout.read_target(targets[:length].astype(np.int16))

    def input_text(self, inputs: npt.NDArray[Any], length: int) -> str:
        """One problem as people read it: numbers with the most significant digit first."""
        return self.layout.show(inputs[: self.rows, :length].astype(np.int16))

    def target_text(self, targets: npt.NDArray[Any], length: int) -> str:
        """One answer, right or wrong, as people read it."""
        return self.layout.show_target(targets[:length].astype(np.int16))

    def example(self, generator: np.random.Generator, length: int) -> tuple[str, str]:
        """Draw one problem and give (input text, output text) as people read them."""
        batch = self.sample(generator, 1, length)
        return self.input_text(batch.inputs[0], length), self.target_text(batch.targets[0], length)
