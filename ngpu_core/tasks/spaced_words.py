"""Words of digits somewhere on a grid of four rows: write them as they are, or twice."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from ngpu_core.alphabet import DUP, SPACE, word_text
from ngpu_core.tasks import digits
from ngpu_core.tasks.arithmetic import LETTERS
from ngpu_core.tasks.digits import Widths
from ngpu_core.tasks.reading import written_part
from ngpu_core.tasks.spaced import GRID_ROWS, cut_out, place
from ngpu_core.tasks.task import Batch, Digits, Layout, Sampler, Symbols, Task

#: Smallest sizes of a problem: one digit; the mark and one digit.
_SMALLEST_COPY, _SMALLEST_DOUBLE = 1, 2


def sample_copies(
    base: int, generator: np.random.Generator, count: int, length: int, symbols: int
) -> Batch:
    """Words of size digits, to be written as they are."""
    sizes = generator.integers(_SMALLEST_COPY, length, size=count)
    words = _words(generator, base, sizes, length)
    return Batch(
        inputs=place(generator, words[:, None], sizes, length),
        targets=_filled(words, sizes).astype(np.int16),
    )


def sample_doubles(
    base: int, generator: np.random.Generator, count: int, length: int, symbols: int
) -> Batch:
    """A mark and size // 2 digits, to be written twice."""
    sizes = generator.integers(_SMALLEST_DOUBLE, length, size=count) // 2
    words = _words(generator, base, sizes, length)
    marked = np.concatenate([np.full((count, 1), DUP), words], axis=1)
    source = np.arange(length) % sizes[:, None]
    doubled = np.take_along_axis(words, source, axis=1)
    return Batch(
        inputs=place(generator, marked[:, None], sizes + 1, length),
        targets=_filled(doubled, 2 * sizes).astype(np.int16),
    )


def _words(generator: np.random.Generator, base: int, sizes: Widths, length: int) -> Digits:
    return digits.uniform(generator, base, sizes, length) + 1


def _filled(words: Digits, sizes: Widths) -> Digits:
    return np.where(np.arange(words.shape[1]) < sizes[:, None], words, SPACE)


def _read_word(base: int, row: Symbols) -> tuple[int, ...]:
    word = tuple(written_part(row, SPACE).tolist())
    wrong = [symbol for symbol in word if not 1 <= symbol <= base]
    if wrong:
        raise ValueError(f"symbol {wrong[0]} is no digit of base {base}: digits are 1..{base}")
    return word


def _read_copy(base: int, grid: Symbols) -> tuple[int, ...]:
    return _read_word(base, cut_out(grid)[0])


def _read_double(base: int, grid: Symbols) -> tuple[int, ...]:
    return _read_word(base, cut_out(grid)[0, 1:])


def _show_word(row: Symbols) -> str:
    return word_text(written_part(row, SPACE).tolist())


def _show_grid_word(grid: Symbols) -> str:
    return _show_word(cut_out(grid)[0])


def _task(
    name: str, base: int, description: str, smallest: int, layout: Layout, sampler: Sampler
) -> Task:
    return Task(
        name=name,
        description=description,
        family="spaced",
        base=base,
        operation=None,
        rows=GRID_ROWS,
        input_symbols=SPACE + 1,
        output_symbols=SPACE + 1,
        minimum_length=smallest + 1,
        layout=layout,
        sampler=sampler,
    )


def spaced_word_tasks() -> Iterator[Task]:
    """scopy and sdup with decimal digits, sbcopy and sbdup with binary ones."""
    for base in (10, 2):
        answer = partial(_read_word, base)
        copy = Layout(
            read=partial(_read_copy, base),
            read_target=answer,
            show=_show_grid_word,
            show_target=_show_word,
        )
        double = Layout(
            read=partial(_read_double, base),
            read_target=answer,
            show=_show_grid_word,
            show_target=_show_word,
        )
        yield _task(
            f"s{LETTERS[base]}copy",
            base,
            f"Write a word of base-{base} digits that stands anywhere on a grid.",
            _SMALLEST_COPY,
            copy,
            partial(sample_copies, base),
        )
        yield _task(
            f"s{LETTERS[base]}dup",
            base,
            f"Write a marked word of base-{base} digits that stands anywhere on a grid twice.",
            _SMALLEST_DOUBLE,
            double,
            partial(sample_doubles, base),
        )
