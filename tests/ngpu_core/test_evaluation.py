"""Tests of trained seeds: counts, fresh sequences, carry thresholds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.data import TrainingData
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.engine import wrong_counts
from ngpu_core.evaluation.carry_threshold import carry_threshold, smallest_failing
from ngpu_core.evaluation.generalization import evaluate_seed, test
from ngpu_core.events import CarryThreshold, CarryTrial
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.packing import SeedPack
from ngpu_core.tasks.registry import task
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config

test.__test__ = False  # a name, not a test


@given(threshold=st.integers(1, 80), limit=st.integers(1, 60))
def test_the_search_finds_the_smallest_failing_carry(threshold, limit):
    asked = []

    def error(carry: int) -> float:
        assert 1 <= carry <= limit
        asked.append(carry)
        return 1.0 if carry >= threshold else 0.0

    assert smallest_failing(error, limit) == (threshold if threshold <= limit else None)
    assert len(asked) <= 2 * limit.bit_length() + 2


def test_counts_are_those_of_a_loop():
    net = network(run_config("neural_gpu").model)
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 4, (2, 6, 5), generator=generator)
    logits = torch.randn(2, 6, 5, 33, generator=generator) + 6 * torch.nn.functional.one_hot(
        targets, 33
    )
    batch = Bin(inputs=targets[:, :, None], targets=targets, padded_length=8)
    counts = wrong_counts(net, logits, batch).tolist()
    for seed in range(2):
        wrong_sequences = symbols = wrong_symbols = 0
        for sequence in range(6):
            wrong = 0
            for place in range(5):
                if targets[seed, sequence, place] > 0:
                    symbols += 1
                    answer = int(logits[seed, sequence, place].argmax())
                    wrong += answer != int(targets[seed, sequence, place])
            wrong_symbols += wrong
            wrong_sequences += wrong > 0
        assert counts[seed] == [6, wrong_sequences, symbols, wrong_symbols]


def test_sub_batches_do_not_change_the_counts(monkeypatch):
    config = run_config("neural_gpu")
    engine = AutogradEngine(network(config.model))
    pack = SeedPack.initialize(engine.network, [1], "cpu")
    batch = task("badd").sample(np.random.default_rng(0), 20, 15)
    whole = test(engine, config, pack.parameters, batch)
    monkeypatch.setattr("ngpu_core.evaluation.generalization.STATE_BUDGET", 4 * 4 * 15 * 3)
    assert test(engine, config, pack.parameters, batch) == whole


def test_every_task_and_length_is_tested_on_sequences_that_depend_only_on_seed_and_step():
    config = run_config(
        "neural_gpu", evaluation__tasks=("badd", "baddt"), evaluation__lengths=(7, 11)
    )
    engine = AutogradEngine(network(config.model))
    pack = SeedPack.initialize(engine.network, [1], "cpu")
    first = list(evaluate_seed(engine, config, pack.parameters, 1, 3))
    assert [(e.task, e.length) for e in first] == [
        ("badd", 7), ("badd", 11), ("baddt", 7), ("baddt", 11),
    ]  # fmt: skip
    assert first == list(evaluate_seed(engine, config, pack.parameters, 1, 3))


def test_carries_are_tested_after_training_with_their_raw_counts():
    config = run_config(
        "neural_gpu", training__max_steps=3, evaluation__carry_limit=12,
        evaluation__tasks=("badd", "scopy"),
    )  # fmt: skip
    events = list(PackTrainer(config, [5]).events())
    trials = [e for e in events if isinstance(e, CarryTrial)]
    [threshold] = [e for e in events if isinstance(e, CarryThreshold)]  # scopy has no carries

    assert {e.task for e in trials} == {"badd"}
    assert all(e.trials in (64, 192) and 0 <= e.wrong <= e.trials for e in trials)
    assert threshold.limit == 12
    assert threshold.threshold == 1  # an untrained network


class Right:
    """An engine that answers right up to a carry of some digits, and remembers its questions."""

    def __init__(self, model, most):
        self.network, self.most, self.sums = network(model), most, []

    def logits(self, parameters, batch):
        sums = [task("add").decode_target(row.numpy(), len(row)) for row in batch.targets[0]]
        self.sums += sums
        right = torch.nn.functional.one_hot(batch.targets, self.network.config.output_symbols)
        return right if batch.targets.shape[2] <= 2 * self.most + 3 else -right


@pytest.mark.parametrize("most", [1, 6, 12])
@pytest.mark.parametrize("random_offset", [False, True])
def test_the_threshold_is_where_a_seed_begins_to_fail_wherever_the_carry_stands(
    random_offset, most
):
    config = run_config(
        "neural_gpu", evaluation__tasks=("add",), evaluation__carry_limit=12,
        evaluation__carry_random_offset=random_offset,
    )  # fmt: skip
    engine = Right(config.model, most)
    [*trials, found] = carry_threshold(engine, config, {"any": torch.zeros(1)}, 1, 3)

    assert found.threshold == (most + 1 if most < 12 else None)
    assert all(trial.wrong == trial.trials * (trial.carry_length > most) for trial in trials)
    lowest = {10**trial.carry_length - overflow for trial in trials for overflow in (0, 1)}
    shifted = {10 * total for total in lowest}
    assert set(engine.sums) == (lowest | shifted if random_offset else lowest)


def test_a_pool_holds_distinct_examples_and_gives_each_step_its_own_batch():
    config = run_config(
        "diagonal_neural_gpu", training__examples_per_length=50, training__bins=(12,),
        training__shorter_share=0.0, training__batch_size=200,
    )  # fmt: skip
    data = TrainingData(config=config, seed=9)
    batch = data.bin_batch(1, 12)
    assert len(np.unique(batch.inputs.reshape(200, -1), axis=0)) <= 50
    assert np.array_equal(batch.inputs, TrainingData(config=config, seed=9).bin_batch(1, 12).inputs)
    assert not np.array_equal(batch.inputs, data.bin_batch(2, 12).inputs)


def test_a_bin_has_its_share_of_shorter_examples():
    config = run_config(
        "diagonal_neural_gpu", training__examples_per_length=0, training__shorter_share=0.3,
        training__batch_size=4000,
    )  # fmt: skip
    batch = TrainingData(config=config, seed=0).bin_batch(1, 8)
    shorter = (batch.targets[:, -1] == 0).mean()  # bmul_dn fills its whole length
    assert batch.targets.shape == (4000, 8)
    assert 0.25 < shorter < 0.35
