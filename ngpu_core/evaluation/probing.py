"""Asking a predictor a probe's questions, and counting what it writes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ngpu_core.config import RunConfig
from ngpu_core.data import stack
from ngpu_core.evaluation.answers import Answers, answers
from ngpu_core.evaluation.predictor import Predictor
from ngpu_core.evaluation.probe import Point, Probe, block_size
from ngpu_core.evaluation.probes import probes_of
from ngpu_core.events import ProbeResult
from ngpu_core.tasks.task import Batch, Task


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What some answers add up to. Columns count from 0, which is a number's last digit."""

    sequences: int = 0
    wrong_sequences: int = 0
    symbols: int = 0
    wrong_symbols: int = 0
    first_wrong: int | None = None
    last_wrong: int | None = None

    def with_answers(self, more: Answers) -> "Tally":
        """These answers counted too."""
        wrong = more.wrong
        columns = np.flatnonzero(wrong.any(axis=0))
        ends = [self.first_wrong, self.last_wrong, *columns[:1].tolist(), *columns[-1:].tolist()]
        known = [end for end in ends if end is not None]
        return replace(
            self,
            sequences=self.sequences + len(wrong),
            wrong_sequences=self.wrong_sequences + int(wrong.any(axis=1).sum()),
            symbols=self.symbols + int(more.scored.sum()),
            wrong_symbols=self.wrong_symbols + int(wrong.sum()),
            first_wrong=min(known, default=None),
            last_wrong=max(known, default=None),
        )


def ask(
    predictor: Predictor, probe: Probe, task: Task, config: RunConfig, seed: int, step: int
) -> Iterator[ProbeResult | None]:
    """One probe's results, a point at a time; in between None, so that nobody takes it for hung.

    Args:
        predictor: Who is asked.
        probe: What asks.
        task: In whose writing.
        config: Of the predictor.
        seed: Whose stream the questions come from: equal seeds are asked the same.
        step: Steps the predictor was trained.

    Raises:
        UnfitProbe: The probe does not fit the task.
    """
    tallies: dict[Point, Tally] = {}

    def done(points: list[Point]) -> Iterator[ProbeResult]:
        for point in points:
            yield ProbeResult(
                seed=seed,
                step=step,
                task=task.name,
                probe=probe.name,
                point=point.number,
                label=point.label,
                **vars(tallies.pop(point)),
            )

    for point, part in ask_points(predictor, probe, task, config, seed):
        if point not in tallies:
            yield from done(list(tallies))
        tallies[point] = tallies.get(point, Tally()).with_answers(part)
        yield None
    yield from done(list(tallies))


def ask_points(
    predictor: Predictor, probe: Probe, task: Task, config: RunConfig, seed: int
) -> Iterator[tuple[Point, Answers]]:
    """What is written, point after point, in parts. Arguments and errors are those of `ask`."""
    slot = config.task_slot(task.name) if config.model.task_id else 0
    for together in _together(probe.all_questions(task, config, seed)):
        owners = np.repeat(np.arange(len(together)), [len(batch.targets) for _, batch in together])
        for part in answers(predictor, stack([batch for _, batch in together]), slot):
            of_part, owners = owners[: len(part.written)], owners[len(part.written) :]
            for place in np.unique(of_part):
                yield together[place][0], part.only(of_part == place)


def _together(
    questions: Iterator[tuple[Point, Batch]],
) -> Iterator[list[tuple[Point, Batch]]]:
    """Neighbours of one length, as many as are asked at once: most points have one question."""
    group: list[tuple[Point, Batch]] = []
    for point, batch in questions:
        size, length = batch.targets.shape
        asked = sum(len(other.targets) for _, other in group)
        unlike = group and group[0][1].targets.shape[1] != length
        if unlike or (group and asked + size > block_size(length)):
            yield group
            group = []
        group.append((point, batch))
    if group:
        yield group


def probe_seed(
    predictor: Predictor, config: RunConfig, seed: int, step: int
) -> Iterator[ProbeResult | None]:
    """Every probe of a configuration on every evaluation task it fits, as `ask` yields them."""
    for task, probe in probes_of(config):
        yield from ask(predictor, probe, task, config, seed, step)
