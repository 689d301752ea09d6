"""Each family against an independent implementation with loops, in float64."""

import numpy as np
import pytest
import torch

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.models.neural_gpu import gate
from ngpu_core.packing import SeedPack

SEEDS = (3, 8)


def dropout_of(probability: float, scaled_by: int) -> HashedDropout:
    return HashedDropout(seeds=SEEDS, step=4, probability=probability, scaled_by=scaled_by)


def drawn_masks(
    dropout: HashedDropout, index: int, times: int, shape: tuple[int, ...], padded: int
) -> np.ndarray:
    """Every mask of a bin: (times, S, B, columns, height, maps)."""
    like = torch.zeros((), dtype=torch.float64)
    return np.stack([dropout.mask(index, t, shape, padded, like).numpy() for t in range(times)])


def parameters(config: ModelConfig, seeds=SEEDS) -> dict[str, torch.Tensor]:
    pack = SeedPack.initialize(network(config), seeds, "cpu")
    generator = torch.Generator().manual_seed(1)
    return {  # biases start at zero: move everything so that each parameter counts
        name: value.double() + 0.05 * torch.randn(value.shape, generator=generator).double()
        for name, value in pack.parameters.items()
    }


def random_bin(rows: int, length: int, symbols: int, *, pads: int = 0, padded: int = 12) -> Bin:
    generator = torch.Generator().manual_seed(length)
    inputs = torch.randint(1, symbols, (2, 3, rows, length), generator=generator)
    targets = torch.randint(1, symbols, (2, 3, length), generator=generator)
    if pads:  # the last sequence of each seed is shorter
        inputs[:, 2, :, -pads:] = 0
        targets[:, 2, -pads:] = 0
    return Bin(inputs=inputs, targets=targets, padded_length=padded)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def loop_convolution_2d(state, weight, bias):
    """state (H, L, m_in), weight (m_out, m_in, 3, 3)."""
    height, length, _ = state.shape
    out = np.tile(bias, (height, length, 1)).astype(float)
    for y in range(height):
        for x in range(length):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < height and 0 <= x + dx < length:
                        out[y, x] += weight[:, :, dy + 1, dx + 1] @ state[y + dy, x + dx]
    return out


def loop_neural_gpu(config: ModelConfig, p, inputs, mask, keeps):
    """Logits (L, classes) of one sequence of one seed, written from SPECS B.1."""
    rows, length = inputs.shape
    state = np.zeros((config.height, length, config.filters))
    for y in range(rows):
        for x in range(length):
            if inputs[y, x]:
                state[y, x] = np.tanh(p["embedding"][inputs[y, x]])
    q = config.gate_cutoff
    for time in range(int(mask.sum()) + config.extra_steps):
        state = state * keeps[time].transpose(1, 0, 2)
        copy = time % config.weight_copies
        for layer in range(config.layers):
            w, b = p[f"gru{layer}.gates.weight"][copy], p[f"gru{layer}.gates.bias"][copy]
            gates = loop_convolution_2d(state, w, b + 1)
            gates = np.clip(q * sigmoid(gates) - (q - 1) / 2, 0, 1)
            reset, update = gates[..., : config.filters], gates[..., config.filters :]
            w, b = p[f"gru{layer}.candidate.weight"][copy], p[f"gru{layer}.candidate.bias"][copy]
            candidate = np.tanh(loop_convolution_2d(reset * state, w, b))
            state = (update * state + (1 - update) * candidate) * mask[None, :, None]
    return state[0] @ p["output.weight"].T + p["output.bias"]


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("extra_steps", [0, 1])
def test_neural_gpu_is_what_the_paper_writes(copies, extra_steps):
    config = ModelConfig(
        filters=4, height=3, input_symbols=6, output_symbols=5, weight_copies=copies,
        extra_steps=extra_steps,
    )  # fmt: skip
    p = parameters(config)
    batch = random_bin(2, 5, 5, pads=2)
    dropout = dropout_of(0.45, scaled_by=8)
    logits = network(config).forward(p, [batch], dropout).logits[0]
    masks = drawn_masks(dropout, 0, 6, (3, 5, 3, 4), 12)
    assert set(np.unique(masks)) == {0, 1 / (1 - 0.45 * 8 / 12)}
    for seed in range(2):
        own = {name: value[seed].numpy() for name, value in p.items()}
        for sequence in range(3):
            keeps = masks[:, seed, sequence]
            mask = batch.mask[seed, sequence].numpy()
            expected = loop_neural_gpu(
                config, own, batch.inputs[seed, sequence].numpy(), mask, keeps
            )
            np.testing.assert_allclose(logits[seed, sequence].numpy(), expected, atol=1e-9)


def test_a_cutoff_below_one_is_a_plain_sigmoid():
    x = torch.linspace(-9, 9, 50, dtype=torch.float64)

    assert torch.equal(gate(x, 1.0), torch.sigmoid(x))
    assert gate(x, 1.2).min() == 0
    assert gate(x, 1.2).max() == 1


def loop_convolution_1d(state, weight, bias):
    """state (L, m_in), weight (m_out, m_in, 3)."""
    out = np.tile(bias, (len(state), 1)).astype(float)
    for x in range(len(state)):
        for d in (-1, 0, 1):
            if 0 <= x + d < len(state):
                out[x] += weight[:, :, d + 1] @ state[x + d]
    return out


def loop_diagonal(config: ModelConfig, p, inputs, mask, keeps):
    """Logits (L, classes) and summed saturation of one sequence, written from SPECS D."""
    maps, length = config.filters, inputs.shape[1]
    cut = lambda x: np.maximum(np.abs(x) - 0.9, 0).sum()  # noqa: E731
    before = p["input.weight"][inputs[0]] + p["input.bias"]
    saturation = length * cut(before)
    state = np.clip(before, -1, 1) * keeps[0] * mask[:, None]
    third = maps // 3
    for time in range(length):
        gates = loop_convolution_1d(state, p["gates.weight"], p["gates.bias"])
        saturation += cut(gates)
        gates = np.clip((gates + 1) / 2, 0, 1)
        reset, update = gates[:, :maps], gates[:, maps:]
        proposal = loop_convolution_1d(reset * state, p["candidate.weight"], p["candidate.bias"])
        saturation += cut(proposal)
        candidate = np.clip(proposal, -1, 1) * keeps[time + 1]
        shifted = state.copy()
        left, right = slice(maps - 2 * third, maps - third), slice(maps - third, maps)
        shifted[1:, left], shifted[0, left] = state[:-1, left], 0
        shifted[:-1, right], shifted[-1, right] = state[1:, right], 0
        state = (update * shifted + (1 - update) * candidate) * mask[:, None]
    return state @ p["output.weight"].T + p["output.bias"], saturation


def test_diagonal_neural_gpu_is_what_the_paper_writes_for_several_bins_at_once():
    config = ModelConfig(
        family="diagonal_neural_gpu", filters=7, height=1, input_symbols=6, output_symbols=5
    )
    p = {name: 2 * value for name, value in parameters(config).items()}  # so that it saturates
    lengths = [4, 7, 5]
    bins = [random_bin(1, length, 5, pads=2, padded=length) for length in lengths]
    dropout = dropout_of(0.2, scaled_by=0)
    output = network(config).forward(p, bins, dropout)
    masks = [
        drawn_masks(dropout, index, length + 1, (3, length, 1, 7), 0)
        for index, length in enumerate(lengths)
    ]
    for seed in range(2):
        own = {name: value[seed].numpy() for name, value in p.items()}
        cost = 0.0
        for index, (length, batch) in enumerate(zip(lengths, bins, strict=True)):
            logits = output.logits[index]
            for sequence in range(3):
                keeps = masks[index][:, seed, sequence, :, 0]
                expected, saturation = loop_diagonal(
                    config,
                    own,
                    batch.inputs[seed, sequence].numpy(),
                    batch.mask[seed, sequence].numpy(),
                    keeps,
                )
                np.testing.assert_allclose(logits[seed, sequence].numpy(), expected, atol=1e-9)
                cost += saturation / (length**2 * 3) / len(bins)
        np.testing.assert_allclose(output.saturation[seed].item(), cost, rtol=1e-12)


def test_parameter_counts_are_those_of_the_papers():
    def count(config: ModelConfig, only: str = "") -> int:
        values = network(config).initialize(np.random.default_rng(0))
        return sum(value.size for name, value in values.items() if only in name)

    diagonal = ModelConfig(
        family="diagonal_neural_gpu", filters=96, input_symbols=13, output_symbols=3
    )
    assert count(diagonal) == 84_867
    assert count(ModelConfig(filters=24, weight_copies=1), "gru") == 31_248
    assert count(ModelConfig(filters=128, weight_copies=1), "gru") == 885_504


@pytest.mark.parametrize("family", ["neural_gpu", "diagonal_neural_gpu"])
def test_a_network_computed_for_several_seeds_at_once_is_each_seed_alone(family):
    config = ModelConfig(family=family, filters=6, height=1 if "diag" in family else 4)
    p = parameters(config)
    bins = [random_bin(1, length, 20, padded=length) for length in (6, 5)]
    together = network(config).forward(p, bins)
    for seed in range(2):
        own = {name: value[seed : seed + 1] for name, value in p.items()}
        alone = network(config).forward(
            own,
            [
                Bin(inputs=b.inputs[[seed]], targets=b.targets[[seed]], padded_length=12)
                for b in bins
            ],
        )
        for ours, theirs in zip(together.logits, alone.logits, strict=True):
            torch.testing.assert_close(ours[[seed]], theirs, rtol=0, atol=1e-12)
