"""The Neural GPU of Price, Zaremba and Sutskever (SPECS B.1), in plain autograd.

The state is an image, one column a symbol. A time step is a dropout and `layers` convolutional
GRUs, and a sequence of n symbols gets n (+ `extra_steps`) time steps. `weight_copies` parameter
sets are used cyclically in time.

`ModelConfig` has what the authors varied: residual units, batch normalization, a cutoff of tanh,
fewer time steps, a sum of all states as the answer, the task as an input.

Inside, the state is (B, S, m, H, L): batch first, so that one grouped convolution serves all seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ngpu_core.config import TASK_SLOTS, ModelConfig
from ngpu_core.dropout import HashedDropout, placed
from ngpu_core.models.network import Bin, Output, Parameters, Watch, cross_entropy, embed, tanh

#: Added to the variance that batch normalization divides by.
BATCH_NORM_EPSILON = 1e-3


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


def squash(x: Tensor, cutoff: float) -> Tensor:
    """tanh stretched by `cutoff` and clipped to [-1, 1]; plain below 1.01."""
    if cutoff < 1.01:
        return tanh(x)
    return torch.clamp(cutoff * tanh(x), -1, 1)


def normalize(state: Tensor, mask: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Each map of each seed to deviation gamma around beta, by its moments where the mask is 1.

    Args:
        state: (B, S, m, H, L), changed everywhere.
        mask: Broadcasts to the state.
        gamma: (S, m).
        beta: (S, m).
    """
    axes = (0, 3, 4)
    mask = mask.expand_as(state[:, :, :1])
    count = mask.sum(dim=axes, keepdim=True)
    mean = (state * mask).sum(dim=axes, keepdim=True) / count
    distance = state - mean
    variance = (distance.square() * mask).sum(dim=axes, keepdim=True) / count
    scaled = distance * (torch.rsqrt(variance + BATCH_NORM_EPSILON) * gamma[:, :, None, None])
    return scaled + beta[:, :, None, None]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """What the time steps of one bin share.

    Attributes:
        mask: 1 at positions with a symbol, (B, S, 1, 1, L).
        task: What every convolution sees beside its input, (B, S, 4, H, L); None: nothing.
    """

    mask: Tensor
    task: Tensor | None

    def beside_task(self, state: Tensor) -> Tensor:
        """A convolution's input: the task first, where it is told."""
        return state if self.task is None else torch.cat([self.task, state], dim=2)


@dataclass(frozen=True, kw_only=True)
class NeuralGPU:
    """A Neural GPU of one size."""

    config: ModelConfig

    @property
    def relaxed(self) -> frozenset[str]:
        """All recurrent weights; embedding and output are not relaxed."""
        return frozenset(self._recurrent_shapes())

    def initialize(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Kernels U(±1.8·sqrt(3 / fan_in)), embedding U(±1.7), biases and beta 0, gamma 1."""
        model = self.config
        maps = model.filters

        def uniform(bound: float, *shape: int) -> np.ndarray:
            return generator.uniform(-bound, bound, shape).astype(np.float32)

        parameters = {"embedding": uniform(1.7, model.input_symbols, maps)}
        for name, shape in self._recurrent_shapes().items():
            if name.endswith("weight"):
                parameters[name] = uniform(1.8 * sqrt(3 / (9 * shape[2])), *shape)
            else:
                parameters[name] = np.full(shape, name.endswith("gamma"), np.float32)
        parameters["output.weight"] = uniform(1.8 * sqrt(3 / maps), model.output_symbols, maps)
        parameters["output.bias"] = np.zeros(model.output_symbols, np.float32)
        return parameters

    def _recurrent_shapes(self) -> dict[str, tuple[int, ...]]:
        """What a time step has, a copy on the first axis."""
        model = self.config
        maps, inputs = model.filters, model.filters + (TASK_SLOTS if model.task_id else 0)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(model.layers):
            widths = {f"gru{layer}.gates": 2 * maps, f"gru{layer}.candidate": maps}
            if model.unit == "resnet":
                widths = {f"convolution{layer}": maps}
            for name, width in widths.items():
                shapes[f"{name}.weight"] = (model.weight_copies, width, inputs, 3, 3)
                shapes[f"{name}.bias"] = (model.weight_copies, width)
        if model.batch_norm:
            shapes |= dict.fromkeys(("norm.gamma", "norm.beta"), (model.weight_copies, maps))
        return shapes

    def forward(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None = None,
        *,
        told: bool = False,
        watch: Watch | None = None,
    ) -> Output:
        """Each bin through its own recurrence; `watch` is shown the states of one after another."""
        dropout = placed(dropout, self.config)
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

    def _plane(self, batch: Bin, state: Tensor) -> Plane:
        """The mask and the task of a bin."""
        mask = batch.mask.transpose(0, 1)[:, :, None, None, :].to(state.dtype)
        mask = F.pad(mask, (0, state.shape[4] - mask.shape[4]))
        if not self.config.task_id:
            return Plane(mask=mask, task=None)
        sequences, seeds, _, height, columns = state.shape
        tasks = batch.inputs.new_zeros(seeds) if batch.tasks is None else batch.tasks
        told = F.one_hot(tasks, TASK_SLOTS).to(state.dtype)[None, :, :, None, None]
        return Plane(mask=mask, task=told.expand(sequences, -1, -1, height, columns))

    def _recur(
        self,
        parameters: Parameters,
        batch: Bin,
        index: int,
        dropout: HashedDropout | None,
        watch: Watch | None,
    ) -> Tensor:
        """All time steps of one bin; the logits (S, B, L, classes)."""
        model = self.config
        length = batch.targets.shape[2]
        steps = batch.mask.sum(dim=2).t() + model.extra_steps  # (B, S)
        limit = model.step_limit(batch.padded_length)
        steps = steps if limit is None else steps.clamp(max=limit)
        shortest, longest = int(steps.min()), int(steps.max())
        state = self._embed(parameters, batch.inputs)
        state = F.pad(state, (0, model.columns(length, batch.padded_length) - length))
        plane = self._plane(batch, state)
        sequences, _, maps, height, columns = state.shape
        cells = (sequences, columns, height, maps)
        answer = torch.zeros_like(state[:, :, :, 0])
        if watch:
            watch(state[..., :length])
        for time in range(longest):
            before = state
            if dropout and dropout.threshold(batch.padded_length):
                keep = dropout.mask(index, time, cells, batch.padded_length, state)
                state = state * keep.permute(1, 0, 4, 3, 2)
            state = self._step(parameters, time, state, plane)
            if model.output_layer == 1:
                answer = answer + state[:, :, :, 0] * (time < steps)[:, :, None, None]
            elif time >= shortest:  # sequences that have had their steps stay as they are
                state = torch.where((time < steps)[:, :, None, None, None], state, before)
            if watch:
                watch(state[..., :length])
        first_row = answer if model.output_layer == 1 else state[:, :, :, 0]  # (B, S, m, L)
        logits = torch.einsum(
            "bsml,scm->sblc", first_row[..., :length], parameters["output.weight"]
        )
        return logits + parameters["output.bias"][:, None, None, :]

    def _step(self, parameters: Parameters, time: int, state: Tensor, plane: Plane) -> Tensor:
        """One time step after its dropout, with the weight copy of this time."""
        copy = time % self.config.weight_copies
        own = {name: parameters[name][:, copy] for name in self._recurrent_shapes()}
        if self.config.unit == "resnet":
            state = self._residual(own, state, plane)
        else:
            for layer in range(self.config.layers):
                state = self._gru(own, f"gru{layer}", state, plane) * plane.mask
        if not self.config.batch_norm:
            return state
        everything = torch.ones_like(plane.mask)
        counted = plane.mask if self.config.batch_norm == 2 else everything
        return normalize(state, counted, own["norm.gamma"], own["norm.beta"])

    def _gru(self, own: Parameters, name: str, state: Tensor, plane: Plane) -> Tensor:
        """out = g·s + (1 − g)·tanh(conv(r·s))."""
        gates = convolve(
            plane.beside_task(state), own[f"{name}.gates.weight"], own[f"{name}.gates.bias"] + 1
        )
        reset, update = gate(gates, self.config.gate_cutoff).chunk(2, dim=2)
        proposal = convolve(
            plane.beside_task(reset * state),
            own[f"{name}.candidate.weight"],
            own[f"{name}.candidate.bias"],
        )
        candidate = squash(proposal, self.config.tanh_cutoff)
        return update * state + (1 - update) * candidate

    def _residual(self, own: Parameters, state: Tensor, plane: Plane) -> Tensor:
        """relu(mask·conv(…)) `layers` times; the state is added before the last relu."""
        last, before = self.config.layers - 1, state
        for layer in range(self.config.layers):
            name = f"convolution{layer}"
            state = convolve(plane.beside_task(state), own[f"{name}.weight"], own[f"{name}.bias"])
            state = torch.relu((state + before if layer == last else state) * plane.mask)
        return state
