"""What a base or a grid level sets: keys of a run, nested or dotted, with typed values."""

from collections.abc import Iterator, Mapping
from typing import Any

from ngpu_core.tasks.registry import TASKS
from sweeps.keys import key_table, read_value, sections
from sweeps.problems import Problems, join, nearest, shown
from sweeps.terms import label

#: Dotted key -> typed value.
Overrides = dict[str, Any]

_TASK_KEYS = ("training.tasks", "evaluation.tasks")


def read_overrides(
    document: object, path: str, problems: Problems, doubtful: set[str]
) -> Overrides:
    """Read `{model: {filters: 24}}` or `{model.filters: 24}`.

    Args:
        document: What the spec says at `path`.
        path: Where it says it.
        problems: Receives what is wrong.
        doubtful: Receives the keys that may have been meant, so that nobody judges their values.

    Returns:
        The values that could be read.
    """
    found: Overrides = {}
    if not isinstance(document, Mapping | None):
        doubtful.update(key_table())
    for name, value, at in _entries(document, path, problems, doubtful):
        if name in found:
            problems.add(at, f"{name} is set twice: keep one")
            continue
        typed = read_value(key_table()[name], value, at, problems)
        if typed is None or not _known_tasks(name, typed, at, problems):
            doubtful.add(name)
        else:
            found[name] = typed
    return found


def nested(overrides: Overrides) -> dict[str, dict[str, Any]]:
    """`{model.filters: 24}` as `{model: {filters: 24}}`."""
    result: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        section, _, field = name.partition(".")
        result.setdefault(section, {})[field] = value
    return result


def flat(sections: Mapping[str, Mapping[str, Any]]) -> Overrides:
    """The inverse of `nested`."""
    return {
        f"{section}.{field}": value
        for section, values in sections.items()
        for field, value in values.items()
    }


def read_mapping(document: object, path: str, problems: Problems) -> dict[str, Any]:
    """A mapping with its keys as text; nothing at all counts as an empty one."""
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        problems.add(path, f"is {shown(document)}: must be a mapping")
        return {}
    mapping: dict[str, Any] = {}
    for key, value in document.items():
        name = str(label(key))
        if name in mapping:
            problems.add(join(path, name), "is there twice: keep one")
        mapping[name] = value
    return mapping


def _entries(
    document: object, path: str, problems: Problems, doubtful: set[str]
) -> Iterator[tuple[str, Any, str]]:
    """The (dotted key, value, path) of each key that exists."""
    for key, value in read_mapping(document, path, problems).items():
        at = join(path, key)
        section, dot, field = key.partition(".")
        if key in key_table():
            yield key, value, at
        elif key in sections():
            for field, item in read_mapping(value, at, problems).items():
                if f"{key}.{field}" in key_table():
                    yield f"{key}.{field}", item, join(at, field)
                else:
                    _unknown_field(join(at, field), key, field, field, problems, doubtful)
        elif dot and section in sections():
            _unknown_field(at, section, field, key, problems, doubtful)
        else:
            near = problems.unknown(at, "key", key, [*sections(), *key_table()])
            doubtful.update(name for name in key_table() if near and name.startswith(near))


def _unknown_field(
    path: str, section: str, field: str, written: str, problems: Problems, doubtful: set[str]
) -> None:
    """Suggest a field of the same section, else the same field of another one."""
    fields = {key.field: key.name for key in key_table().values() if key.section == section}
    others = {key.field: key.name for key in key_table().values() if key.section != section}
    if problems.full:
        return
    near = nearest(field, fields)
    if field in others or near is None:
        elsewhere = nearest(field, others)
        suggestion = meant = others[elsewhere] if elsewhere else None
    else:
        meant = fields[near]
        suggestion = near if written == field else meant
    problems.add(path, f"there is no key {shown(written)}", suggestion)
    doubtful.update([meant] if meant else [])


def _known_tasks(name: str, value: Any, path: str, problems: Problems) -> bool:
    """Whether all tasks named exist; those that do not are noted."""
    unknown = [each for each in value if each not in TASKS] if name in _TASK_KEYS else []
    for each in unknown:
        problems.unknown(join(path, value.index(each)), "task", each, TASKS)
    return not unknown
