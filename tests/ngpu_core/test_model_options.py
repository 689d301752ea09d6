"""Every option of every model against the plain loops, in float64 to 1e-9."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.models.neural_gpu import normalize, squash
from tests.ngpu_core.loop_models import LoopDiagonal, LoopLSTMAttention, LoopNeuralGPU
from tests.ngpu_core.test_models import SEEDS, parameters

NEURAL_GPU = ModelConfig(
    filters=3, height=2, input_symbols=6, output_symbols=5, weight_copies=2, layers=2
)
DIAGONAL = ModelConfig(
    family="diagonal_neural_gpu", filters=7, height=1, input_symbols=6, output_symbols=5
)
LSTM = ModelConfig(
    family="lstm_attention", filters=4, height=1, layers=2, input_symbols=6, output_symbols=5
)
PADDED = 7
NEURAL_GPUS = {
    "as released": {},
    "gate cutoff off": {"gate_cutoff": 0.0},
    "tanh cutoff": {"tanh_cutoff": 1.3},
    "one copy of weights": {"weight_copies": 1},
    "one layer": {"layers": 1},
    "resnet": {"unit": "resnet"},
    "resnet, three convolutions": {"unit": "resnet", "layers": 3},
    "batch-norm 1": {"batch_norm": 1},
    "batch-norm 2": {"batch_norm": 2},
    "resnet with batch-norm": {"unit": "resnet", "batch_norm": 2},
    "half the time steps": {"layer_scale": 0.5},
    "more time steps than are used": {"layer_scale": 1.5},
    "the sum of the states": {"output_layer": 1},
    "the sum of half of them": {"output_layer": 1, "layer_scale": 0.5},
    "the sum, normalized": {"output_layer": 1, "batch_norm": 1},
    "told its task": {"task_id": True},
    "resnet, told its task": {"task_id": True, "unit": "resnet"},
    "everything": {
        "tanh_cutoff": 1.1, "batch_norm": 2, "output_layer": 1, "layer_scale": 0.8, "task_id": True,
    },
    "nothing dropped": {"dropout_on": "none"},
    "five rows": {"height": 5},
}  # fmt: skip
DIAGONALS = {
    "as published": {},
    "soft nonlinearities": {"soft_nonlinearities": True},
    "no diagonal gates": {"diagonal_gates": False},
    "the candidate dropped": {"dropout_on": "candidate"},
    "the state dropped": {"dropout_on": "state"},
    "nothing dropped": {"dropout_on": "none"},
    "soft, straight, the state dropped": {
        "soft_nonlinearities": True, "diagonal_gates": False, "dropout_on": "state",
    },
}  # fmt: skip


def batch_of(lengths: list[int], columns: int, padded: int, *, rows: int = 1) -> Bin:
    """Sequences of these lengths, for two seeds with a task each."""
    generator = torch.Generator().manual_seed(len(lengths) + columns)
    shape = (len(SEEDS), len(lengths))
    inputs = torch.randint(1, 5, (*shape, rows, columns), generator=generator)
    targets = torch.randint(1, 5, (*shape, columns), generator=generator)
    for sequence, length in enumerate(lengths):
        inputs[:, sequence, :, length:] = 0
        targets[:, sequence, length:] = 0
    tasks = torch.tensor([0, 2])
    return Bin(inputs=inputs, targets=targets, padded_length=padded, tasks=tasks)


def dropout_of(model: ModelConfig, probability: float) -> HashedDropout | None:
    if not probability:
        return None
    scaled_by = 8 if model.dropped == "state" else 0
    return HashedDropout(seeds=SEEDS, step=4, probability=probability, scaled_by=scaled_by)


def plain(parameters, seed: int):
    return {name: value[seed].tolist() for name, value in parameters.items()}


def one_time_step(model: ModelConfig) -> ModelConfig:
    return replace(model, weight_copies=1, layer_scale=1 / PADDED)


@pytest.mark.parametrize("probability", [0.0, 0.3])
@pytest.mark.parametrize("shorten", [one_time_step, lambda model: model], ids=["one step", "all"])
@pytest.mark.parametrize("option", NEURAL_GPUS)
def test_a_neural_gpu_is_what_its_options_say(option, shorten, probability):
    model = shorten(replace(NEURAL_GPU, **NEURAL_GPUS[option]))
    p, batch = parameters(model), batch_of([5, 3], 5, PADDED, rows=2)
    dropout = dropout_of(model, probability)

    found = network(model).forward(p, [batch], dropout).logits[0]

    dropping = dropout is not None and model.dropout_on != "none"
    shape = (2, PADDED, model.height, model.filters)
    for place in range(len(SEEDS)):
        keeps = None
        if dropping:
            like = torch.zeros((), dtype=torch.float64)
            masks = [dropout.mask(0, time, shape, PADDED, like)[place] for time in range(6)]
            assert any((mask == 0).any() for mask in masks)
            keeps = [mask.tolist() for mask in masks]
        loops = LoopNeuralGPU(model, plain(p, place), int(batch.tasks[place]))
        expected = loops.logits(
            batch.inputs[place].tolist(), batch.mask[place].tolist(), keeps, PADDED
        )
        np.testing.assert_allclose(found[place].numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("probability", [0.0, 0.2])
@pytest.mark.parametrize("lengths", [[1], [4, 6, 5]], ids=["one step", "all"])
@pytest.mark.parametrize("option", DIAGONALS)
def test_a_diagonal_neural_gpu_is_what_its_options_say(option, lengths, probability):
    model = replace(DIAGONAL, **DIAGONALS[option])
    p = {name: 1.7 * value for name, value in parameters(model).items()}  # so that it saturates
    bins = [batch_of([length, max(1, length - 2)], length, length) for length in lengths]
    dropout = dropout_of(model, probability)

    found = network(model).forward(p, bins, dropout)

    dropping = dropout is not None and model.dropout_on != "none"
    like = torch.zeros((), dtype=torch.float64)
    for place in range(len(SEEDS)):
        cost = 0.0
        for index, (length, batch) in enumerate(zip(lengths, bins, strict=True)):
            shape = (2, length, 1, model.filters)
            masks = [
                dropout.mask(index, time, shape, length, like)[place, :, :, 0].tolist()
                for time in range(length + 1 if dropping else 0)
            ]
            for sequence in range(2):
                keeps = [mask[sequence] for mask in masks] or None
                loops = LoopDiagonal(model, plain(p, place))
                expected = loops.logits(
                    batch.inputs[place, sequence, 0].tolist(),
                    batch.mask[place, sequence].tolist(),
                    keeps,
                )
                logits = found.logits[index][place, sequence].numpy()
                np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-9)
                cost += loops.saturation / (length**2 * 2) / len(bins)
        assert found.saturation[place].item() == pytest.approx(cost, rel=1e-12)
        assert model.soft_nonlinearities == (cost == 0)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("probability", [0.0, 0.3])
@pytest.mark.parametrize("length", [1, 5])
def test_an_lstm_with_attention_is_what_its_docstring_says(length, probability, told):
    p, batch = parameters(LSTM), batch_of([length, max(1, length - 2)], length, PADDED)
    dropout = dropout_of(LSTM, probability)

    found = network(LSTM).forward(p, [batch], dropout, told=told).logits[0]

    like = torch.zeros((), dtype=torch.float64)
    shape = (2, length, 2 * LSTM.layers, LSTM.filters)
    for place in range(len(SEEDS)):
        for sequence in range(2):
            loops = LoopLSTMAttention(LSTM, plain(p, place))
            expected = loops.logits(
                batch.inputs[place, sequence, 0].tolist(),
                batch.mask[place, sequence].tolist(),
                dropout.mask(0, 0, shape, 7, like)[place, sequence].tolist() if dropout else None,
                batch.targets[place, sequence].tolist() if told else None,
            )
            np.testing.assert_allclose(found[place, sequence].numpy(), expected, rtol=0, atol=1e-9)


# What follows from them


@settings(deadline=None, max_examples=40)
@given(
    draw=st.integers(0, 2**20), deviation=st.floats(0.3, 30), masked=st.booleans(),
    width=st.integers(2, 6),
)  # fmt: skip
def test_normalized_maps_have_the_mean_and_the_deviation_that_were_learned(
    draw, deviation, masked, width
):
    generator = torch.Generator().manual_seed(draw)
    state = deviation * torch.randn(3, 2, 4, 2, width, generator=generator, dtype=torch.float64)
    mask = torch.ones(3, 2, 1, 1, width, dtype=torch.float64)
    if masked:
        mask[:, :, :, :, 1:] = 0
    gamma, beta = (torch.randn(2, 4, generator=generator, dtype=torch.float64) for _ in range(2))

    out = normalize(state, mask, gamma, beta)

    for seed in range(2):
        for one in range(4):
            kept = mask[:, seed, 0].expand(3, 2, width) > 0
            values, before = out[:, seed, one][kept], state[:, seed, one][kept].var(correction=0)
            shrunk = (before / (before + 1e-3)).sqrt()
            torch.testing.assert_close(values.mean(), beta[seed, one])
            torch.testing.assert_close(
                values.std(correction=0), shrunk * gamma[seed, one].abs(), rtol=1e-9, atol=1e-12
            )


@given(st.floats(-20, 20), st.floats(1.01, 3))
def test_a_cut_off_tanh_is_flat_beyond_its_bound_and_steeper_within(x, cutoff):
    value = torch.tensor([x], dtype=torch.float64)

    assert squash(value, cutoff).abs() <= 1
    assert squash(value, 1.0).item() == pytest.approx(np.tanh(x), abs=1e-12)
    if abs(cutoff * np.tanh(x)) < 1:
        assert squash(value, cutoff).item() == pytest.approx(cutoff * np.tanh(x), abs=1e-9)


def test_a_layer_scale_above_one_changes_nothing_and_one_below_takes_whole_turns_of_the_copies():
    model = ModelConfig(weight_copies=6)

    assert replace(model, layer_scale=2.0).time_steps(20, 24) == model.time_steps(20, 24) == 21
    assert [
        replace(model, layer_scale=scale).time_steps(20, 24) for scale in (0.2, 0.25, 0.5, 0.9)
    ] == [6, 6, 12, 21]


def test_a_task_is_told_by_its_place_and_the_first_when_nothing_is_said():
    model = replace(NEURAL_GPU, task_id=True)
    p, batch = parameters(model), batch_of([5, 5], 5, PADDED)

    def answers(*tasks):
        told = None if not tasks else torch.tensor(tasks)
        return network(model).forward(p, [replace(batch, tasks=told)]).logits[0]

    assert torch.equal(answers(), answers(0, 0))
    assert torch.equal(answers(3, 1)[1], answers(0, 1)[1])
    assert len({answers(slot, 0)[0].sum().item() for slot in range(4)}) == 4


@settings(deadline=None, max_examples=30)
@given(draw=st.integers(0, 2**20), length=st.integers(1, 3))
def test_a_sequence_is_right_when_told_if_and_only_if_it_is_right_on_its_own(draw, length):
    model = replace(LSTM, output_symbols=3)
    p = {name: 2 * value for name, value in parameters(model, seeds=(draw, draw + 1)).items()}
    generator = torch.Generator().manual_seed(draw)
    batch = Bin(
        inputs=torch.randint(1, 6, (2, 20, 1, length), generator=generator),
        targets=torch.randint(1, 3, (2, 20, length), generator=generator),
        padded_length=length,
    )
    right = [
        (network(model).forward(p, [batch], told=told).logits[0].argmax(3) == batch.targets).all(2)
        for told in (True, False)
    ]

    assert torch.equal(*right)


@pytest.mark.parametrize("model", [NEURAL_GPU, LSTM], ids=lambda model: model.family)
def test_what_lies_beyond_a_sequence_changes_no_answer(model):
    p, short = parameters(model), batch_of([4, 3], 4, 4)
    longer = Bin(
        inputs=torch.nn.functional.pad(short.inputs, (0, 2)),
        targets=torch.nn.functional.pad(short.targets, (0, 2)),
        padded_length=6,
    )
    wide, narrow = (network(model).forward(p, [one]).logits[0] for one in (longer, short))

    torch.testing.assert_close(wide[:, :, :4], narrow, rtol=0, atol=1e-12)


def test_the_lstm_with_attention_has_about_the_parameters_that_were_published():
    model = ModelConfig(family="lstm_attention", filters=64, layers=3)
    values = network(model).initialize(np.random.default_rng(0)).values()

    assert sum(value.size for value in values) == pytest.approx(200_000, rel=0.15)
