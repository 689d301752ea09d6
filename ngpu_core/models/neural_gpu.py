"""The Neural GPU of Price, Zaremba and Sutskever (SPECS B.1), in plain autograd.

The state is an image, one column a symbol. A time step is a dropout and `layers` convolutional
GRUs, and a sequence of n symbols gets n (+ `extra_steps`) time steps. `weight_copies` parameter
sets are used cyclically in time.

Inside, the state is (B, S, m, H, L): batch first, so that one grouped convolution serves all seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.models.network import Bin, Output, Parameters, Watch, cross_entropy, embed


def tanh(x: Tensor) -> Tensor:
    """tanh as 2σ(2x) − 1: ten times faster than `torch.tanh` on a CPU."""
    return 2 * torch.sigmoid(2 * x) - 1


def gate(x: Tensor, cutoff: float) -> Tensor:
    """Sigmoid stretched by `cutoff` and clipped to [0, 1]; plain below 1.01."""
    if cutoff < 1.01:
        return torch.sigmoid(x)
    return torch.clamp(cutoff * torch.sigmoid(x) - (cutoff - 1) / 2, 0, 1)


def convolve(state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Same-padded 3×3 convolution, each seed with its own kernel.

    Args:
        state: (B, S, m_in, H, L).
        weight: (S, m_out, m_in, 3, 3).
        bias: (S, m_out).
    """
    batch, seeds, _, height, length = state.shape
    flat = F.conv2d(
        state.flatten(1, 2), weight.flatten(0, 1), bias.flatten(), padding=1, groups=seeds
    )
    return flat.view(batch, seeds, -1, height, length)


@dataclass(frozen=True, kw_only=True)
class NeuralGPU:
    """A Neural GPU of one size."""

    config: ModelConfig

    @property
    def relaxed(self) -> frozenset[str]:
        """All recurrent weights; embedding and output are not relaxed."""
        kinds = ("gates", "candidate")
        return frozenset(
            f"gru{layer}.{kind}.{part}"
            for layer in range(self.config.layers)
            for kind in kinds
            for part in ("weight", "bias")
        )

    def initialize(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Kernels U(±1.8·sqrt(3 / fan_in)), embedding U(±1.7), biases 0."""
        model = self.config
        maps = model.filters

        def uniform(bound: float, *shape: int) -> np.ndarray:
            return generator.uniform(-bound, bound, shape).astype(np.float32)

        kernel = 1.8 * sqrt(3 / (9 * maps))
        parameters = {"embedding": uniform(1.7, model.input_symbols, maps)}
        for layer in range(model.layers):
            for kind, width in (("gates", 2 * maps), ("candidate", maps)):
                shape = (model.weight_copies, width, maps, 3, 3)
                parameters[f"gru{layer}.{kind}.weight"] = uniform(kernel, *shape)
                parameters[f"gru{layer}.{kind}.bias"] = np.zeros(shape[:2], np.float32)
        parameters["output.weight"] = uniform(1.8 * sqrt(3 / maps), model.output_symbols, maps)
        parameters["output.bias"] = np.zeros(model.output_symbols, np.float32)
        return parameters

    def forward(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None = None,
        watch: Watch | None = None,
    ) -> Output:
        """Each bin through its own recurrence; `watch` is shown the states of one after another."""
        logits = [
            self._recur(parameters, batch, index, dropout, watch)
            for index, batch in enumerate(bins)
        ]
        return Output(logits=logits, saturation=logits[0].new_zeros(logits[0].shape[0]))

    def loss(self, logits: Tensor, batch: Bin) -> Tensor:
        """Masked cross-entropy, averaged over the batch and all positions of the padded bin."""
        errors = cross_entropy(logits, batch.targets) * batch.mask
        return errors.sum(dim=(1, 2)) / (batch.targets.shape[1] * batch.padded_length)

    def scored(self, batch: Bin) -> Tensor:
        """Positions with a target symbol."""
        return batch.targets > 0

    def _embed(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Symbols to the first state (B, S, m, H, L); symbol 0 and unused rows are zero."""
        table = parameters["embedding"]
        not_pad = torch.ones(table.shape[1], 1, device=table.device, dtype=table.dtype)
        not_pad[0] = 0
        cells = tanh(embed(table * not_pad, inputs))  # (S, B, rows, L, m)
        state = cells.permute(1, 0, 4, 2, 3)
        return F.pad(state, (0, 0, 0, self.config.height - inputs.shape[2]))

    def _recur(
        self,
        parameters: Parameters,
        batch: Bin,
        index: int,
        dropout: HashedDropout | None,
        watch: Watch | None,
    ) -> Tensor:
        """All time steps of one bin; the logits (S, B, L, classes)."""
        mask = batch.mask
        steps = mask.sum(dim=2).t() + self.config.extra_steps  # (B, S)
        shortest, longest = int(steps.min()), int(steps.max())
        state = self._embed(parameters, batch.inputs)
        columns = mask.transpose(0, 1)[:, :, None, None, :].to(state.dtype)
        sequences, _, maps, height, length = state.shape
        cells = (sequences, length, height, maps)
        if watch:
            watch(state)
        for time in range(longest):
            before = state
            if dropout and dropout.threshold(batch.padded_length):
                keep = dropout.mask(index, time, cells, batch.padded_length, state)
                state = state * keep.permute(1, 0, 4, 3, 2)
            for layer in range(self.config.layers):
                state = self._gru(parameters, layer, time, state) * columns
            if time >= shortest:  # sequences that have had their steps stay as they are
                state = torch.where((time < steps)[:, :, None, None, None], state, before)
            if watch:
                watch(state)
        first_row = state[:, :, :, 0, :]  # (B, S, m, L)
        logits = torch.einsum("bsml,scm->sblc", first_row, parameters["output.weight"])
        return logits + parameters["output.bias"][:, None, None, :]

    def _gru(self, parameters: Parameters, layer: int, time: int, state: Tensor) -> Tensor:
        """out = g·s + (1 − g)·tanh(conv(r·s)), with the weight copy of this time."""
        copy = time % self.config.weight_copies
        name = f"gru{layer}"
        gates = convolve(
            state,
            parameters[f"{name}.gates.weight"][:, copy],
            parameters[f"{name}.gates.bias"][:, copy] + 1,
        )
        reset, update = gate(gates, self.config.gate_cutoff).chunk(2, dim=2)
        candidate = tanh(
            convolve(
                reset * state,
                parameters[f"{name}.candidate.weight"][:, copy],
                parameters[f"{name}.candidate.bias"][:, copy],
            )
        )
        return update * state + (1 - update) * candidate
