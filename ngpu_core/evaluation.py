"""How well trained seeds do on fresh sequences, and how long a carry they follow.

Sequence error is the measure: a sum with one wrong digit is a wrong sum. Test sequences come from
streams of their own, keyed by (seed, task, length, step): no training batch and no stopping rule
sees them. Raw counts are kept, so fractions and thresholds can be redone later.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ngpu_core.carries import carry_sample
from ngpu_core.config import RunConfig
from ngpu_core.engines.engine import Engine, wrong_counts
from ngpu_core.events import CarryThreshold, CarryTrial, Evaluation
from ngpu_core.memory import STATE_BUDGET
from ngpu_core.models.network import Bin, Parameters
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import Batch, task
from ngpu_core.tasks.task import Symbols

#: Sequences of each of the two kinds in one estimate of a carry error (SPECS B.6).
CARRY_SAMPLES = 32


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Raw results of one test."""

    sequences: int
    wrong_sequences: int
    symbols: int
    wrong_symbols: int


def to_bin(
    batches: list[Batch], padded_length: int, device: str, tasks: list[int] | None = None
) -> Bin:
    """Batches of S seeds, all of one shape, as one (S, B, …) bin.

    Args:
        batches: One a seed.
        padded_length: Of the bin.
        device: `cpu` or `cuda`.
        tasks: The slot of each batch's task (`RunConfig.task_slot`); None: the first.
    """
    return Bin(
        inputs=_symbols([batch.inputs for batch in batches], device),
        targets=_symbols([batch.targets for batch in batches], device),
        padded_length=padded_length,
        tasks=torch.tensor(tasks, device=device) if tasks and any(tasks) else None,
    )


def _symbols(arrays: list[Symbols], device: str) -> torch.Tensor:
    symbols = torch.from_numpy(np.array(arrays, np.int64))
    return symbols if device == "cpu" else symbols.to(device)


@torch.no_grad()
def test(
    engine: Engine,
    config: RunConfig,
    parameters: Parameters,
    batch: Batch,
    slot: int = 0,  # noqa: PT028 (no test of pytest's)
) -> Counts:
    """Count what one seed (S = 1) gets wrong, in sub-batches of bounded memory.

    With batch normalization a sequence's answer depends on those it shares a sub-batch with.

    Args:
        engine: What computes.
        config: The seed's.
        parameters: The seed's.
        batch: Sequences of one task.
        slot: The task's (`RunConfig.task_slot`).
    """
    device = next(iter(parameters.values())).device
    sequences, length = batch.targets.shape
    cells = config.model.filters * config.model.height * length
    size = max(1, STATE_BUDGET // cells)
    total = torch.zeros(4, dtype=torch.int64)
    for start in range(0, sequences, size):
        part = Batch(
            inputs=batch.inputs[start : start + size], targets=batch.targets[start : start + size]
        )
        one = to_bin([part], length, str(device), [slot])
        logits = engine.logits(parameters, one)
        total += wrong_counts(engine.network, logits, one)[0].cpu()
    counts = [int(value) for value in total]
    return Counts(
        sequences=counts[0], wrong_sequences=counts[1], symbols=counts[2], wrong_symbols=counts[3]
    )


def evaluate_seed(
    engine: Engine, config: RunConfig, parameters: Parameters, seed: int, step: int
) -> Iterator[Evaluation]:
    """Test one seed (S = 1) on every evaluation task and long length."""
    for name in config.evaluation_tasks:
        for length in config.evaluation.lengths:
            yield evaluate_length(
                engine, config, parameters, seed, step, name, length, config.evaluation.sequences
            )


def evaluate_length(
    engine: Engine,
    config: RunConfig,
    parameters: Parameters,
    seed: int,
    step: int,
    name: str,
    length: int,
    sequences: int,
) -> Evaluation:
    """Test one seed (S = 1) on fresh sequences of one task and length."""
    symbols = min(config.model.input_symbols, config.model.output_symbols)
    generator = stream(seed, f"test:{name}:{length}", step)
    batch = task(name).sample(generator, sequences, length, symbols=symbols)
    counts = test(engine, config, parameters, batch, config.task_slot(name))
    return Evaluation(seed=seed, step=step, task=name, length=length, **vars(counts))


def smallest_failing(error: Callable[[int], float], limit: int) -> int | None:
    """The smallest carry length with an error of at least one half: doubling, then bisection.

    Args:
        error: Error at a carry length from 1 to `limit`; taken to grow with it.
        limit: Longest length asked for.

    Returns:
        The length, or None when even `limit` fails less than half the time.
    """
    right, wrong = 0, 1
    while error(wrong) < 0.5:
        right = wrong
        if right == limit:
            return None
        wrong = min(2 * wrong, limit)
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if error(middle) >= 0.5:
            wrong = middle
        else:
            right = middle
    return wrong


def carry_threshold(
    engine: Engine, config: RunConfig, parameters: Parameters, seed: int, step: int
) -> Iterator[CarryTrial | CarryThreshold]:
    """Find each evaluated addition's carry threshold (SPECS B.6), with its raw counts.

    An estimate is 32 sums that overflow and 32 that do not; near one half two more are averaged in.
    """
    limit = config.evaluation.carry_limit
    for name in config.evaluation_tasks:
        if not limit or task(name).operation != "+":
            continue
        trials: dict[int, CarryTrial] = {}

        def error(carry: int, name: str = name, trials: dict[int, CarryTrial] = trials) -> float:
            if carry not in trials:
                trials[carry] = _carry_trial(engine, config, parameters, seed, step, name, carry)
            return trials[carry].wrong / trials[carry].trials

        threshold = smallest_failing(error, limit)
        yield from (trials[carry] for carry in sorted(trials))
        yield CarryThreshold(seed=seed, step=step, task=name, threshold=threshold, limit=limit)


def _carry_trial(
    engine: Engine,
    config: RunConfig,
    parameters: Parameters,
    seed: int,
    step: int,
    name: str,
    carry: int,
) -> CarryTrial:
    """Count one carry length: one estimate, or three when the first is within 0.2 of 0.5."""
    sequences = wrong = 0
    for repetition in range(3):
        for overflow in (False, True):
            generator = stream(seed, f"carry:{name}:{carry}:{overflow}:{repetition}", step)
            batch = carry_sample(task(name), generator, CARRY_SAMPLES, carry, overflow)
            counts = test(engine, config, parameters, batch, config.task_slot(name))
            sequences += counts.sequences
            wrong += counts.wrong_sequences
        if repetition == 0 and abs(wrong / sequences - 0.5) >= 0.2:
            break
    return CarryTrial(
        seed=seed, step=step, task=name, carry_length=carry, trials=sequences, wrong=wrong
    )
