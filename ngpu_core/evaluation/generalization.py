"""How well trained seeds do on fresh sequences.

Sequence error is the measure: a sum with one wrong digit is a wrong sum. Test sequences come from
streams of their own, keyed by (seed, task, length, step): no training batch and no stopping rule
sees them. Raw counts are kept, so fractions can be redone later.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ngpu_core.config import RunConfig
from ngpu_core.engines.engine import Engine, wrong_counts
from ngpu_core.events import Evaluation
from ngpu_core.memory import STATE_BUDGET
from ngpu_core.models.network import Bin, Parameters
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import Batch, task
from ngpu_core.tasks.task import Symbols


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
