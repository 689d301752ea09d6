"""Random valid spec documents, and ways to write the same or a misspelt one."""

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]
Path = tuple[str | int, ...]

#: Keys that can be set without regard to one another, with values they can have.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model.filters": st.integers(1, 512),
    "model.gate_cutoff": st.floats(0, 10),
    "model.weight_copies": st.integers(1, 12),
    "model.extra_steps": st.integers(0, 1),
    "training.tasks": st.sampled_from([["badd"], ["scopy"], ["bmul", "badd"]]),
    "training.max_steps": st.integers(1, 300_000),
    "training.dropout": st.floats(0, 0.99),
    "training.learning_rate": st.floats(1e-9, 1),
    "training.pull_growth": st.floats(1, 4),
    "training.optimizer": st.sampled_from(["adam", "adamax"]),
    "evaluation.tasks": st.sampled_from([["badd", "baddt"], ["sdup"], ["mule"]]),
    "evaluation.lengths": st.sampled_from([[201], [5, 41, 201], [7, 201, 401]]),
    "evaluation.sequences": st.integers(1, 1000),
}

#: Names that YAML would read as something else than text are the interesting ones.
NAMES = st.one_of(
    st.sampled_from(["24", "0.50", "1e-3", "true", "no", "null", "~", "12:30", "2016-11-01", "<<"]),
    st.text(
        st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12
    ).filter(str.isprintable),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A document that is a valid spec."""
    keys = draw(st.permutations(sorted(VALUES)))
    cuts = sorted(draw(st.lists(st.integers(0, len(keys)), min_size=3, max_size=3)))
    document: Document = {
        "name": draw(NAMES),
        "seeds": {"first": draw(st.integers(0, 1000)), "count": draw(st.integers(1, 40))},
    }
    if draw(st.booleans()):
        document["labels"] = draw(st.dictionaries(NAMES, NAMES, max_size=2))
    if base := draw(_overrides(keys[: cuts[0]])):
        document["base"] = base
    names = draw(st.lists(NAMES, min_size=2, max_size=2, unique=True))
    axes = [keys[cuts[0] : cuts[1]], keys[cuts[1] : cuts[2]]]
    document["grid"] = {
        axis: draw(st.dictionaries(NAMES, _overrides(own), min_size=1, max_size=3))
        for axis, own in zip(names, axes, strict=True)
    }
    document |= draw(_terms(document["grid"]))
    return document


@st.composite
def _overrides(draw: st.DrawFn, keys: list[str]) -> Document:
    """Some of the keys, some dotted and some nested."""
    found: Document = {}
    for key in keys:
        section, _, field = key.partition(".")
        how = draw(st.sampled_from(["dotted", "nested", "left out"]))
        if how == "dotted":
            found[key] = draw(VALUES[key])
        elif how == "nested":
            found.setdefault(section, {})[field] = draw(VALUES[key])
    return found


@st.composite
def _terms(draw: st.DrawFn, grid: Document) -> Document:
    terms: Document = {}
    if draw(st.booleans()):
        terms["success"] = {
            "metric": draw(st.sampled_from(["sequence_error", "symbol_error"])),
            "length": 201,
            "below": draw(st.floats(1e-6, 1)),
            "when": draw(st.sampled_from(["ever", "final"])),
        }
    if draw(st.booleans()):
        size = draw(st.one_of(st.just("auto"), st.integers(1, 50)))
        terms["resources"] = {"cpu": draw(st.integers(1, 8)), "seeds_per_trial": size}
        if draw(st.booleans()):
            amounts = st.sampled_from(["8 GiB", "512MiB", "1.5 GB"])
            terms["resources"]["memory"] = draw(amounts | st.integers(2**20, 2**45))
    if draw(st.booleans()):
        terms["retry"] = {"max_failures": draw(st.integers(1, 9))}
    if draw(st.booleans()):
        axis, levels = next(iter(grid.items()))
        if len(levels) > 1:
            terms["exclude"] = [{axis: next(iter(levels))}]
    return terms


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    """The same document with the keys of every mapping in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


def vocabulary(document: Document) -> Iterator[Path]:
    """Paths of all keys that are words of the spec, not names its author made up."""
    names = {("labels", 2), ("grid", 2), ("grid", 3)}
    for path in _paths(document, ()):
        if isinstance(path[-1], str) and (path[0], len(path)) not in names:
            yield path


def _paths(value: Any, path: Path) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list) and path and path[0] == "exclude":
        items = enumerate(value)
    for key, item in items:
        yield (*path, key)
        yield from _paths(item, (*path, key))


def renamed(document: Any, path: Path, new: str) -> Any:
    """The same document with one key under another name, in its old place."""
    first, rest = path[0], path[1:]
    if isinstance(document, list):
        return [
            renamed(item, rest, new) if index == first else item
            for index, item in enumerate(document)
        ]
    return {
        (new if key == first and not rest else key): (
            renamed(item, rest, new) if key == first and rest else item
        )
        for key, item in document.items()
    }
