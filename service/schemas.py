"""What the API answers: models of view rows, named and ordered as the columns of the views."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from db.states import Desired, EventKind, SeedState, SuccessMetric, SuccessWhen, SweepState

Item = TypeVar("Item")


class Row(BaseModel):
    """A row of the record. Numbers that are not finite are null, as in the record."""

    model_config = ConfigDict(ser_json_inf_nan="null")


class Page(Row, Generic[Item]):
    """Part of a list."""

    items: list[Item]
    next_cursor: str | None = Field(description="Pass it as `cursor`; null: this was the last page")


class Rule(Row):
    """The success rule: metric < below at that length."""

    metric: SuccessMetric
    length: int
    below: float
    when: SuccessWhen
    task: str | None = Field(description="null: every evaluated task must be below")


class Progress(Row):
    """How far a sweep is: its seed runs by state, and its training steps."""

    requested: int
    pending: int
    running: int
    finished: int
    diverged: int
    failed: int
    cancelled: int
    steps_done: int
    steps_total: int = Field(description="At most: a seed may stop early")
    seed_steps_per_second: float | None = Field(description="null while nothing tells")
    seconds_left: float | None = Field(description="At that rate; null while nothing tells")


class SweepSummary(Row):
    """A sweep in a list."""

    id: str
    name: str
    state: SweepState
    desired: Desired
    priority: int = Field(description="Sweeps of a greater one are trained first")
    labels: dict[str, str]
    digest: str
    rule: Rule
    progress: Progress
    revision: int
    error: str | None
    code_version: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Sweep(SweepSummary):
    """A sweep with the spec it was made from, in canonical form."""

    spec: dict[str, Any]


class SubmittedSweep(Sweep):
    """The answer to a submission."""

    created: bool = Field(description="false: this spec was submitted before")


class ChangedSweep(Sweep):
    """A sweep after a retry or an extension."""

    queued: int = Field(description="Seed runs queued by this request")


class Extension(BaseModel):
    """How many seeds to add to every configuration."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1, le=100_000)


class Priority(BaseModel):
    """Which sweeps go first: those of a greater priority."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=-1000, le=1000)


class SweepPreview(Row):
    """What a spec would run, and what it could show."""

    configurations: int
    excluded: int = Field(description="Points of the grid left out")
    seed_runs: int
    reused: int = Field(description="Seed runs that this code has trained before: taken over")
    trials: int
    seed_steps: int
    estimated_hours: float = Field(description="One trial after another, without those reused")
    basis: str = Field(description="What the estimate rests on")
    trial_bytes: int = Field(description="Predicted device memory of the largest trial")
    memory_warning: str | None = Field(description="When that exceeds what a trial has")
    detectable_difference: float = Field(
        description="Smallest difference in success fraction this many seeds can show"
    )
    labels: list[str] = Field(description="Of the first configurations")


class SuccessFraction(Row):
    """A row of the view `success_fractions`."""

    sweep_id: str
    sweep: str
    configuration_id: int
    position: int
    configuration: str
    axes: dict[str, str]
    requested: int
    finished: int
    diverged: int
    failed: int
    cancelled: int
    pending: int
    running: int
    counted: int = Field(description="finished + diverged: the denominator")
    excluded: int = Field(description="failed + cancelled")
    succeeded: int
    fraction: float | None
    low: float | None = Field(description="95 %: Wilson, Clopper–Pearson at 0/n and n/n")
    high: float | None
    succeeded_ever: int
    fraction_ever: float | None
    low_ever: float | None
    high_ever: float | None
    succeeded_final: int
    fraction_final: float | None
    low_final: float | None
    high_final: float | None
    when_rule: SuccessWhen


class SeedResult(Row):
    """A row of the view `seed_results`."""

    seed_run_id: int
    sweep_id: str
    sweep: str
    configuration_id: int
    configuration: str
    axes: dict[str, str]
    seed: int
    state: SeedState
    succeeded: bool | None = Field(description="null until it is known")
    succeeded_ever: bool | None
    succeeded_final: bool | None
    first_success_step: int | None
    final_error: float | None
    best_error: float | None
    success_length: int
    carry_threshold: int | None
    carry_limit: int | None
    steps: int
    max_steps: int
    wall_seconds: float
    reason: str | None
    error: str | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    code_version: str
    host: str | None
    engine: str | None = Field(description="What computed it; null before it started")
    instruction_set: str | None = Field(description="Of the native engine")
    reused_from: int | None = Field(description="The seed run whose result was taken over")


class SeedRun(SeedResult):
    """One seed run with its provenance."""

    run: dict[str, Any] = Field(description="Its complete configuration")
    configuration_digest: str
    sweep_digest: str
    pack_id: int
    checkpoint_step: int | None
    checkpoint_path: str | None = Field(description="Relative to the folder of checkpoints")
    checkpoint_sha256: str | None
    checkpoint_bytes: int | None


class LengthEvaluation(Row):
    """The last test of one task at one length."""

    task: str
    length: int
    step: int
    sequences: int
    wrong_sequences: int
    symbols: int
    wrong_symbols: int
    sequence_error: float
    symbol_error: float


class SeedOfSweep(Row):
    """What every row about one seed run begins with."""

    sweep_id: str
    sweep: str
    configuration_id: int
    configuration: str
    seed_run_id: int
    seed: int


class CarryThreshold(SeedOfSweep):
    """A row of the view `carry_thresholds`."""

    state: SeedState
    task: str
    threshold: int | None
    carry_limit: int
    censored: bool = Field(description="No carry length up to carry_limit had an error of a half")
    step: int


class ProbeError(SeedOfSweep):
    """A row of the view `probe_errors`."""

    state: SeedState
    task: str
    probe: str
    point: int = Field(description="Where the probe asked, such as the carry's length")
    label: str = Field(description="The same as people read it")
    sequences: int
    wrong_sequences: int
    sequence_error: float
    symbols: int
    wrong_symbols: int
    symbol_error: float | None
    first_wrong: int | None = Field(
        description="Column of the first wrong symbol, from 0, a number's last digit"
    )
    last_wrong: int | None
    step: int


class CurvePoint(SeedOfSweep):
    """A row of the view `learning_curves`."""

    kind: str = Field(description="training or test")
    step: int
    task: str
    length: int
    sequence_error: float | None
    symbol_error: float | None
    loss: float | None
    learning_rate: float | None
    curriculum_length: int | None


class Failure(SeedOfSweep):
    """A row of the view `failures`."""

    state: SeedState
    steps: int
    max_steps: int
    reason: str | None
    error: str | None
    attempts: int
    finished_at: datetime | None
    host: str | None


class SweepEvent(Row):
    """Something that happened to a sweep."""

    revision: int
    kind: EventKind
    body: dict[str, Any]
    created_at: datetime
