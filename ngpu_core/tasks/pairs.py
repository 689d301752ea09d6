"""Words of pairs, two cells each: write the pairs backwards, sort them by key, find a key's value.

Keys and values are uniform over the model's own alphabet, 1..symbols-1. The reference draws l pairs
where it means l // 2 in `search`; the problems are the same, at lengths 2l + 1.
"""

from collections.abc import Iterator

import numpy as np

from ngpu_core.alphabet import PAD
from ngpu_core.tasks.reading import written_part
from ngpu_core.tasks.sequences import draw_words, read_word, read_word_row, show_word
from ngpu_core.tasks.task import Batch, Layout, Sampler, Symbols, Task


def sample_reversed(generator: np.random.Generator, count: int, length: int, symbols: int) -> Batch:
    """The last pair first, each as it is."""
    words = draw_words(generator, count, length, symbols)
    turned = words.reshape(count, length // 2, 2)[:, ::-1]
    return Batch(inputs=words[:, None], targets=turned.reshape(count, length))


def sample_sorted(generator: np.random.Generator, count: int, length: int, symbols: int) -> Batch:
    """Pairs by ascending key; those of one key stay in their order."""
    words = draw_words(generator, count, length, symbols)
    pairs = words.reshape(count, length // 2, 2)
    order = np.argsort(pairs[:, :, 0], axis=1, kind="stable")
    ordered = np.take_along_axis(pairs, order[:, :, None], axis=1)
    return Batch(inputs=words[:, None], targets=ordered.reshape(count, length))


def sample_searches(generator: np.random.Generator, count: int, length: int, symbols: int) -> Batch:
    """Pairs and a key: the value of the first pair with that key, nothing if there is none."""
    words = draw_words(generator, count, length, symbols)
    pairs = words[:, :-1].reshape(count, length // 2, 2)
    same = pairs[:, :, 0] == words[:, -1:]
    value = np.take_along_axis(pairs[:, :, 1], same.argmax(axis=1)[:, None], axis=1)[:, 0]
    targets = np.zeros((count, length), dtype=np.int16)
    targets[:, 0] = np.where(same.any(axis=1), value, PAD)
    return Batch(inputs=words[:, None], targets=targets)


def _show_pairs(row: Symbols) -> str:
    """`key:value key:value`, by their ids."""
    cells = [str(cell) for cell in written_part(row, PAD).tolist()]
    return " ".join(":".join(cells[start : start + 2]) for start in range(0, len(cells), 2))


def _show(rows: Symbols) -> str:
    return _show_pairs(rows[0])


def _show_search(rows: Symbols) -> str:
    return f"{_show_pairs(rows[0, :-1])} ?{rows[0, -1]}"


def _show_found(row: Symbols) -> str:
    return show_word(row) or "none"


def _task(name: str, description: str, shortest: int, layout: Layout, sampler: Sampler) -> Task:
    return Task(
        name=name,
        description=description,
        family="pairs",
        base=None,
        operation=None,
        rows=1,
        input_symbols=2,
        output_symbols=2,
        minimum_length=shortest,
        length_step=2,
        layout=layout,
        sampler=sampler,
    )


def pair_tasks() -> Iterator[Task]:
    """rev2, kvsort and search."""
    pairs = Layout(read=read_word_row, read_target=read_word, show=_show, show_target=_show_pairs)
    search = Layout(
        read=read_word_row, read_target=read_word, show=_show_search, show_target=_show_found
    )
    yield _task("rev2", "Write pairs in reverse order.", 2, pairs, sample_reversed)
    yield _task("kvsort", "Sort pairs by key, equal keys as they stood.", 2, pairs, sample_sorted)
    yield _task("search", "Find the first pair with a key: its value.", 3, search, sample_searches)
