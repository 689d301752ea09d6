"""Tests at the lengths of training, which say whether long ones are worth it (SPECS B.4)."""

from collections.abc import Iterator, Sequence

from ngpu_core.config import RunConfig
from ngpu_core.engines.engine import Engine
from ngpu_core.evaluation import evaluate_length
from ngpu_core.events import Evaluation
from ngpu_core.models.network import Parameters
from ngpu_core.tasks.registry import task, valid_lengths


def evaluate_short(
    engine: Engine, config: RunConfig, parameters: Parameters, seed: int, step: int
) -> Iterator[Evaluation]:
    """Test one seed (S = 1) on every evaluation task's lengths in training's range, ascending.

    A task's tests end early after `stop_after_wrong` lengths in a row with every sequence wrong.
    """
    training, evaluation = config.training, config.evaluation
    if not evaluation.short_sequences:
        return
    for name in config.evaluation_tasks:
        wrong_in_a_row = 0
        for length in valid_lengths(task(name), training.min_length, training.max_length):
            tested = evaluate_length(
                engine, config, parameters, seed, step, name, length, evaluation.short_sequences
            )
            yield tested
            all_wrong = tested.wrong_sequences == tested.sequences
            wrong_in_a_row = wrong_in_a_row + 1 if all_wrong else 0
            if wrong_in_a_row == evaluation.stop_after_wrong > 0:
                break


def promising(config: RunConfig, short: Sequence[Evaluation]) -> bool:
    """Whether some task's last short test was good enough for long ones.

    All tasks are then tested: a rule about every task needs all of them at one step.
    """
    bound = config.evaluation.short_below
    last = {one.task: one for one in short}.values()
    return bound >= 1 or any(one.wrong_sequences < bound * one.sequences for one in last)
