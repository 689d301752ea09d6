"""How the two operands of a problem are drawn: uniformly, or so that carries run far."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ngpu_core.tasks import digits
from ngpu_core.tasks.digits import Widths
from ngpu_core.tasks.task import Digits

Pair = tuple[Digits, Digits]
#: (generator, base, widths, width) -> two operands (count, width), each below base**widths
Draw = Callable[[np.random.Generator, int, Widths, int], Pair]

#: Shares of the two structured kinds of pairs; the rest is uniform (SPECS C.2).
BLOCK_SHARE = 0.2
COMPLEMENT_SHARE = 0.2


def uniform_pair(generator: np.random.Generator, base: int, widths: Widths, width: int) -> Pair:
    """Both operands uniform in [0, base**w)."""
    first = digits.uniform(generator, base, widths, width)
    return first, digits.uniform(generator, base, widths, width)


def tough_pair(generator: np.random.Generator, base: int, widths: Widths, width: int) -> Pair:
    """Pairs with long carries: a fifth blocks, a fifth complements, the rest uniform; then swapped.

    All three kinds are drawn for every row and one is kept, so that rows do not wait for others.
    """
    kind = generator.random(len(widths))
    first, second = uniform_pair(generator, base, widths, width)
    for low, high, draw in (
        (0.0, BLOCK_SHARE, block_pair),
        (BLOCK_SHARE, BLOCK_SHARE + COMPLEMENT_SHARE, short_complement_pair),
    ):
        chosen = ((low <= kind) & (kind < high))[:, None]
        structured = draw(generator, base, widths, width)
        first = np.where(chosen, structured[0], first)
        second = np.where(chosen, structured[1], second)
    return swapped(generator, first, second)


def block_pair(generator: np.random.Generator, base: int, widths: Widths, width: int) -> Pair:
    """base**high - base**(low-1), a run of top digits, and a number below base**low."""
    ends = np.sort(generator.integers(1, widths + 1, size=(2, len(widths))), axis=0)
    low, high = ends[0], ends[1]
    column = np.arange(width)
    inside = (column >= low[:, None] - 1) & (column < high[:, None])
    return np.where(inside, base - 1, 0), digits.uniform(generator, base, low, width)


def short_complement_pair(
    generator: np.random.Generator, base: int, widths: Widths, width: int
) -> Pair:
    """x and base**w - x or base**w - 1 - x, with w the full width or (a coin) any smaller one."""
    full = generator.random(len(widths)) < 0.5
    chosen = np.where(full, widths, generator.integers(1, widths + 1))
    first = digits.uniform_positive(generator, base, chosen, width)
    overflow = generator.random(len(widths)) < 0.5
    return first, complement(first, base, chosen, overflow)


def complement(first: Digits, base: int, widths: Widths, overflow: npt.NDArray[np.bool_]) -> Digits:
    """What `first` lacks to base**w where `overflow`, else to base**w - 1.

    Where `overflow` is set `first` must not be 0: the complement would need a digit more.
    """
    columns = digits.complement(first, base, widths)
    columns[:, 0] += overflow
    return digits.carry(columns, base)


def swapped(generator: np.random.Generator, first: Digits, second: Digits) -> Pair:
    """Exchange the two operands with probability one half."""
    exchange = generator.random(len(first)) < 0.5
    return (
        np.where(exchange[:, None], second, first),
        np.where(exchange[:, None], first, second),
    )
