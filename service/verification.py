"""The proof that a sweep is whole: what its spec demands, held against every row of the record.

Expected seed runs are expanded from the stored spec again, tests from each configuration. Nothing
is changed. What is still training is only counted; what has ended must be complete.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from db import audit, queries
from db.states import SeedState
from ngpu_core.config import RunConfig
from ngpu_core.tasks.registry import task, valid_lengths
from service.schemas import Row
from sweeps.canonical import digest
from sweeps.expansion import Configuration, configurations
from sweeps.problems import SpecError
from sweeps.spec import SweepSpec, load_spec

#: Findings spelled out; the rest are counted.
SHOWN = 100
#: Seed runs whose numbers are final.
RESULTS = (SeedState.FINISHED, SeedState.DIVERGED)

Rows = Sequence[Mapping[str, Any]]


class Finding(Row):
    """Something that is not as the spec demands."""

    kind: str = Field(description="One word for the kind of finding, such as `missing`")
    message: str
    configuration: str | None = None
    seed: int | None = None
    seed_run_id: int | None = None


class Verification(Row):
    """What a proof of a sweep found."""

    sweep_id: str
    sweep: str
    state: str
    holds: bool = Field(description="Nothing was found")
    expected: int = Field(description="Seed runs the spec demands: configurations × seeds")
    found: int = Field(description="Seed runs in the record")
    finished: int
    diverged: int
    failed: int
    cancelled: int
    running: int
    pending: int
    tests: int = Field(description="Steps at which an ended seed run was tested, all checked")
    checkpoints: int = Field(description="Checkpoints of ended seed runs the record points to")
    checkpoints_read: int = Field(description="Of these, read and compared with their checksum")
    findings_total: int
    findings: list[Finding] = Field(description=f"The first {SHOWN}")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """At which steps an ended seed run must, and may, have rows, and how many."""

    required: frozenset[int]
    allowed: frozenset[int]
    #: How many at a step, and at its end.
    rows: range
    rows_at_end: range


def demanded_tests(run: RunConfig, state: str, steps: int) -> Demand:
    """The steps at which a seed run that ended at `steps` was tested.

    A finished one was tested every `evaluation.every` steps and at its end; a diverged one before
    the step it diverged in. With `only_below`, short tests or their bound the tests on the way
    depend on the training.
    """
    regular = frozenset(range(run.evaluation.every, steps, run.evaluation.every))
    last = frozenset([steps] if state == SeedState.FINISHED else [])
    short, long = _short_rows(run), len(run.evaluation_tasks) * len(run.evaluation.lengths)
    always = run.evaluation.only_below >= 1 and run.evaluation.short_below >= 1
    at_end = range(short.start + long, short.stop + long)
    return Demand(
        required=(regular if always or short.start else frozenset()) | last,
        allowed=regular | last,
        rows=at_end if always else range(short.start or long, at_end.stop),
        rows_at_end=at_end,
    )


def _short_rows(run: RunConfig) -> range:
    """How many short tests there can be at one step."""
    if not run.evaluation.short_sequences:
        return range(1)
    lengths = [len(_short_lengths(run, name)) for name in run.evaluation_tasks]
    least = [min(run.evaluation.stop_after_wrong or each, each) for each in lengths]
    return range(sum(least), sum(lengths) + 1)


def _short_lengths(run: RunConfig, name: str) -> list[int]:
    return valid_lengths(task(name), run.training.min_length, run.training.max_length)


def demanded_epochs(run: RunConfig, state: str, steps: int) -> Demand:
    """The steps at which a seed run that ended at `steps` reported an epoch: as for tests.

    A row for each task it was trained on since the epoch before.
    """
    regular = frozenset(range(run.training.steps_per_epoch, steps, run.training.steps_per_epoch))
    steps_all = regular | frozenset([steps] if state == SeedState.FINISHED else [])
    rows = range(1, len(run.training.trained_tasks) + 1)
    return Demand(required=steps_all, allowed=steps_all, rows=rows, rows_at_end=rows)


def verify(conn: Connection, sweep_id: str, checkpoints: Path | None) -> Verification:
    """Hold a sweep's rows, and the checkpoints of its ended seed runs, against its spec.

    Args:
        conn: A connection.
        sweep_id: The sweep.
        checkpoints: Folder of checkpoints; None, or one without this sweep's, reads no file.

    Raises:
        SweepNotFound: There is no such sweep.
    """
    proof = _Proof(conn, queries.sweep(conn, sweep_id), checkpoints)
    findings = proof.findings()
    shown = list(islice(findings, SHOWN))
    total = len(shown) + sum(1 for _ in findings)
    return Verification(**proof.counts(), holds=total == 0, findings_total=total, findings=shown)


class _Proof:
    """The proof of one sweep; its counts are complete when its findings have been read."""

    def __init__(
        self, conn: Connection, sweep: Mapping[str, Any], checkpoints: Path | None
    ) -> None:
        self._conn = conn
        self._sweep = sweep
        self._folder = checkpoints if checkpoints and (checkpoints / sweep["id"]).is_dir() else None
        self._stored = queries.configurations(conn, sweep["id"])
        self._runs = audit.seed_runs_of(conn, sweep["id"])
        self._expected = 0
        self._tests = self._pointed = self._read = 0

    def counts(self) -> dict[str, Any]:
        """What was counted."""
        states = Counter(row["state"] for row in self._runs)
        return {
            "sweep_id": self._sweep["id"],
            "sweep": self._sweep["name"],
            "state": self._sweep["state"],
            "expected": self._expected,
            "found": len(self._runs),
            **{state.value: states[state] for state in SeedState},
            "tests": self._tests,
            "checkpoints": self._pointed,
            "checkpoints_read": self._read,
        }

    def findings(self) -> Iterator[Finding]:
        """Everything that is not as the spec demands."""
        try:
            spec = load_spec(self._sweep["spec"])
        except SpecError as error:
            yield Finding(kind="spec", message=f"the stored spec is not valid: {error}")
            return
        yield from self._denominator(spec)
        for stored in self._stored:
            yield from self._configuration(stored)

    def _denominator(self, spec: SweepSpec) -> Iterator[Finding]:
        """Every (configuration, seed) of the spec once, and no other."""
        expanded = {each.position: each for each in configurations(spec)}
        seeds = spec.seeds.all
        self._expected = len(expanded) * len(seeds)
        position = {row["id"]: row["position"] for row in self._stored}
        there = Counter((position.get(row["configuration_id"]), row["seed"]) for row in self._runs)
        for stored in self._stored:
            yield from _same_configuration(stored, expanded.get(stored["position"]))
        for place, each in expanded.items():
            for seed in seeds:
                number = there.pop((place, seed), 0)
                if number != 1:
                    kind = "duplicate" if number else "missing"
                    message = f"{number} seed runs in the record, the spec demands one"
                    yield Finding(kind=kind, message=message, configuration=each.label, seed=seed)
        labels = {row["position"]: row["label"] for row in self._stored}
        for (spot, seed), number in there.items():
            message = f"{number} seed runs in the record, the spec demands none"
            label = None if spot is None else labels.get(spot)
            yield Finding(kind="extra", message=message, configuration=label, seed=seed)

    def _configuration(self, stored: Mapping[str, Any]) -> Iterator[Finding]:
        """The rows and checkpoints of a configuration's ended seed runs."""
        ended = [
            row
            for row in self._runs
            if row["configuration_id"] == stored["id"] and row["state"] in RESULTS
        ]
        if not ended:
            return
        run = RunConfig.from_mapping(stored["run"])
        conn, place = self._conn, stored["id"]
        yield from _wrong_kinds(stored, run, audit.tests_by_kind(conn, place))
        tests = _steps(audit.tests_by_step(conn, place))
        epochs = _steps(audit.epochs_by_step(conn, place))
        carries = defaultdict(set)
        for row in audit.carries_by_task(conn, place):
            carries[row["seed_run_id"]].add((row["task"], row["step"]))
        for row in ended:
            found = _Findings(stored["label"], row)
            state, steps = row["state"], row["steps"]
            if steps > row["max_steps"]:
                yield found("steps", f"{steps} steps, more than the {row['max_steps']} it may take")
            its_tests = tests.get(row["id"], {})
            self._tests += len(its_tests)
            demand = demanded_tests(run, state, steps)
            yield from found.rows("test", its_tests, demand)
            demand = demanded_epochs(run, state, steps)
            yield from found.rows("epoch", epochs.get(row["id"], {}), demand)
            yield from found.carries(_demanded_carries(run, state, steps), carries[row["id"]])
            yield from self._checkpoint(found, row)

    def _checkpoint(self, found: "_Findings", row: Mapping[str, Any]) -> Iterator[Finding]:
        if row["path"] is None:
            # Those of results taken over stay with the sweep that trained them.
            if row["state"] == SeedState.FINISHED and row["reused_from"] is None:
                yield found("checkpoint", "finished, and the record points to no checkpoint")
            return
        self._pointed += 1
        if row["state"] == SeedState.FINISHED and row["checkpoint_step"] != row["steps"]:
            at = f"its checkpoint is of step {row['checkpoint_step']}, its end at {row['steps']}"
            yield found("checkpoint", at)
        if self._folder is None:
            return
        path = self._folder / row["path"]
        if not path.is_file():
            yield found("checkpoint", f"there is no file {row['path']}")
            return
        self._read += 1
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != row["sha256"]:
                yield found("checkpoint", f"the file {row['path']} is not what was recorded")


@dataclass(frozen=True)
class _Findings:
    """Makes the findings about one seed run."""

    configuration: str
    row: Mapping[str, Any]

    def __call__(self, kind: str, message: str) -> Finding:
        return Finding(
            kind=kind,
            message=message,
            configuration=self.configuration,
            seed=self.row["seed"],
            seed_run_id=self.row["id"],
        )

    def rows(self, kind: str, there: Mapping[int, int], demand: Demand) -> Iterator[Finding]:
        """Steps without their rows, with too few of them, and beyond what was trained."""
        if gaps := demand.required - there.keys():
            yield self(kind, f"no {kind} at {_listed(gaps)}")
        if more := there.keys() - demand.allowed:
            yield self(kind, f"a {kind} nobody asked for at {_listed(more)}")
        end = self.row["steps"] if self.row["state"] == SeedState.FINISHED else None
        for rows, steps in (
            (demand.rows, demand.allowed - {end}),
            (demand.rows_at_end, demand.allowed & {end}),
        ):
            if uneven := {step for step in there.keys() & steps if there[step] not in rows}:
                number = " to ".join(map(str, sorted({rows[0], rows[-1]})))
                yield self(kind, f"not {number} rows of a {kind} at {_listed(uneven)}")

    def carries(
        self, demanded: set[tuple[str, int]], there: set[tuple[str, int]]
    ) -> Iterator[Finding]:
        """Carry results that are missing, or of another task or step."""
        for name, step in sorted(demanded ^ there):
            word = "no" if (name, step) in demanded else "an unexpected"
            yield self("carry", f"{word} carry result of {name} at step {step}")


def _demanded_carries(run: RunConfig, state: str, steps: int) -> set[tuple[str, int]]:
    if state != SeedState.FINISHED or not run.evaluation.carry_limit:
        return set()
    return {(name, steps) for name in run.evaluation_tasks if task(name).operation == "+"}


def _same_configuration(
    stored: Mapping[str, Any], expanded: Configuration | None
) -> Iterator[Finding]:
    """Whether a stored configuration is the one its place in the spec stands for.

    Stored keys are compared, with today's default for a key that is younger than the sweep.
    """
    label = stored["label"]
    if expanded is None:
        yield Finding(
            kind="extra", message="the spec has no such configuration", configuration=label
        )
        return
    if digest(stored["run"]) != stored["digest"]:
        message = "its stored keys are not those its digest was made of"
        yield Finding(kind="configuration", message=message, configuration=label)
    try:
        same = RunConfig.from_mapping(stored["run"]) == expanded.run
    except TypeError as error:
        message = f"this code does not know its keys: {error}"
        yield Finding(kind="configuration", message=message, configuration=label)
        return
    if not same:
        message = "its stored keys are not those of the spec"
        yield Finding(kind="configuration", message=message, configuration=label)


def _wrong_kinds(stored: Mapping[str, Any], run: RunConfig, kinds: Rows) -> Iterator[Finding]:
    """Tests of a task, length or number of sequences the configuration does not name."""
    for row in kinds:
        if row["sequences"] != _sequences(run, row["task"], row["length"]):
            message = f"tested on {row['sequences']} sequences of {row['task']} at {row['length']}"
            yield Finding(kind="test", message=message, configuration=stored["label"])


def _sequences(run: RunConfig, name: str, length: int) -> int | None:
    """How many sequences a test of a task and length has; None: there is no such test."""
    if name not in run.evaluation_tasks:
        return None
    if length in run.evaluation.lengths:
        return run.evaluation.sequences
    short = run.evaluation.short_sequences
    return short if short and length in _short_lengths(run, name) else None


def _steps(rows: Rows) -> dict[int, dict[int, int]]:
    """Seed run -> step -> number of rows."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for row in rows:
        found[row["seed_run_id"]][row["step"]] = row["rows"]
    return found


def _listed(steps: set[int] | frozenset[int]) -> str:
    ordered = sorted(steps)
    more = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return f"step {', '.join(map(str, ordered[:5]))}{more}"
