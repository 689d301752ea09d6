import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.alphabet import (
    ADD,
    DIGITS,
    DUP,
    MULTIPLY,
    PAD,
    SPACE,
    SYMBOLS,
    number_text,
    parse_number,
    read_number,
    symbol_text,
    symbols_text,
    word_text,
)

BASES = st.integers(2, 10)


@given(st.integers(0, 10**80), BASES, st.integers(0, 5))
def test_a_number_survives_the_way_to_the_network_and_back(
    number: int, base: int, zeros: int
) -> None:
    text = "0" * zeros + _written(number, base)
    symbols = [digit + 1 for digit in parse_number(text, base)]
    assert read_number(symbols, base) == number
    assert number_text(symbols) == text
    assert number_text(np.array(symbols)) == text  # type: ignore[arg-type]


def _written(number: int, base: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = str(digit) + digits
    return digits or "0"


def test_the_network_sees_the_last_digit_first() -> None:
    assert parse_number("120", 10) == [0, 2, 1]
    assert read_number([1, 3, 2], 10) == 120


def test_each_symbol_of_the_references_alphabet_has_its_own_id() -> None:
    taken = [PAD, *range(1, DIGITS + 1), *ADD.values(), *MULTIPLY.values(), DUP, SPACE]
    assert len(taken) == len(set(taken))
    assert max(taken) < SYMBOLS
    assert (ADD, MULTIPLY) == ({2: 11, 4: 12, 10: 13}, {2: 14, 4: 15, 10: 16, 8: 17, 5: 18})


def test_every_symbol_has_a_text_of_its_own() -> None:
    texts = [symbol_text(symbol) for symbol in range(SYMBOLS)]
    assert len(set(texts)) == SYMBOLS
    assert texts[1:11] == list("0123456789")
    assert word_text([DUP, 4, 2, SPACE, PAD, 30]) == "dup 31·_<30>"
    assert symbols_text([3, 32]) == "3 32"


@pytest.mark.parametrize(
    ("text", "base", "message"),
    [
        ("", 2, "at least one digit"),
        ("102", 2, r"'2' at position 2 of '102' is no digit of base 2: use 0\.\.1"),
        ("1 0", 10, "' ' at position 1"),
        ("-5", 10, "'-' at position 0"),
        ("٣", 10, "is no digit of base 10"),
    ],
)
def test_text_that_is_no_number_is_refused(text: str, base: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_number(text, base)


@pytest.mark.parametrize(("symbols", "at"), [([1, 0], 1), ([3], 0), ([1, 11, 1], 1)])
def test_symbols_that_are_no_number_are_refused(symbols: list[int], at: int) -> None:
    with pytest.raises(ValueError, match=f"symbol {symbols[at]} at position {at} is no digit"):
        read_number(symbols, 2)
    with pytest.raises(ValueError, match="at least one digit"):
        read_number([], 2)
