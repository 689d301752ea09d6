"""Training data drawn ahead: a thread generates the next steps' batches while this one is computed.

A batch is fixed by (seed, step, curriculum lengths), so one drawn early is the one that would be
drawn late. The curriculum decides when an epoch ends; so nothing is drawn beyond the epoch.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ngpu_core.config import RunConfig
from ngpu_core.curriculum import draw_length, draw_task
from ngpu_core.data import TrainingData
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import Batch

#: Steps drawn ahead of the one in training.
STEPS_AHEAD = 2

#: A seed's curriculum: the length of each of its tasks.
Lengths = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A seed's batches of one step, all of one task."""

    #: The task's place.
    place: int
    #: Each batch with its padded length.
    bins: list[tuple[Batch, int]]

    @property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """Equal for what can be computed at once: input rows and columns of each bin."""
        return tuple(batch.inputs.shape[1:] for batch, _ in self.bins)


def draw_step(data: TrainingData, step: int, lengths: Lengths) -> Drawn:
    """One seed's batches of one step: every bin's, or one of a length drawn up to the curriculum's.

    Args:
        data: The seed's.
        step: The training step.
        lengths: The curriculum's; `all_bins` does not look at them.
    """
    training = data.config.training
    if training.schedule == "all_bins":
        return Drawn(place=0, bins=[(data.bin_batch(step, size), size) for size in training.bins])
    place = 0
    if training.curriculum:
        place = draw_task(data.config, lengths, stream(data.seed, "task", step))
    generator = stream(data.seed, "length", step)
    length = draw_length(data.config, data.task(place), lengths[place], generator)
    batch = data.curriculum_batch(step, length, place)
    return Drawn(place=place, bins=[(batch, training.padded_length(length))])


def draw_seeds(
    data: Mapping[int, TrainingData], step: int, lengths: Mapping[int, Lengths]
) -> dict[int, Drawn]:
    """The batches of one step of every seed in `lengths`, its curriculum's lengths there."""
    return {seed: draw_step(data[seed], step, each) for seed, each in lengths.items()}


class DataAhead:
    """The training data of some seeds, drawn in one thread.

    The thread starts with the first `take`; it ends with `close`, or when this object is dropped.

    Args:
        config: What is trained.
        seeds: Whose data.
        steps: Steps drawn ahead, at most; 0 draws each when it is taken.
    """

    def __init__(
        self, config: RunConfig, seeds: Sequence[int], *, steps: int = STEPS_AHEAD
    ) -> None:
        self._training = config.training
        self._data = {seed: TrainingData(config=config, seed=seed) for seed in seeds}
        self._steps = steps
        self._thread: ThreadPoolExecutor | None = None
        #: step -> the lengths it is drawn for, and what is being drawn.
        self._drawing: dict[int, tuple[dict[int, Lengths], Future[dict[int, Drawn]]]] = {}

    def take(self, step: int, lengths: Mapping[int, Lengths]) -> dict[int, Drawn]:
        """The batches of one step, and a start on the steps after it.

        Args:
            step: The training step, counted from 1.
            lengths: Active seed -> its curriculum's lengths, until the epoch ends.

        Raises:
            Exception: What drawing a batch of this very step raised.
        """
        whole = self._training.steps_per_epoch
        epoch_end = min(-(-step // whole) * whole, self._training.max_steps)
        last = max(step, min(step + self._steps, epoch_end))
        before, self._drawing = self._drawing, {}
        for ahead, (drawn_for, future) in before.items():
            if step <= ahead <= last and lengths.items() <= drawn_for.items():
                self._drawing[ahead] = drawn_for, future
            else:  # as after a step back
                future.cancel()
        # Several steps at a time: waking the thread takes as long as drawing for a seed or two.
        wanted = [step] if any(ahead > step for ahead in self._drawing) else range(step, last + 1)
        for ahead in wanted:
            if ahead not in self._drawing:
                self._drawing[ahead] = dict(lengths), self._draw(ahead, lengths)
        drawn = self._drawing.pop(step)[1].result()
        return {seed: drawn[seed] for seed in lengths}

    def close(self) -> None:
        """End the thread, leaving what it has not begun; a later `take` starts another."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(cancel_futures=True)
        self._drawing = {}

    def _draw(self, step: int, lengths: Mapping[int, Lengths]) -> Future[dict[int, Drawn]]:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="training data")
        # Not a method of ours: the thread must not keep this object alive.
        return self._thread.submit(draw_seeds, self._data, step, dict(lengths))
