"""The product of a spec's axes over its base, and the run each point stands for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from ngpu_core.config import ModelConfig, RunConfig, WrongValue, family_defaults
from sweeps.keys import sections
from sweeps.overrides import Overrides, nested

#: Axis -> level: one point of the grid.
Point = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Values of one point that cannot stand together."""

    #: The dotted keys involved, the one to blame first.
    keys: tuple[str, ...]
    message: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every configuration of a sweep, without making any."""

    base: Overrides
    #: Axis -> level -> what it sets.
    axes: Mapping[str, Mapping[str, Overrides]]
    #: A point that agrees with all of an entry's levels is left out.
    exclude: Sequence[Mapping[str, str]]

    @property
    def size(self) -> int:
        """Points before any is excluded."""
        return prod(len(levels) for levels in self.axes.values())

    def points(self) -> Iterator[Point]:
        """The points that are not excluded, the last axis fastest."""
        for levels in product(*self.axes.values()):
            point = dict(zip(self.axes, levels, strict=True))
            if not any(entry.items() <= point.items() for entry in self.exclude):
                yield point

    def settings(self, point: Point) -> Overrides:
        """Every dotted key that is not at its dataclass default."""
        chosen = dict(self.base)
        for axis, level in point.items():
            chosen |= self.axes[axis][level]
        filters = chosen.get("model.filters")
        family = chosen.get("model.family", ModelConfig.family)
        # A size that cannot be is refused by its own key, not by what would follow from it.
        possible = filters if filters is None or filters >= 1 else None
        return family_defaults(family, possible) | chosen

    def run(self, point: Point) -> RunConfig:
        """The run of a point of a validated spec."""
        return RunConfig(
            **{
                section: sections()[section](**values)
                for section, values in nested(self.settings(point)).items()
            }
        )

    def path(self, keys: Sequence[str], point: Point) -> str:
        """Where the document sets the first of `keys` that it sets at all."""
        for key in keys:
            for axis, level in point.items():
                if key in self.axes[axis][level]:
                    return f"grid.{axis}.{level}.{key}"
            if key in self.base:
                break
        else:
            key = keys[0]
        return f"base.{key}"


def build(settings: Overrides) -> tuple[RunConfig, list[Conflict]]:
    """The run with every impossible value left at its default, and what was impossible."""
    conflicts: list[Conflict] = []
    built = {
        section: _build_section(section, values, conflicts)
        for section, values in nested(settings).items()
    }
    return RunConfig(**built), conflicts


def _build_section(section: str, values: dict[str, Any], conflicts: list[Conflict]) -> Any:
    """A dataclass refuses one value at a time: take it away and look for the next."""
    while True:
        try:
            return sections()[section](**values)
        except WrongValue as error:
            fields = (error.key, *error.also)
            keys = tuple(f"{section}.{field}" for field in fields)
            conflicts.append(Conflict(keys=keys, message=str(error)))
            values = {field: value for field, value in values.items() if field not in fields}
