"""What the figures of some sweeps rest on: configurations, seed runs and their measurements.

Several sweeps are read as one. A seed run that stands in two of them, of equal configuration and
seed, is one observation: the first that has ended by itself counts.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from db import measurements, queries
from service.dashboard.provenance import longest_trained
from service.figures.figure import Row

#: Seed runs read at a time.
_PAGE = 1000
#: States of seed runs that count, as successful or not.
COUNTED = ("finished", "diverged")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One configuration of one of the sweeps."""

    id: int
    sweep_id: str
    label: str
    #: Axis -> level, as the spec calls them.
    axes: Mapping[str, str]
    run: Mapping[str, Mapping[str, Any]]
    max_steps: int
    digest: str

    @property
    def name(self) -> str:
        """Its label; a sweep without a grid has none."""
        return self.label or self.family

    @property
    def family(self) -> str:
        """The kind of model."""
        return str(self.run["model"]["family"])

    @property
    def filters(self) -> int:
        """Maps of the model."""
        return int(self.run["model"]["filters"])

    @property
    def trained(self) -> tuple[str, ...]:
        """The tasks trained on, the first ones first."""
        return tuple(self.run["training"]["tasks"])

    @property
    def target(self) -> str:
        """The task that training aims at: the last one of a curriculum."""
        return self.trained[-1]

    @property
    def tested(self) -> tuple[str, ...]:
        """The tasks tested."""
        return tuple(self.run["evaluation"]["tasks"] or self.trained)

    @property
    def judged(self) -> str:
        """The task whose tests count: the one aimed at, where it is tested."""
        return self.target if self.target in self.tested else self.tested[0]

    @property
    def trained_to(self) -> int:
        """The longest length trained on, in symbols."""
        return longest_trained(self.run)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Some sweeps, read as one."""

    conn: Connection = field(repr=False)
    #: Rows of `queries.sweep`.
    sweeps: tuple[Row, ...]
    configurations: tuple[Configuration, ...]
    #: Rows of `seed_results`, each (configuration digest, seed) once.
    runs: tuple[Row, ...]
    #: Seed runs left out because they stand in a sweep before.
    repeated: int

    def runs_of(self, configurations: Iterable[Configuration]) -> list[Row]:
        """The seed runs of some configurations."""
        ids = {one.id for one in configurations}
        return [run for run in self.runs if run["configuration_id"] in ids]

    def labels(self) -> dict[int, str]:
        """Configuration id -> its name among all: the same one of two sweeps has one name."""
        names = {sweep["id"]: sweep["name"] for sweep in self.sweeps}
        digests: dict[str, set[str]] = {}
        for one in self.configurations:
            digests.setdefault(one.name, set()).add(one.digest)
        first = {one.digest: one for one in reversed(self.configurations)}

        def label(one: Configuration) -> str:
            told = first[one.digest]
            alone = len(digests[told.name]) == 1
            return told.name if alone else f"{told.name} ({names[told.sweep_id]})"

        return {one.id: label(one) for one in self.configurations}

    def series(self, configurations: Iterable[Configuration]) -> dict[str, list[Configuration]]:
        """Configurations by their name among all."""
        labels = self.labels()
        found: dict[str, list[Configuration]] = {}
        for one in configurations:
            found.setdefault(labels[one.id], []).append(one)
        return found

    def sweep_of(self, configuration: Configuration) -> Row:
        """The sweep of a configuration."""
        return next(one for one in self.sweeps if one["id"] == configuration.sweep_id)

    def tests(self, *, worst_task: bool = False) -> list[Row]:
        """`measurements.task_summaries`, by the rule of each sweep."""
        found: list[Row] = []
        for sweep in self.sweeps:
            rule = {key: sweep[f"success_{key}"] for key in ("length", "below", "metric")}
            found += measurements.task_summaries(
                self.conn, sweep["id"], **rule, worst_task=worst_task
            )
        return self._kept(found)

    def training(self) -> list[Row]:
        """`measurements.training_summaries`, with the bound of each sweep's rule."""
        found: list[Row] = []
        for sweep in self.sweeps:
            below = sweep["success_below"]
            found += measurements.training_summaries(self.conn, sweep["id"], below=below)
        return self._kept(found)

    def last_tests(self) -> list[Row]:
        """`measurements.last_tests`."""
        each = (measurements.last_tests(self.conn, sweep["id"]) for sweep in self.sweeps)
        return self._kept(row for rows in each for row in rows)

    def thresholds(self) -> list[Row]:
        """The rows of `carry_thresholds`."""
        each = (queries.thresholds(self.conn, sweep["id"]) for sweep in self.sweeps)
        return self._kept(row for rows in each for row in rows)

    def probes(self, probe: str) -> list[Row]:
        """`measurements.probes`: rows of task, point and raw counts."""
        each = (measurements.probes(self.conn, sweep["id"], probe) for sweep in self.sweeps)
        return self._kept(row for rows in each for row in rows)

    def points(
        self,
        configurations: Collection[Configuration],
        *,
        kind: str,
        task: str,
        metric: str,
        length: int | None = None,
    ) -> list[Row]:
        """`measurements.seed_points` of some configurations."""
        ids = [one.id for one in configurations]
        return self._kept(
            measurements.seed_points(
                self.conn, ids, kind=kind, task=task, metric=metric, length=length
            )
        )

    def _kept(self, rows: Iterable[Row]) -> list[Row]:
        if not self.repeated:
            return list(rows)
        kept = {run["seed_run_id"] for run in self.runs}
        return [row for row in rows if row["seed_run_id"] in kept]


def read_evidence(conn: Connection, sweep_ids: Sequence[str]) -> Evidence:
    """The evidence of some sweeps; measurements are read when a figure asks for them.

    Raises:
        SweepNotFound: One of them is not there.
    """
    sweeps = tuple(queries.sweep(conn, one) for one in dict.fromkeys(sweep_ids))
    configurations = tuple(
        _configuration(sweep["id"], row)
        for sweep in sweeps
        for row in queries.configurations(conn, sweep["id"])
    )
    digests = {one.id: one.digest for one in configurations}
    runs: dict[tuple[str, int], Row] = {}
    repeated = 0
    for sweep in sweeps:
        for run in _seed_results(conn, sweep["id"]):
            key = (digests[run["configuration_id"]], run["seed"])
            repeated += key in runs
            if key not in runs or runs[key]["state"] not in COUNTED:
                runs[key] = run
    return Evidence(
        conn=conn,
        sweeps=sweeps,
        configurations=configurations,
        runs=tuple(runs.values()),
        repeated=repeated,
    )


def _configuration(sweep_id: str, row: Row) -> Configuration:
    names = ("id", "label", "axes", "run", "max_steps", "digest")
    return Configuration(sweep_id=sweep_id, **{name: row[name] for name in names})


def _seed_results(conn: Connection, sweep_id: str) -> Iterable[Row]:
    cursor = None
    while True:
        page = queries.seeds(conn, sweep_id, cursor=cursor, limit=_PAGE)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
