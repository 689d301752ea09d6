"""What training yields: plain facts about seeds, numbers only.

`PackTrainer.events()` yields them in the order they become true. Counts are raw, so that every
fraction, first hit and threshold can be derived later without training again.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a seed run's training ended. Both are results."""

    #: Trained to its last step or to its stop rule.
    FINISHED = "finished"
    #: The loss became non-finite or exploded; trained no further.
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True)
class TrainingEpoch:
    """A seed's training batches since the last epoch, in-curriculum ones only."""

    seed: int
    step: int
    task: str
    #: Longest padded length in use.
    length: int
    #: The curriculum's current length.
    curriculum_length: int
    #: Mean cross-entropy a position, penalties left out; nan when no batch was in the curriculum.
    loss: float
    sequences: int
    wrong_sequences: int
    symbols: int
    wrong_symbols: int
    learning_rate: float
    pull: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One test of a seed on fresh sequences of one task and length."""

    seed: int
    step: int
    task: str
    length: int
    sequences: int
    wrong_sequences: int
    symbols: int
    wrong_symbols: int


@dataclass(frozen=True, kw_only=True)
class CarryTrial:
    """Sums with one carry chain of the given length (paper Figure 6)."""

    seed: int
    step: int
    task: str
    carry_length: int
    trials: int
    wrong: int


@dataclass(frozen=True, kw_only=True)
class CarryThreshold:
    """The smallest carry length with an error of at least one half."""

    seed: int
    step: int
    task: str
    #: None: no such length up to `limit` (right-censored).
    threshold: int | None
    limit: int


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a seed wrote where a probe asked it: raw counts of one point."""

    seed: int
    step: int
    task: str
    probe: str
    #: Where it was asked, such as the carry's length; unique within the probe.
    point: int
    #: The same as people read it.
    label: str
    sequences: int
    wrong_sequences: int
    symbols: int
    wrong_symbols: int
    #: Columns of the first and the last wrong symbol over all sequences, from 0, which is a
    #: number's last digit; None where nothing is wrong.
    first_wrong: int | None
    last_wrong: int | None


@dataclass(frozen=True, kw_only=True)
class SeedEnded:
    """A seed's training is over."""

    seed: int
    outcome: Outcome
    step: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A point between two steps, about once a second, where training may be left."""

    step: int
    #: Seeds still training.
    active: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """Everything up to this step was yielded: a checkpoint may be taken now."""

    step: int
    active: tuple[int, ...]


Measurement = TrainingEpoch | Evaluation | CarryTrial | CarryThreshold | ProbeResult
Event = Measurement | SeedEnded | Progress | EpochEnd
