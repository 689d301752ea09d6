"""Text to plain values, strictly: YAML and JSON read alike, and nothing is dropped in silence.

Of YAML only what JSON can also say is accepted: texts, numbers, true/false/null, lists and
mappings. A key is always the text that was written (`24`, `0.50` and `no` are labels), only `true`
and `false` are truth values, and `1e-3` is a number. Equal keys, tags, anchors and aliases are
refused.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Literal

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from sweeps.problems import Problem, Problems, SpecError, join, shown

Format = Literal["yaml", "json"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_document(text: str, format: Format) -> Any:
    """The plain value a text stands for.

    Raises:
        SpecError: The text is too long or too deep, is no YAML or JSON, repeats a key, or says
            something JSON cannot.
    """
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise _refusal("", f"is {size} bytes long: at most {MAX_BYTES} are read")
    problems = Problems()
    value = _read_yaml(text, problems) if format == "yaml" else _read_json(text, problems)
    problems.raise_if_any()
    return value


def plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted YAML scalar stands for."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _refusal(path: str, message: str) -> SpecError:
    return SpecError([Problem(path=path, message=message)])


# YAML: built from parser events, so that depth and aliases are seen before anything is built.


def _read_yaml(text: str, problems: Problems) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = yaml.parse(text, Loader=loader)
    try:
        documents = (e for e in events if not isinstance(e, DocumentStartEvent))
        next(documents)  # the start of the stream
        first = next(documents)
        if isinstance(first, StreamEndEvent):
            return None
        value = _node(first, events, "", 0, problems)
        next(events)  # the end of the document
        if not isinstance(next(events), StreamEndEvent):
            raise _refusal("", "holds several YAML documents: a spec is one")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _refusal("", f"is not YAML: {where}{error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise _refusal("", f"is not YAML: {str(error).splitlines()[0]}") from error
    return value


def _node(event: Event, events: Iterator[Event], path: str, depth: int, problems: Problems) -> Any:
    _require_plain(event, path, depth)
    if isinstance(event, ScalarEvent):
        return _scalar(event, path, problems)
    if isinstance(event, MappingStartEvent):
        return _mapping(events, path, depth, problems)
    items: list[Any] = []
    while not isinstance(item := next(events), SequenceEndEvent):
        items.append(_node(item, events, join(path, len(items)), depth + 1, problems))
    return items


def _require_plain(event: Event, path: str, depth: int) -> None:
    if isinstance(event, AliasEvent):
        raise _refusal(path, f"is the alias *{event.anchor}: write the value itself")
    if isinstance(event, NodeEvent) and event.anchor is not None:
        raise _refusal(path, f"has the anchor &{event.anchor}: anchors are not used here")
    if isinstance(event, CollectionStartEvent | ScalarEvent) and event.tag is not None:
        raise _refusal(path, f"has the tag {shown(event.tag)}: tags are not used here")
    if depth > MAX_DEPTH:
        raise _refusal(path, f"is nested more than {MAX_DEPTH} deep")


def _mapping(events: Iterator[Event], path: str, depth: int, problems: Problems) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    while not isinstance(event := next(events), MappingEndEvent):
        _require_plain(event, path, depth)
        if not isinstance(event, ScalarEvent):
            raise _refusal(path, "has a list or mapping as a key: keys are texts")
        at = join(path, event.value)
        value = _node(next(events), events, at, depth + 1, problems)
        _insert(mapping, event.value, value, at, problems)
    return mapping


def _scalar(event: ScalarEvent, path: str, problems: Problems) -> Any:
    value = plain_value(event.value) if event.implicit[0] else event.value
    if isinstance(value, float) and not math.isfinite(value):
        problems.add(path, f"is {event.value}: must be a finite number")
    return value


def _insert(mapping: dict[str, Any], key: str, value: Any, path: str, problems: Problems) -> None:
    if key in mapping:
        problems.add(path, "is there twice: keep one")
    mapping[key] = value


# JSON: objects are kept as pairs until their path is known.


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its repeated keys."""


class _NoNumber(str):
    """A number that JSON, or a 64-bit float, does not have."""

    __slots__ = ()


def _read_json(text: str, problems: Problems) -> Any:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_Pairs,
            parse_constant=_NoNumber,
            parse_float=_json_float,
            parse_int=lambda digits: int(digits) if len(digits) <= 40 else _NoNumber(digits),
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _refusal("", f"is not JSON: {where}: {error.msg}") from error
    except RecursionError as error:
        raise _refusal("", f"is nested more than {MAX_DEPTH} deep") from error
    return _plain_json(value, "", 0, problems)


def _json_float(text: str) -> float | _NoNumber:
    value = float(text)
    return value if math.isfinite(value) else _NoNumber(text)


def _plain_json(value: Any, path: str, depth: int, problems: Problems) -> Any:
    if depth > MAX_DEPTH:
        raise _refusal(path, f"is nested more than {MAX_DEPTH} deep")
    if isinstance(value, _NoNumber):
        problems.add(path, f"is {value[:40]}: must be a finite number of at most 40 digits")
    if isinstance(value, _Pairs):
        mapping: dict[str, Any] = {}
        for key, item in value:
            at = join(path, key)
            _insert(mapping, key, _plain_json(item, at, depth + 1, problems), at, problems)
        return mapping
    if isinstance(value, list):
        return [
            _plain_json(item, join(path, index), depth + 1, problems)
            for index, item in enumerate(value)
        ]
    return value
