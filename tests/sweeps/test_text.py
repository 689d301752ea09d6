"""Strict reading of YAML and JSON: nothing is dropped, guessed or blown up."""

import contextlib
import time
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.problems import SpecError
from sweeps.text import MAX_BYTES, Format, plain_value, read_document


def refusal(text: str, format: Format = "yaml") -> dict[str, str]:
    """Path and message of everything refused."""
    with pytest.raises(SpecError) as caught:
        read_document(text, format)
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("a: 1\nb: {c: 1, d: [{e: 1, e: 2}], c: 2}\na: 3\n", "yaml"),
        ('{"a": 1, "b": {"c": 1, "d": [{"e": 1, "e": 2}], "c": 2}, "a": 3}', "json"),
    ],
)
def test_every_repeated_key_is_named_with_its_path(text: str, format: Format) -> None:
    assert set(refusal(text, format)) == {"a", "b.c", "b.d.0.e"}


def test_keys_that_only_look_different_are_not_equal() -> None:
    assert read_document("0.5: 1\n0.50: 2\n", "yaml") == {"0.5": 1, "0.50": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2.5E+2", -250.0),
        ("24", 24),
        ("true", True),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2016-11-01", "2016-11-01"),
        (".inf", ".inf"),
        ("0x10", "0x10"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_are_read_as_json_would(text: str, value: Any) -> None:
    assert plain_value(text) == value
    assert read_document(f"key: {text}", "yaml") == {"key": value}
    assert read_document(f"key: '{text}'", "yaml") == {"key": text}


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("a: &x [1]\nb: *x", "a", "anchor"),
        ("b: *x", "b", "alias"),
        ("a: {b: !!python/object:os.system x}", "a.b", "tag"),
        ("a: !!set {x, y}", "a", "tag"),
        ("a: 1\n---\nb: 2", "", "several YAML documents"),
        ("? [1, 2]\n: 3", "", "keys are texts"),
        ("a: 1e999", "a", "finite"),
        ("a: [1", "", "line 2, column 1"),
        ("a: \x00", "", "not YAML"),
        ("a: " + "[" * 30, ".".join(["a", *"0" * 20]), "nested more than 20"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_yaml_that_json_cannot_say_is_refused(text: str, path: str, message: str) -> None:
    assert message in refusal(text)[path]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('{"a": NaN}', "a", "finite"),
        ('{"a": [1, -Infinity]}', "a.1", "finite"),
        ('{"a": 1e999}', "a", "finite"),
        ('{"a": ' + "9" * 5000 + "}", "a", "at most 40 digits"),
        ('{"a": }', "", "line 1, column 7"),
        ("[" * 100_000, "", "nested more than 20"),
        ("", "", "not JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_that_is_none_is_refused(text: str, path: str, message: str) -> None:
    assert message in refusal(text, "json")[path]


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_a_text_over_the_limit_is_not_read(format: Format) -> None:
    text = '{"a": "' + "é" * (MAX_BYTES // 2) + '"}'

    assert "at most 1000000" in refusal(text, format)[""]


@pytest.mark.parametrize("piece", ["[", "{", "- ", "? ", "a: ", "[a,", "!!x ", "&a "])
def test_a_hostile_text_is_refused_quickly(piece: str) -> None:
    start = time.perf_counter()
    refusal(piece * (900_000 // len(piece)))

    assert time.perf_counter() - start < 5


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for format in get_args(Format):
        with contextlib.suppress(SpecError):
            read_document(text, format)
