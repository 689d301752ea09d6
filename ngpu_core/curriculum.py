"""Which task and length next, and what changes from epoch to epoch. Pure: numbers in, numbers out.

A `Curriculum` holds all that training adapts for a seed: each task's length, the learning rate, the
relaxation pull, the saturation weight (SPECS B.2, B.3, D). Tasks are named by their place among
`training.trained_tasks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp, isfinite
from typing import Any

import numpy as np

from ngpu_core.config import RunConfig
from ngpu_core.tasks.registry import Task, task, valid_lengths

#: Entry that keeps the learning rate from falling right after the curriculum was extended.
EXTENDED = 1000.0


@dataclass(frozen=True, kw_only=True)
class Progression:
    """How a curriculum of kind 1 to 5 goes through its tasks. Solved is a task at full length."""

    #: Probability of drawing a task instead of taking the first unsolved one.
    drawn_share: float = 0.2
    #: Draw from the unsolved tasks only.
    unsolved_only: bool = False
    #: With all tasks solved take the last one instead of drawing.
    last_if_solved: bool = False
    #: Epoch sequence error above which a solved task goes back by a symbol; 1 never.
    put_back_above: float = 1.0


#: `training.curriculum` -> what it means; 0 is none.
PROGRESSIONS: Mapping[int, Progression] = {
    1: Progression(),
    2: Progression(put_back_above=0.01),
    3: Progression(drawn_share=0.0),
    4: Progression(unsolved_only=True),
    5: Progression(unsolved_only=True, last_if_solved=True),
}


@dataclass(frozen=True, kw_only=True)
class EpochStatistics:
    """A seed's in-curriculum batches of one task in one epoch."""

    loss: float
    sequence_error: float
    #: Mean weighted saturation cost; 0 in families without one.
    weighted_saturation: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """A seed's place in its training.

    Attributes:
        lengths: Of each task, the longest length counted as in-curriculum; with `all_bins` the last
            bin.
        learning_rate: The current one.
        pull: Weight of the relaxation penalty.
        saturation_weight: Weight of the saturation cost.
        losses: What earlier epochs recorded for the learning-rate decision.
        average_copies: Whether the last epoch asked for the copies to be averaged.
    """

    lengths: tuple[int, ...]
    learning_rate: float
    pull: float
    saturation_weight: float
    losses: tuple[float, ...]
    average_copies: bool = False

    @classmethod
    def start(cls, config: RunConfig) -> "Curriculum":
        """Before the first step."""
        training = config.training
        if training.schedule == "all_bins":
            lengths: tuple[int, ...] = (training.bins[-1],)
        else:
            lengths = tuple(_first_length(config, task(name)) for name in training.trained_tasks)
        return cls(
            lengths=lengths,
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
        tuples = {key: tuple(mapping[key]) for key in ("lengths", "losses")}
        return cls(**{**mapping, **tuples})

    def at_full_length(self, config: RunConfig) -> bool:
        """Whether every training length of every task is in the curriculum."""
        training = config.training
        return training.schedule == "all_bins" or min(self.lengths) >= training.max_length

    def after_epoch(
        self, config: RunConfig, statistics: Mapping[int, EpochStatistics]
    ) -> "Curriculum":
        """What changes after an epoch.

        The learning rate looks at the loss of the first task among those seen (SPECS B.2).

        Args:
            config: What is trained.
            statistics: By task; without those of which no batch was in the curriculum.
        """
        if not statistics:
            return replace(self, average_copies=False)
        first = statistics[min(statistics)]
        if config.training.schedule == "all_bins":
            return self._after_all_bins(config, first)
        judged = {
            place: _judge(config, place, self.lengths[place], one.sequence_error)
            for place, one in statistics.items()
        }
        lengths = list(self.lengths)
        for place, judgement in judged.items():
            lengths[place] = judgement.length
        extended = any(judgement.extended for judgement in judged.values())
        mastered = any(judgement.mastered for judgement in judged.values())
        return replace(
            self._decayed(config, first.loss, extended)._pulled(config, mastered),
            lengths=tuple(lengths),
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


@dataclass(frozen=True, kw_only=True)
class _Judgement:
    """What one task's epoch says."""

    length: int
    #: The pull may grow, or the copies be averaged.
    mastered: bool = False
    #: The learning rate is protected for a while.
    extended: bool = False


def _judge(config: RunConfig, place: int, length: int, error: float) -> _Judgement:
    """Lengthen a task, leave it, or put it back.

    Of a progression's task that is, or just came, at full length, nothing is said but the length:
    pull and averaging stop there (SPECS B.3).
    """
    training = config.training
    full, progression = training.max_length, PROGRESSIONS.get(training.curriculum)
    if progression and length >= full and error > progression.put_back_above:
        shortest = _valid(config, task(training.tasks[place]))[:1]
        return _Judgement(length=max([full - 1, *shortest]))
    if error > training.curriculum_error:
        return _Judgement(length=length)
    extended = length < full
    reached = _next_length(config, length) if extended else length
    if progression and reached >= full:
        return _Judgement(length=reached)
    return _Judgement(length=reached, mastered=True, extended=extended)


def _valid(config: RunConfig, chosen: Task) -> list[int]:
    return valid_lengths(chosen, config.training.min_length, config.training.max_length)


def _first_length(config: RunConfig, chosen: Task) -> int:
    """Where a task's curriculum starts: three above the minimum, and at a length it has."""
    training = config.training
    start = min(training.min_length + 3, training.max_length)
    return max([start, *_valid(config, chosen)[:1]])


def _next_length(config: RunConfig, length: int) -> int:
    """The next valid length of the first task, at most max_length."""
    longest = config.training.max_length
    longer = valid_lengths(task(config.training.tasks[0]), length + 1, longest)
    return longer[0] if longer else longest


def draw_task(config: RunConfig, lengths: Sequence[int], generator: np.random.Generator) -> int:
    """The place of the task to train on for one step (SPECS B.3).

    Args:
        config: What is trained.
        lengths: The curriculum's, of each task.
        generator: Of this step; kind 0 draws nothing from it.
    """
    progression = PROGRESSIONS.get(config.training.curriculum)
    if progression is None:
        return 0
    unsolved = [place for place, at in enumerate(lengths) if at < config.training.max_length]
    if unsolved and generator.random() >= progression.drawn_share:
        return unsolved[0]
    if not unsolved and progression.last_if_solved:
        return len(lengths) - 1
    among = unsolved if unsolved and progression.unsolved_only else range(len(lengths))
    return int(among[generator.integers(len(among))])


def draw_length(
    config: RunConfig, chosen: Task, current: int, generator: np.random.Generator
) -> int:
    """A training length for one batch of a task (SPECS B.3).

    U{min..current}; with probability 0.60 the longer of that and another such draw; with 0.25 the
    longer of that and U{min..max}; again until the task can have it. Lengths above `current` are
    trained on but not counted.
    """
    training = config.training
    valid = set(_valid(config, chosen))
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
