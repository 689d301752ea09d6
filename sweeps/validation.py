"""From what a document says to a complete spec: everything that is wrong with it, or nothing."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ngpu_core.config import RunConfig
from ngpu_core.tasks.registry import TASKS
from sweeps.compatibility import conflicts
from sweeps.grid import Grid, build
from sweeps.keys import Name, key_table, note
from sweeps.overrides import Overrides, nested, read_mapping, read_overrides
from sweeps.problems import Problems, join, shown
from sweeps.terms import (
    SEED_LIMIT,
    Header,
    Resources,
    Retry,
    Schedule,
    Seeds,
    Success,
    label,
    read_terms,
)
from sweeps.text import plain_value

#: Configurations of a sweep, and its seed runs, before any is excluded.
MAX_CONFIGURATIONS = 5_000
MAX_SEED_RUNS = 100_000
MAX_EXCLUSIONS = 1_000

_PARTS = ("base", "grid", "exclude", "seeds", "success", "resources", "schedule", "retry")
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def validated(document: object) -> dict[str, Any]:
    """The complete spec as a mapping: typed values, text labels, the success rule resolved.

    Raises:
        SpecError: Something is wrong; it carries every problem that could be found.
    """
    problems = Problems()
    if not isinstance(document, Mapping):
        problems.add("", f"is {shown(document)}: a spec is a mapping with a name and seeds")
        problems.raise_if_any()
    spec = _Reading(document, problems).spec()
    problems.raise_if_any()
    return spec


class _Reading:
    """One reading of one document. A wrong part does not keep the others from being read."""

    def __init__(self, document: object, problems: Problems) -> None:
        self.problems = problems
        #: Dotted keys whose value may not be the one that was meant: it is not judged further.
        self.doubtful: set[str] = set()
        self.document = read_mapping(document, "", problems)
        known = [*Header.model_fields, *_PARTS]
        unknown = [key for key in self.document if key not in known]
        #: Parts that are there, misspelt: they are not missed.
        self.meant = {problems.unknown(key, "key", key, known) for key in unknown}
        if self.meant & {"base", "grid"}:
            self.doubtful.update(key_table())

    def spec(self) -> dict[str, Any]:
        """Every part of the spec, typed; worth something only if no problem was noted."""
        header = self._header()
        seeds = self._seeds()
        grid = self._grid()
        runs = self._runs(grid) if self._within_limits(grid, seeds) else []
        return {
            **(header.model_dump() if header else {}),
            "base": nested(grid.base),
            "grid": grid.axes,
            "exclude": grid.exclude,
            "seeds": seeds,
            "success": self._success(runs),
            "resources": read_terms(Resources, self._part("resources"), "resources", self.problems),
            "schedule": read_terms(Schedule, self._part("schedule"), "schedule", self.problems),
            "retry": read_terms(Retry, self._part("retry"), "retry", self.problems),
        }

    def _part(self, name: str) -> dict[str, Any]:
        return read_mapping(self.document.get(name), name, self.problems)

    def _header(self) -> Header | None:
        header = {key: self.document[key] for key in Header.model_fields if key in self.document}
        if "name" in self.meant:
            header.setdefault("name", "misspelt")
        if "labels" in header:
            header["labels"] = self._part("labels")
        return read_terms(Header, header, "", self.problems)

    def _seeds(self) -> Seeds | None:
        if "seeds" not in self.document:
            if "seeds" not in self.meant:
                self.problems.add("seeds", "is missing: give at least a count, {count: 15}")
            return None
        seeds = read_terms(Seeds, self._part("seeds"), "seeds", self.problems)
        if seeds and seeds.all.stop > SEED_LIMIT:
            message = f"the last seed would be {seeds.all[-1]}: must be below {SEED_LIMIT}"
            self.problems.add("seeds.first", message)
        return seeds

    # The grid

    def _grid(self) -> Grid:
        base = read_overrides(self.document.get("base"), "base", self.problems, self.doubtful)
        document = self.document.get("grid")
        if not isinstance(document, Mapping | None):
            self.doubtful.update(key_table())
        axes = {
            axis: self._levels(levels, self._name(axis, "grid"))
            for axis, levels in read_mapping(document, "grid", self.problems).items()
        }
        axes = {axis: levels for axis, levels in axes.items() if levels}
        grid = Grid(base=base, axes=axes, exclude=self._exclude(axes))
        if grid.size <= MAX_CONFIGURATIONS:  # a grid that is too large is told that first
            self._refuse_contested_keys(axes)
        return grid

    def _levels(self, document: object, path: str) -> dict[str, Overrides]:
        if not isinstance(document, Mapping | None):
            self.doubtful.update(key_table())
        elif not document:
            self.problems.add(path, "has no levels: give at least one, {24: {model.filters: 24}}")
        return {
            level: read_overrides(overrides, self._name(level, path), self.problems, self.doubtful)
            for level, overrides in read_mapping(document, path, self.problems).items()
        }

    def _name(self, name: str, path: str) -> str:
        """Check the name of an axis or a level; return its path."""
        at = join(path, name)
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            note(error, at, self.problems)
        return at

    def _refuse_contested_keys(self, axes: Mapping[str, Mapping[str, Overrides]]) -> None:
        owner: dict[str, str] = {}
        for axis, levels in axes.items():
            for level, overrides in levels.items():
                for key in overrides:
                    if owner.setdefault(key, axis) != axis:
                        at = join("grid", axis, level, key)
                        self.problems.add(at, f"{key} is set by the axis {owner[key]} too")

    def _exclude(self, axes: Mapping[str, Mapping[str, Overrides]]) -> list[dict[str, str]]:
        document = self.document.get("exclude") or []
        if not isinstance(document, list | tuple) or len(document) > MAX_EXCLUSIONS:
            message = f"must be a list of at most {MAX_EXCLUSIONS} mappings from axis to level"
            self.problems.add("exclude", f"is {shown(document)}: {message}")
            return []
        if "grid" in self.meant:
            return []
        entries = [
            self._exclusion(entry, join("exclude", index), axes)
            for index, entry in enumerate(document)
        ]
        return [entry for entry in entries if entry]

    def _exclusion(
        self, document: object, path: str, axes: Mapping[str, Mapping[str, Overrides]]
    ) -> dict[str, str]:
        entry = read_mapping(document, path, self.problems)
        if not entry and isinstance(document, Mapping | None):
            self.problems.add(path, "names no axis: it would leave out everything")
        found: dict[str, str] = {}
        for axis, value in entry.items():
            at = join(path, axis)
            if axis not in axes:
                self.problems.unknown(at, "axis", axis, axes)
            elif (level := _level(value, axes[axis])) is None:
                self.problems.unknown(at, f"level of {axis}", str(label(value)), axes[axis])
            else:
                found[axis] = level
        return found

    def _within_limits(self, grid: Grid, seeds: Seeds | None) -> bool:
        """By multiplication alone, before anything is expanded."""
        factors = " × ".join(f"{len(levels)}" for levels in grid.axes.values()) or "1"
        runs = grid.size * (seeds.count if seeds else 1)
        if grid.size > MAX_CONFIGURATIONS:
            message = (
                f"has {grid.size:,} configurations ({factors}): at most {MAX_CONFIGURATIONS:,}"
            )
            self.problems.add("grid", message)
        if runs > MAX_SEED_RUNS:
            plural = "" if grid.size == 1 else "s"
            message = (
                f"{grid.size:,} configuration{plural} × {seeds.count:,} seeds" if seeds else ""
            )
            message = f"asks for {runs:,} seed runs ({message}): at most {MAX_SEED_RUNS:,}"
            self.problems.add("seeds.count", message)
        return grid.size <= MAX_CONFIGURATIONS and runs <= MAX_SEED_RUNS

    # What needs every configuration

    def _runs(self, grid: Grid) -> list[RunConfig]:
        """The run of every configuration, each held against its tasks."""
        if "model.family" in self.doubtful:  # its defaults are another family's
            self.doubtful.update(key_table())
        runs = []
        impossible: set[str] = set()
        for point in grid.points():
            run, refused = build(grid.settings(point))
            wrong = {key for conflict in refused for key in conflict.keys}
            impossible |= wrong
            found = [(conflict, self.doubtful) for conflict in refused]
            found += [(conflict, self.doubtful | wrong) for conflict in conflicts(run)]
            for conflict, doubtful in found:
                if doubtful.isdisjoint(conflict.keys):
                    self.problems.add(grid.path(conflict.keys, point), conflict.message)
            runs.append(run)
        if not runs:
            self.problems.add("exclude", "leaves out every configuration")
        self.doubtful |= impossible
        return runs

    def _success(self, runs: list[RunConfig]) -> Success | None:
        common = sorted(set.intersection(*[set(run.evaluation.lengths) for run in runs] or [set()]))
        document = self._part("success")
        judged = bool(runs) and "evaluation.lengths" not in self.doubtful
        if document.get("length") is None:
            document["length"] = common[-1] if common else 1
            if judged and not common:
                message = "is missing, and no length is tested by every configuration"
                self.problems.add("success.length", message)
            judged = False
        success = read_terms(Success, document, "success", self.problems)
        if success and judged and success.length not in common:
            message = f"is {success.length}: must be tested by every configuration, as {common} is"
            self.problems.add("success.length", message)
        if isinstance(task := document.get("task"), str):
            self._check_success_task(task, runs)
        return success

    def _check_success_task(self, task: str, runs: list[RunConfig]) -> None:
        if task not in TASKS:
            self.problems.unknown("success.task", "task", task, TASKS)
        elif self.doubtful.isdisjoint(("evaluation.tasks", "training.tasks")) and any(
            task not in run.evaluation_tasks for run in runs
        ):
            message = f"is {task!r}: must be tested by every configuration"
            self.problems.add("success.task", message)


def _level(value: object, levels: Mapping[str, Overrides]) -> str | None:
    """The level a value of `exclude` means: its text, else a level that is the same number."""
    text = str(label(value))
    if text in levels:
        return text
    numbers = (level for level in levels if not isinstance(value, str))
    return next((level for level in numbers if plain_value(level) == value), None)
