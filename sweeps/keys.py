"""The keys a spec may set: every field of `RunConfig`, with its type, default and meaning.

Read off `ngpu_core.config`, the `#:` comments included, so there is one place to change.
"""

import inspect
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ngpu_core.config import RunConfig
from sweeps.problems import Problems, join, nearest, shown

#: Values of a list key at most.
MAX_LIST = 200


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not a truth value")
    return value


def one_line(value: str) -> str:
    """Refuse text that a table, a page or a log could not show on one line."""
    if not value.strip() or not value.isprintable():
        raise ValueError("must be one line of printable text")
    return value


#: For number fields. It stands after the field's limits, so that they reach the JSON Schema.
NO_TRUTH_VALUE = BeforeValidator(_no_truth_value)
#: Integers fit every database and every array index.
LARGEST = 2**31 - 1

#: Numbers as a spec may write them: `1e-3` as text too, a truth value never.
Number = Annotated[float, Field(allow_inf_nan=False), NO_TRUTH_VALUE]
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST), NO_TRUTH_VALUE]
#: A name of a sweep, an axis, a level or a label.
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(one_line)]

_CHECKED: Mapping[Any, Any] = {
    bool: Annotated[bool, Field(strict=True)],
    int: Whole,
    float: Number,
    tuple[int, ...]: Annotated[tuple[Whole, ...], Field(max_length=MAX_LIST)],
    tuple[str, ...]: Annotated[tuple[str, ...], Field(max_length=MAX_LIST)],
}


@dataclass(frozen=True, kw_only=True)
class ConfigKey:
    """One key of a run's configuration."""

    section: str
    field: str
    #: The dataclass's default: the one of the family `neural_gpu`.
    default: Any
    description: str
    #: Turns what a document says into a value of the key's type.
    adapter: TypeAdapter[Any]

    @property
    def name(self) -> str:
        """The dotted key, `training.dropout`."""
        return f"{self.section}.{self.field}"


@cache
def key_table() -> Mapping[str, ConfigKey]:
    """Every key by its dotted name, in the order of `config.py`."""
    keys = [key for section, config in sections().items() for key in _section_keys(section, config)]
    return {key.name: key for key in keys}


@cache
def sections() -> Mapping[str, type]:
    """The sections of a run's configuration: model, training, evaluation."""
    hints = get_type_hints(RunConfig)
    return {section.name: hints[section.name] for section in fields(RunConfig)}


def _section_keys(section: str, config: type) -> list[ConfigKey]:
    hints = get_type_hints(config)
    comments = _comments(config)
    return [
        ConfigKey(
            section=section,
            field=each.name,
            default=each.default,
            description=comments.get(each.name, ""),
            adapter=TypeAdapter(_CHECKED.get(hints[each.name], hints[each.name])),
        )
        for each in fields(config)
    ]


def _comments(config: type) -> dict[str, str]:
    """The `#:` lines above each field of a dataclass, joined."""
    found: dict[str, str] = {}
    lines: list[str] = []
    for line in inspect.getsource(config).splitlines():
        if comment := re.match(r"    #: (.*)", line):
            lines.append(comment[1])
        elif name := re.match(r"    (\w+): ", line):
            found[name[1]] = " ".join(lines)
            lines = []
    return found


def read_value(key: ConfigKey, value: object, path: str, problems: Problems) -> Any | None:
    """The typed value of a key, or None after noting why there is none."""
    try:
        return key.adapter.validate_python(value)
    except ValidationError as error:
        note(error, path, problems)
        return None


def note(
    error: ValidationError, path: str, problems: Problems, leave_out: Container[object] = ()
) -> None:
    """Turn pydantic's findings into problems at their paths in the document.

    Args:
        error: What pydantic found.
        path: Where the value stands in the document.
        problems: Receives them.
        leave_out: Keys not to miss: they are there, misspelt.
    """
    for details in error.errors(include_url=False):
        if details["type"] == "missing" and details["loc"][0] in leave_out:
            continue
        at = join(path, *(key for key in details["loc"] if key != "[key]"))
        missing = details["type"] == "missing"
        what = "is missing" if missing else f"is {shown(details['input'])}"
        problems.add(at, f"{what}: {_rule(details)}", _hint(details))


def _rule(details: ErrorDetails) -> str:
    fixed = {
        "missing": "it has no default",
        "tuple_type": "must be a list",
        "too_long": f"must have at most {MAX_LIST} entries",
    }
    if details["type"] in fixed:
        return fixed[details["type"]]
    message = details["msg"].removeprefix("Value error, ").replace("a valid string", "a text")
    return re.sub(r"^(Input|String) should ", "must ", message)


def _hint(details: ErrorDetails) -> str | None:
    if details["type"] != "literal_error" or not isinstance(details["input"], str):
        return None
    return nearest(details["input"], re.findall(r"'([^']*)'", details["msg"]))
