"""Which length next, and what changes from epoch to epoch. Pure: numbers in, numbers out.

A `Curriculum` holds all that training adapts for a seed: the length, the learning rate, the
relaxation pull, the saturation weight (SPECS B.2, B.3, D). Curriculum kind 0: always the first
task.
"""

from dataclasses import asdict, dataclass, replace
from math import exp, isfinite
from typing import Any

import numpy as np

from ngpu_core.config import RunConfig
from ngpu_core.tasks.registry import task, valid_lengths

#: Entry that keeps the learning rate from falling right after the curriculum was extended.
EXTENDED = 1000.0


@dataclass(frozen=True, kw_only=True)
class EpochStatistics:
    """A seed's in-curriculum batches of one epoch."""

    loss: float
    sequence_error: float
    #: Mean weighted saturation cost; 0 in families without one.
    weighted_saturation: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """A seed's place in its training.

    Attributes:
        length: Longest length counted as in-curriculum (`curriculum`); `all_bins` keeps max_length.
        learning_rate: The current one.
        pull: Weight of the relaxation penalty.
        saturation_weight: Weight of the saturation cost.
        losses: What earlier epochs recorded for the learning-rate decision.
        average_copies: Whether the last epoch asked for the copies to be averaged.
    """

    length: int
    learning_rate: float
    pull: float
    saturation_weight: float
    losses: tuple[float, ...]
    average_copies: bool = False

    @classmethod
    def start(cls, config: RunConfig) -> "Curriculum":
        """Before the first step."""
        training = config.training
        short = min(training.min_length + 3, training.max_length)
        return cls(
            length=short if training.schedule == "curriculum" else training.bins[-1],
            learning_rate=training.learning_rate,
            pull=training.pull,
            saturation_weight=training.saturation,
            losses=(1e4, 1e4, 1e4),
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Curriculum":
        """The inverse of `to_mapping`."""
        return cls(**{**mapping, "losses": tuple(mapping["losses"])})

    def at_full_length(self, config: RunConfig) -> bool:
        """Whether every training length is in the curriculum."""
        training = config.training
        return training.schedule == "all_bins" or self.length >= training.max_length

    def after_epoch(self, config: RunConfig, statistics: EpochStatistics | None) -> "Curriculum":
        """What changes after an epoch; None: no batch of it was in the curriculum."""
        if statistics is None:
            return replace(self, average_copies=False)
        if config.training.schedule == "all_bins":
            return self._after_all_bins(config, statistics)
        mastered = statistics.sequence_error <= config.training.curriculum_error
        extended = mastered and self.length < config.training.max_length
        length = _next_length(config, self.length) if extended else self.length
        return replace(
            self._decayed(config, statistics.loss, extended)._pulled(config, mastered),
            length=length,
        )

    def _decayed(self, config: RunConfig, loss: float, extended: bool) -> "Curriculum":
        """Lower the rate when this epoch's perplexity is worse than each of the last three."""
        training = config.training
        perplexity = exp(min(loss, 50.0)) if isfinite(loss) else exp(50.0)
        worse = perplexity > max(self.losses[-3:])
        rate = self.learning_rate * (training.learning_rate_decay if worse else 1)
        losses = (*self.losses, perplexity, *([EXTENDED] if extended else []))
        floor = training.learning_rate * training.learning_rate_floor
        return replace(self, learning_rate=max(rate, floor), losses=losses[-3:])

    def _pulled(self, config: RunConfig, mastered: bool) -> "Curriculum":
        """Strengthen the pull after a mastered epoch; at its ceiling average the copies instead."""
        if not mastered or config.model.weight_copies == 1:
            return replace(self, average_copies=False)
        if self.pull >= config.training.pull_ceiling:
            return replace(self, average_copies=True)
        return replace(self, pull=self.pull * config.training.pull_growth, average_copies=False)

    def _after_all_bins(self, config: RunConfig, statistics: EpochStatistics) -> "Curriculum":
        """DNGPU: decay when the last two losses are above the one before; balance saturation."""
        training = config.training
        losses = (*self.losses, statistics.loss)[-3:]
        worse = min(losses[-2:]) > min(losses)
        floor = training.learning_rate * training.learning_rate_floor
        rate = max(self.learning_rate * (training.learning_rate_decay if worse else 1), floor)
        weight = self.saturation_weight
        if weight > 0 and statistics.weighted_saturation > 0:
            wanted = weight * self.learning_rate * statistics.loss / statistics.weighted_saturation
            weight = min(max(wanted, 1e-20), training.saturation)
        return replace(self, learning_rate=rate, losses=losses, saturation_weight=weight)


def _next_length(config: RunConfig, length: int) -> int:
    """The next valid length of the first task, at most max_length."""
    longest = config.training.max_length
    longer = valid_lengths(task(config.training.tasks[0]), length + 1, longest)
    return longer[0] if longer else longest


def draw_length(config: RunConfig, current: int, generator: np.random.Generator) -> int:
    """A training length for one batch (SPECS B.3).

    U{min..current}; with probability 0.60 the longer of that and another such draw; with 0.25 the
    longer of that and U{min..max}; again until the task can have it. Lengths above `current` are
    trained on but not counted.
    """
    training = config.training
    chosen = task(training.tasks[0])
    valid = set(valid_lengths(chosen, training.min_length, training.max_length))
    if not valid:
        raise ValueError(
            f"task {chosen.name} has no length in {training.min_length}..{training.max_length}"
        )
    while True:
        length = generator.integers(training.min_length, current + 1)
        if generator.random() < 0.60:
            length = max(length, generator.integers(training.min_length, current + 1))
        if generator.random() < 0.25:
            length = max(length, generator.integers(training.min_length, training.max_length + 1))
        if int(length) in valid:
            return int(length)
