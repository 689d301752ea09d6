"""How long a carry a trained seed follows: the smallest length it fails on half the time."""

from collections.abc import Callable, Iterator

from ngpu_core.carries import CARRY_SAMPLES, carry_sample
from ngpu_core.config import RunConfig
from ngpu_core.engines.engine import Engine
from ngpu_core.evaluation.generalization import test
from ngpu_core.events import CarryThreshold, CarryTrial
from ngpu_core.models.network import Parameters
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import task


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
            batch = carry_sample(
                task(name),
                generator,
                CARRY_SAMPLES,
                carry,
                overflow,
                random_offset=config.evaluation.carry_random_offset,
            )
            counts = test(engine, config, parameters, batch, config.task_slot(name))
            sequences += counts.sequences
            wrong += counts.wrong_sequences
        if repetition == 0 and abs(wrong / sequences - 0.5) >= 0.2:
            break
    return CarryTrial(
        seed=seed, step=step, task=name, carry_length=carry, trials=sequences, wrong=wrong
    )
