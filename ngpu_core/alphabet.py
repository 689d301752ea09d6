"""Symbol ids and their text: last digit first for the network, most significant first for people.

The ids are the reference's (SPECS C.1). One id may mean two things in two tasks: 12 is `+` of
base 4 in the Neural GPU's alphabet and `*` in the diagonal one. So a task knows its operator; this
module knows the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

#: Nothing here: outside the problem, and never the right answer where there is one.
PAD = 0
#: Ahead of a word that is to be written twice (spaced tasks).
DUP = 22
#: An empty cell of a spaced grid.
SPACE = 23
#: Digits 0..9 are the ids 1..10.
DIGITS = 10
#: Size of the reference's alphabet, `PAD` included.
SYMBOLS = 33

#: The operators of the Neural GPU's tasks, by base: each base has its own.
ADD: Mapping[int, int] = MappingProxyType({2: 11, 4: 12, 10: 13})
MULTIPLY: Mapping[int, int] = MappingProxyType({2: 14, 4: 15, 10: 16, 8: 17, 5: 18})
#: Those that only expressions have. Some of their ids mean something else in other tasks.
DIVIDE: Mapping[int, int] = MappingProxyType({2: 17, 4: 18, 10: 19})
SUBTRACT: Mapping[int, int] = MappingProxyType({2: 20, 4: 21, 10: 22})
#: The operators of the diagonal tasks: one for all bases.
DIAGONAL_ADD = 11
DIAGONAL_MULTIPLY = 12

_MARKS: Mapping[int, str] = MappingProxyType({PAD: "_", SPACE: "·", DUP: "dup "})


def symbol_text(symbol: int) -> str:
    """One symbol as people read it: a digit, a mark, or `<id>` where it has no text of its own."""
    if 1 <= symbol <= DIGITS:
        return str(symbol - 1)
    return _MARKS.get(symbol, f"<{symbol}>")


def word_text(symbols: Iterable[int]) -> str:
    """Symbols in the order they stand."""
    return "".join(symbol_text(int(symbol)) for symbol in symbols)


def number_text(symbols: Sequence[int]) -> str:
    """A number's symbols, last digit first, as text with the most significant digit first."""
    return word_text(list(symbols)[::-1])


def symbols_text(symbols: Iterable[int]) -> str:
    """Abstract symbols as their ids, separated by blanks."""
    return " ".join(str(int(symbol)) for symbol in symbols)


def parse_number(text: str, base: int) -> list[int]:
    """Read a number written by people.

    Args:
        text: digits, most significant first; leading zeros are kept.
        base: 2..10.

    Returns:
        The digits (not ids), least significant first.

    Raises:
        ValueError: The text is empty or has a character that is no digit of the base.
    """
    if not text:
        raise ValueError(f"a number in base {base} needs at least one digit, this text is empty")
    for position, character in enumerate(text):
        if not ("0" <= character <= chr(ord("0") + base - 1)):
            raise ValueError(
                f"{character!r} at position {position} of {text!r} is no digit of base {base}: "
                f"use 0..{base - 1}"
            )
    return [int(character) for character in reversed(text)]


def read_number(symbols: Sequence[int], base: int) -> int:
    """Read a number the network wrote.

    Args:
        symbols: ids, least significant digit first.
        base: 2..10.

    Returns:
        The number, exact at any length.

    Raises:
        ValueError: No symbols, or one that is no digit of the base.
    """
    if len(symbols) == 0:
        raise ValueError(f"a number in base {base} needs at least one digit, there is none")
    number = 0
    for position in range(len(symbols) - 1, -1, -1):
        digit = int(symbols[position]) - 1
        if not 0 <= digit < base:
            raise ValueError(
                f"symbol {digit + 1} at position {position} is no digit of base {base}: "
                f"digits are the ids 1..{base}"
            )
        number = number * base + digit
    return number
