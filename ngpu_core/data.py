"""Training batches of one seed: fresh every step, or from a pool drawn once (SPECS D)."""

from dataclasses import dataclass, field

import numpy as np

from ngpu_core.config import RunConfig
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import Batch, Task, task, valid_lengths

#: Draws without a new example before a pool is taken as complete (SPECS D).
FAILED_DRAWS = 20


def pad(batch: Batch, length: int) -> Batch:
    """Pad a batch with symbol 0 to `length` columns."""
    columns = batch.targets.shape[1]
    if columns == length:
        return batch
    padded = Batch(  # several times faster than np.pad
        inputs=np.zeros((*batch.inputs.shape[:2], length), batch.inputs.dtype),
        targets=np.zeros((len(batch.targets), length), batch.targets.dtype),
    )
    padded.inputs[:, :, :columns] = batch.inputs
    padded.targets[:, :columns] = batch.targets
    return padded


def stack(batches: list[Batch]) -> Batch:
    """One batch after another."""
    return Batch(
        inputs=np.concatenate([batch.inputs for batch in batches]),
        targets=np.concatenate([batch.targets for batch in batches]),
    )


def bin_length(chosen: Task, size: int) -> int:
    """The longest length of a task that a bin holds.

    Raises:
        ValueError: The bin is shorter than the task's shortest length.
    """
    lengths = valid_lengths(chosen, 1, size)
    if not lengths:
        raise ValueError(f"bin {size} is too short for task {chosen.name}")
    return lengths[-1]


@dataclass(kw_only=True)
class TrainingData:
    """Where one seed's training batches come from. A batch is fixed by (seed, step, length)."""

    config: RunConfig
    seed: int
    #: By the task's place and the length.
    _pools: dict[tuple[int, int], Batch] = field(default_factory=dict)

    def task(self, place: int) -> Task:
        """A task trained on, by its place."""
        return task(self.config.training.tasks[place])

    def curriculum_batch(self, step: int, length: int, place: int = 0) -> Batch:
        """A batch of a task at exactly this length."""
        generator = stream(self.seed, _of_task(f"data:{length}", place), step)
        return self._draw(generator, self.config.training.batch_size, length, place)

    def bin_batch(self, step: int, size: int) -> Batch:
        """A batch of one bin of the first task, a share of it shorter, padded to the bin's size."""
        training = self.config.training
        generator = stream(self.seed, f"data:{size}", step)
        longest = bin_length(self.task(0), size)
        shorter = valid_lengths(self.task(0), 1, longest - 1)
        count = training.batch_size
        parts = []
        if training.shorter_share > 0 and shorter:
            drawn = generator.choice(shorter, generator.binomial(count, training.shorter_share))
            for length, times in zip(*np.unique(drawn, return_counts=True), strict=True):
                parts.append(pad(self._draw(generator, int(times), int(length)), size))
            count -= len(drawn)
        parts.append(pad(self._draw(generator, count, longest), size))
        return stack(parts)

    def _draw(
        self, generator: np.random.Generator, count: int, length: int, place: int = 0
    ) -> Batch:
        if not self.config.training.examples_per_length:
            return self._fresh(generator, count, length, place)
        pool = self._pool(length, place)
        chosen = generator.integers(0, len(pool.targets), count)
        return Batch(inputs=pool.inputs[chosen], targets=pool.targets[chosen])

    def _fresh(self, generator: np.random.Generator, count: int, length: int, place: int) -> Batch:
        symbols = min(self.config.model.input_symbols, self.config.model.output_symbols)
        return self.task(place).sample(generator, count, length, symbols=symbols)

    def _pool(self, length: int, place: int) -> Batch:
        """Up to `examples_per_length` distinct examples of a length, drawn once."""
        if (place, length) not in self._pools:
            self._pools[place, length] = self._distinct(length, place)
        return self._pools[place, length]

    def _distinct(self, length: int, place: int) -> Batch:
        wanted = self.config.training.examples_per_length
        generator = stream(self.seed, _of_task(f"pool:{length}", place))
        pool = self._fresh(generator, wanted, length, place)
        for _ in range(FAILED_DRAWS):
            flat = pool.inputs.reshape(len(pool.inputs), -1)
            _, first = np.unique(flat, axis=0, return_index=True)
            first.sort()
            pool = Batch(inputs=pool.inputs[first], targets=pool.targets[first])
            if len(first) >= wanted or len(first) < wanted // 2:
                break  # full, or so few exist that more draws find nothing new
            pool = stack([pool, self._fresh(generator, wanted - len(first), length, place)])
        return Batch(inputs=pool.inputs[:wanted], targets=pool.targets[:wanted])


def _of_task(purpose: str, place: int) -> str:
    """A purpose of streams, another one for each task; the first task's has no suffix."""
    return f"{purpose}:{place}" if place else purpose
