"""What a predictor wrote, position by position, beside what was right."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ngpu_core.evaluation.generalization import to_bin
from ngpu_core.evaluation.predictor import Predictor
from ngpu_core.memory import STATE_BUDGET
from ngpu_core.tasks.task import Batch, Symbols

#: Sequences × columns × time steps of a part on a processor: a minute or two at 96 maps. Nobody
#: hears of a seed before its part is done.
PART_COLUMN_STEPS = 2**25

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Some questions with what was written."""

    questions: Batch
    #: (count, length) symbol ids.
    written: Symbols
    #: The positions that count, (count, length).
    scored: Mask

    @property
    def wrong(self) -> Mask:
        """Where a symbol that counts is not the right one, (count, length)."""
        return (self.written != self.questions.targets) & self.scored

    def only(self, chosen: Mask) -> "Answers":
        """Those of some of the questions, (count,)."""
        return Answers(
            questions=Batch(
                inputs=self.questions.inputs[chosen], targets=self.questions.targets[chosen]
            ),
            written=self.written[chosen],
            scored=self.scored[chosen],
        )


@torch.no_grad()
def answers(predictor: Predictor, questions: Batch, slot: int = 0) -> Iterator[Answers]:
    """Ask, a part of the questions at a time: memory does not grow with their number or length.

    Args:
        predictor: Who is asked.
        questions: Of one task.
        slot: The task's, for networks that are told it (`RunConfig.task_slot`).
    """
    sequences, length = questions.targets.shape
    model = predictor.network.config
    values = max(model.filters * model.height, model.output_symbols) * length
    size = STATE_BUDGET // values
    if predictor.device == "cpu":
        size = min(size, PART_COLUMN_STEPS // length**2)
    size = max(1, size)
    for start in range(0, sequences, size):
        part = Batch(
            inputs=questions.inputs[start : start + size],
            targets=questions.targets[start : start + size],
        )
        one = to_bin([part], length, predictor.device, [slot])
        yield Answers(
            questions=part,
            written=predictor.scores(one).argmax(dim=-1)[0].cpu().numpy().astype(np.int16),
            scored=predictor.network.scored(one)[0].cpu().numpy(),
        )
