"""Words over the model's own alphabet: reverse, sort, shift, add one, write twice, pick an end.

Symbols are uniform over 1..symbols-1, so the task gets harder with the model's alphabet.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ngpu_core.alphabet import PAD, symbols_text
from ngpu_core.tasks.reading import written_part
from ngpu_core.tasks.task import Batch, Layout, Sampler, Symbols, Task

#: (count, length) words -> (count, length or fewer) answers
Rearrange = Callable[[Symbols], Symbols]


def reverse(words: Symbols) -> Symbols:
    """Last symbol first."""
    return np.ascontiguousarray(words[:, ::-1])


def ascending(words: Symbols) -> Symbols:
    """Smallest symbol first."""
    return np.sort(words, axis=1)


def unchanged(words: Symbols) -> Symbols:
    """The same word."""
    return words.copy()


def leftmost(words: Symbols) -> Symbols:
    """The first symbol alone."""
    return words[:, :1]


def rightmost(words: Symbols) -> Symbols:
    """The last symbol alone."""
    return words[:, -1:]


def from_the_left(words: Symbols) -> Symbols:
    """Every cell what its left neighbour was, the first what the last was: `left-shift`."""
    return np.roll(words, 1, axis=1)


def from_the_right(words: Symbols) -> Symbols:
    """Every cell what its right neighbour was, the last what the first was: `right-shift`.

    The reference reads past the end of the word here and cannot draw any problem; this closes the
    circle as its `left-shift` does.
    """
    return np.roll(words, -1, axis=1)


def incremented(words: Symbols, symbols: int) -> Symbols:
    """One more, words being numbers with the lowest digit first, symbols 1.. their digits 0.. .

    The number of only highest digits becomes 0.
    """
    highest = words == symbols - 1
    carried = np.ones(words.shape, dtype=np.bool_)
    carried[:, 1:] = np.logical_and.accumulate(highest, axis=1)[:, :-1]
    return np.where(carried, np.where(highest, 1, words + 1), words).astype(np.int16)


def draw_words(generator: np.random.Generator, count: int, length: int, symbols: int) -> Symbols:
    """Words of uniform symbols, (count, length)."""
    return generator.integers(1, symbols, size=(count, length)).astype(np.int16)


def sample_rearranged(
    rearrange: Rearrange, generator: np.random.Generator, count: int, length: int, symbols: int
) -> Batch:
    """Words as long as the row; pads follow an answer that is shorter."""
    words = draw_words(generator, count, length, symbols)
    answers = rearrange(words)
    targets = np.zeros_like(words)
    targets[:, : answers.shape[1]] = answers
    return Batch(inputs=words[:, None], targets=targets)


def sample_incremented(
    generator: np.random.Generator, count: int, length: int, symbols: int
) -> Batch:
    """Numbers in base symbols - 1, as long as the row."""
    words = draw_words(generator, count, length, symbols)
    return Batch(inputs=words[:, None], targets=incremented(words, symbols))


def sample_doubled(generator: np.random.Generator, count: int, length: int, symbols: int) -> Batch:
    """Words of length // 2 symbols, padded; the answer has them twice."""
    half = length // 2
    words = draw_words(generator, count, half, symbols)
    inputs = np.pad(words, ((0, 0), (0, length - half)))
    targets = np.pad(np.tile(words, 2), ((0, 0), (0, length - 2 * half)))
    return Batch(inputs=inputs[:, None], targets=targets)


def read_word(row: Symbols) -> tuple[int, ...]:
    """The symbols of a word, padding behind left out."""
    word = tuple(written_part(row, PAD).tolist())
    if PAD in word:
        raise ValueError(f"a word has no holes: position {word.index(PAD)} is empty")
    return word


def read_word_row(rows: Symbols) -> tuple[int, ...]:
    """The word of a problem in one row."""
    return read_word(rows[0])


def show_word(row: Symbols) -> str:
    """The symbols' ids."""
    return symbols_text(written_part(row, PAD).tolist())


def _show(rows: Symbols) -> str:
    return show_word(rows[0])


def _show_number(row: Symbols) -> str:
    """Digits, the highest first, separated by blanks: a base of 32 has no letters for them."""
    return " ".join("_" if cell == PAD else str(cell - 1) for cell in row[::-1].tolist())


def _show_increment(rows: Symbols) -> str:
    return f"{_show_number(rows[0])} + 1"


_WORDS = Layout(read=read_word_row, read_target=read_word, show=_show, show_target=show_word)
_NUMBERS = Layout(
    read=read_word_row,
    read_target=read_word,
    show=_show_increment,
    show_target=_show_number,
)
#: Name, what it does to a word, how that is said.
_REARRANGED: tuple[tuple[str, Rearrange, str], ...] = (
    ("rev", reverse, "Write a word backwards."),
    ("sort", ascending, "Sort the symbols of a word."),
    ("id", unchanged, "Write a word as it is."),
    ("left", leftmost, "Write the first symbol of a word."),
    ("right", rightmost, "Write the last symbol of a word."),
    ("left-shift", from_the_left, "Give every cell its left neighbour's symbol, in a circle."),
    ("right-shift", from_the_right, "Give every cell its right neighbour's symbol, in a circle."),
)


def sequence_tasks() -> Iterator[Task]:
    """rev, sort, id, left, right, left-shift, right-shift, dup and incr."""
    for name, rearrange, description in _REARRANGED:
        yield _task(name, description, 1, partial(sample_rearranged, rearrange))
    yield _task("dup", "Write a word of half the length twice.", 2, sample_doubled)
    yield _task("incr", "Add one to a number in base symbols - 1.", 1, sample_incremented, _NUMBERS)


def _task(
    name: str, description: str, shortest: int, sampler: Sampler, layout: Layout = _WORDS
) -> Task:
    return Task(
        name=name,
        description=description,
        family="sequence",
        base=None,
        operation=None,
        rows=1,
        input_symbols=2,
        output_symbols=2,
        minimum_length=shortest,
        layout=layout,
        sampler=sampler,
    )
