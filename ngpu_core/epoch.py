"""What a seed's batches of one epoch add up to, task by task."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ngpu_core.config import RunConfig
from ngpu_core.curriculum import Curriculum, EpochStatistics
from ngpu_core.events import TrainingEpoch


@dataclass(kw_only=True)
class EpochCounts:
    """What the in-curriculum batches of one task in the running epoch add up to."""

    batches: int = 0
    loss: float = 0.0
    weighted_saturation: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    longest: int = 0

    def add(self, loss: float, saturation: float, counts: Sequence[int], length: int) -> None:
        """Count one batch."""
        self.batches += 1
        self.loss += loss
        self.weighted_saturation += saturation
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.longest = max(self.longest, length)

    @property
    def sequence_error(self) -> float:
        """Share of wrong sequences; 1 before anything was counted."""
        return self.counts[1] / self.counts[0] if self.counts[0] else 1.0

    def statistics(self) -> EpochStatistics:
        """What the curriculum decides on; some batch was counted."""
        return EpochStatistics(
            loss=self.loss / self.batches,
            sequence_error=self.sequence_error,
            weighted_saturation=self.weighted_saturation / self.batches,
        )


@dataclass(kw_only=True)
class Epoch:
    """The running epoch of one seed: the counts of each task it was trained on, by place."""

    tasks: dict[int, EpochCounts] = field(default_factory=dict)

    def of(self, place: int) -> EpochCounts:
        """The counts of a task that is trained on."""
        return self.tasks.setdefault(place, EpochCounts())

    @property
    def sequence_error(self) -> float:
        """Of the task that did worst; 1 before anything was counted."""
        return max((counts.sequence_error for counts in self.tasks.values()), default=1.0)

    def statistics(self) -> Mapping[int, EpochStatistics]:
        """What the curriculum decides on: of the tasks with a batch in the curriculum."""
        return {place: each.statistics() for place, each in self.tasks.items() if each.batches}

    def events(
        self, config: RunConfig, curriculum: Curriculum, seed: int, step: int
    ) -> Iterator[TrainingEpoch]:
        """The facts of the epoch, one a task trained on, in the order of the tasks."""
        for place, each in sorted(self.tasks.items()):
            sequences, wrong_sequences, symbols, wrong_symbols = each.counts
            yield TrainingEpoch(
                seed=seed,
                step=step,
                task=config.training.tasks[place],
                length=each.longest,
                curriculum_length=curriculum.lengths[place],
                loss=each.loss / each.batches if each.batches else float("nan"),
                sequences=sequences,
                wrong_sequences=wrong_sequences,
                symbols=symbols,
                wrong_symbols=wrong_symbols,
                learning_rate=curriculum.learning_rate,
                pull=curriculum.pull,
            )
