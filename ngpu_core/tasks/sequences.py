"""Words over the model's own alphabet: reverse, sort, repeat as it is, write twice.

Symbols are uniform over 1..symbols-1, so the task gets harder with the model's alphabet.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ngpu_core.alphabet import PAD, symbols_text
from ngpu_core.tasks.reading import written_part
from ngpu_core.tasks.task import Batch, Layout, Symbols, Task

#: (count, length) -> (count, length)
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


def _draw(generator: np.random.Generator, count: int, length: int, symbols: int) -> Symbols:
    return generator.integers(1, symbols, size=(count, length)).astype(np.int16)


def sample_rearranged(
    rearrange: Rearrange, generator: np.random.Generator, count: int, length: int, symbols: int
) -> Batch:
    """Words as long as the row."""
    words = _draw(generator, count, length, symbols)
    return Batch(inputs=words[:, None], targets=rearrange(words))


def sample_doubled(generator: np.random.Generator, count: int, length: int, symbols: int) -> Batch:
    """Words of length // 2 symbols, padded; the answer has them twice."""
    half = length // 2
    words = _draw(generator, count, half, symbols)
    inputs = np.pad(words, ((0, 0), (0, length - half)))
    targets = np.pad(np.tile(words, 2), ((0, 0), (0, length - 2 * half)))
    return Batch(inputs=inputs[:, None], targets=targets)


def read_word(row: Symbols) -> tuple[int, ...]:
    """The symbols of a word, padding behind left out."""
    word = tuple(written_part(row, PAD).tolist())
    if PAD in word:
        raise ValueError(f"a word has no holes: position {word.index(PAD)} is empty")
    return word


def _read(rows: Symbols) -> tuple[int, ...]:
    return read_word(rows[0])


def _show(rows: Symbols) -> str:
    return show_word(rows[0])


def show_word(row: Symbols) -> str:
    """The symbols' ids."""
    return symbols_text(written_part(row, PAD).tolist())


def sequence_tasks() -> Iterator[Task]:
    """rev, sort, id and dup."""
    reversing = partial(sample_rearranged, reverse)
    yield _task("rev", "Write a word backwards.", 1, reversing)
    yield _task("sort", "Sort the symbols of a word.", 1, partial(sample_rearranged, ascending))
    yield _task("id", "Write a word as it is.", 1, partial(sample_rearranged, unchanged))
    yield _task("dup", "Write a word of half the length twice.", 2, sample_doubled)


def _task(
    name: str,
    description: str,
    minimum_length: int,
    sampler: Callable[[np.random.Generator, int, int, int], Batch],
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
        minimum_length=minimum_length,
        odd_lengths=False,
        layout=Layout(read=_read, read_target=read_word, show=_show, show_target=show_word),
        sampler=sampler,
    )
