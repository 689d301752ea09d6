"""The arithmetic of a step against counts made by hand and against the published estimates."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ngpu_core.config import EvaluationConfig, ModelConfig, RunConfig, TrainingConfig
from ngpu_core.cost import (
    evaluation_flop,
    forward_flop,
    seed_step_flop,
    time_steps,
    training_flop,
)
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.packing import SeedPack

#: Every kind of network and option that changes what is multiplied, at sizes where that counts.
NETWORKS = [
    ModelConfig(filters=64),
    ModelConfig(filters=64, unit="resnet", layers=3),
    ModelConfig(filters=64, layer_scale=0.5),
    ModelConfig(filters=64, task_id=True),
    ModelConfig(filters=64, unit="resnet", task_id=True, batch_norm=2),
    ModelConfig(filters=64, output_layer=1, tanh_cutoff=1.2),
    ModelConfig(family="diagonal_neural_gpu", filters=64, soft_nonlinearities=True),
    ModelConfig(family="diagonal_neural_gpu", filters=64, diagonal_gates=False),
    ModelConfig(family="lstm_attention", filters=64, layers=3),
    ModelConfig(family="lstm_attention", filters=96, layers=1),
]
RELEASED = ModelConfig(extra_steps=0)
DIAGONAL = ModelConfig(
    family="diagonal_neural_gpu", filters=96, height=1, layers=1, extra_steps=0, weight_copies=1
)
NINE_BINS = TrainingConfig(schedule="all_bins", bins=(8, 12, 16, 20, 25, 28, 31, 36, 41))


@pytest.mark.parametrize(("length", "gigaflop"), [(8, 1.53), (20, 9.56), (41, 40.2), (48, 55.0)])
def test_a_neural_gpu_step_costs_what_was_counted(length: int, gigaflop: float) -> None:
    forward = forward_flop(RELEASED, sequences=32, length=length, padded=length)

    assert 3 * forward == pytest.approx(gigaflop * 1e9, rel=0.01)


@pytest.mark.parametrize(("filters", "gigaflop"), [(24, 13.8), (128, 390), (256, 1560)])
def test_cost_grows_with_the_square_of_the_filters(filters: int, gigaflop: float) -> None:
    model = ModelConfig(filters=filters, extra_steps=0)

    forward = forward_flop(model, sequences=32, length=24, padded=24)

    assert 3 * forward == pytest.approx(gigaflop * 1e9, rel=0.01)


def test_a_diagonal_step_takes_every_bin() -> None:
    run = RunConfig(model=DIAGONAL, training=NINE_BINS)

    assert training_flop(run) == pytest.approx(98.9e9, rel=0.001)


def test_short_tests_cost_a_forward_pass_of_each_length_of_training() -> None:
    def tests(**short: int) -> float:
        training = TrainingConfig(tasks=("badd", "bmul"), min_length=5, max_length=7)
        evaluation = EvaluationConfig(lengths=(201,), **short)
        return evaluation_flop(RunConfig(model=RELEASED, training=training, evaluation=evaluation))

    each = [forward_flop(RELEASED, sequences=32, length=n, padded=n) for n in (5, 6, 7)]

    assert tests(short_sequences=32) == pytest.approx(tests() + 2 * sum(each))


def test_inference_at_long_lengths_costs_what_was_counted() -> None:
    def one_test(model: ModelConfig, length: int) -> float:
        evaluation = EvaluationConfig(lengths=(length,), sequences=32)
        return evaluation_flop(RunConfig(model=model, evaluation=evaluation))

    assert one_test(RELEASED, 201) == pytest.approx(322e9, rel=0.01)
    assert one_test(DIAGONAL, 401) == pytest.approx(854e9, rel=0.01)


def test_a_curriculum_step_lies_between_its_shortest_and_its_longest_length() -> None:
    run = RunConfig(model=RELEASED)
    shortest = 3 * forward_flop(RELEASED, sequences=32, length=5, padded=8)
    longest = 3 * forward_flop(RELEASED, sequences=32, length=41, padded=48)

    assert shortest < training_flop(run) < longest


def test_a_curriculum_of_one_length_costs_that_length() -> None:
    training = TrainingConfig(min_length=20, max_length=20, bins=(24,))

    flop = training_flop(RunConfig(model=RELEASED, training=training))

    assert flop == pytest.approx(
        3 * forward_flop(RELEASED, sequences=32, length=20, padded=24), rel=1e-12
    )


def test_grouping_many_lengths_changes_little() -> None:
    fine = TrainingConfig(min_length=1, max_length=1000, bins=(1000,))
    coarse = TrainingConfig(min_length=1, max_length=1001, bins=(1001,))

    ratio = training_flop(RunConfig(training=coarse)) / training_flop(RunConfig(training=fine))

    assert ratio == pytest.approx(1, abs=0.01)


def test_tests_add_their_share_to_every_step() -> None:
    evaluation = EvaluationConfig(lengths=(201,), sequences=128, every=800)
    run = RunConfig(model=RELEASED, evaluation=evaluation)

    share = seed_step_flop(run) - training_flop(run)

    assert share == pytest.approx(evaluation_flop(run) / 800, rel=1e-6)


def test_a_length_is_padded_to_the_smallest_bin_that_holds_it() -> None:
    training = TrainingConfig(schedule="all_bins", bins=(8, 12))
    assert [training.padded_length(length) for length in (5, 8, 9, 13)] == [8, 8, 12, 13]


def test_time_steps_are_those_of_the_longest_bin_or_of_the_mean_length():
    diagonal = RunConfig(
        model=ModelConfig(family="diagonal_neural_gpu"),
        training=TrainingConfig(schedule="all_bins", bins=(5, 9, 12)),
    )
    assert time_steps(diagonal) == 12
    one_length = RunConfig(training=TrainingConfig(min_length=20, max_length=20, bins=(20,)))
    assert time_steps(one_length) == 2 * 21


@pytest.mark.parametrize("model", NETWORKS, ids=str)
def test_what_is_counted_is_what_torch_multiplies(model):
    symbols = torch.ones(1, 2, 16, dtype=torch.int64)
    batch = Bin(inputs=symbols[:, :, None], targets=symbols, padded_length=20)
    parameters = SeedPack.initialize(network(model), [1], "cpu").parameters
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(model).forward(parameters, [batch])

    counted = forward_flop(model, sequences=2, length=16, padded=20)
    if model.family != "lstm_attention":  # columns without a symbol are computed where they matter
        counted *= model.columns(16, 20) / 20
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.05)
