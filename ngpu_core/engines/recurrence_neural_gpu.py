"""The Neural GPU's recurrence, forward and back.

A layer maps s to s' = u·s + (1 − u)·c with gates (r, u) = gate(conv(s)) and candidate
c = tanh(conv(r·s)). With δ the gradient of s', its way back is

    δc = (1 − u)·δ                    through tanh, then through the convolution: δ(rs)
    δr = s·δ(rs),   δu = (s − c)·δ    through the gate, then through the convolution: δ(conv)
    δs = u·δ + r·δ(rs) + δ(conv)

The state is (S, B, height, L, maps); both gates lie side by side in the maps. Functions whose names
end in an underscore overwrite their first argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ngpu_core.engines.convolutions import Convolution, Convolutions
from ngpu_core.engines.fused import fused
from ngpu_core.engines.masks import Masks, places
from ngpu_core.engines.recurrence import unroll
from ngpu_core.models.network import Bin, Parameters, embed, tanh
from ngpu_core.models.neural_gpu import NeuralGPU

aten = torch.ops.aten

#: The convolutions of one layer in one weight copy: gates, candidate.
Layer = tuple[Convolution, Convolution]
#: State, gates and candidate of each layer, and the scaled dropout mask.
Tape = tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor | None]


@fused
def gate_(x: Tensor, cutoff: float) -> Tensor:
    """Sigmoid stretched by `cutoff` and clipped to [0, 1]; plain below 1.01."""
    x.sigmoid_()
    return x if cutoff < 1.01 else x.mul_(cutoff).sub_((cutoff - 1) / 2).clamp_(0, 1)


def gate_back_(gradient: Tensor, gates: Tensor, cutoff: float) -> Tensor:
    """Through the gate; a clipped one passes nothing on."""
    if cutoff < 1.01:
        return aten.sigmoid_backward(gradient, gates)
    sigmoid = torch.add(gates, (cutoff - 1) / 2).mul_(1 / cutoff)
    stretched = aten.sigmoid_backward(gradient.mul_(cutoff), sigmoid)
    return aten.hardtanh_backward(stretched, gates, 0, 1)


@fused
def remember(gates: Tensor, state: Tensor) -> Tensor:
    """r·s."""
    return gates[..., : state.shape[-1]] * state


@fused
def candidate_(x: Tensor) -> Tensor:
    """tanh as 2σ(2x) − 1: ten times faster than `torch.tanh` on a CPU."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


@fused
def blend(gates: Tensor, state: Tensor, candidate: Tensor, columns: Tensor | None) -> Tensor:
    """u·s + (1 − u)·c, zero in columns without a symbol."""
    after = torch.lerp(candidate, state, gates[..., state.shape[-1] :])
    return after if columns is None else after.mul_(columns)


@fused
def candidate_back(gradient: Tensor, gates: Tensor, candidate: Tensor) -> Tensor:
    """The gradient of what the tanh was taken of."""
    update = gates[..., candidate.shape[-1] :]
    of_candidate = torch.addcmul(gradient, gradient, update, value=-1)
    return aten.tanh_backward(of_candidate, candidate)


@fused
def gates_back(
    gradient: Tensor,
    of_remembered: Tensor,
    state: Tensor,
    gates: Tensor,
    candidate: Tensor,
    cutoff: float,
) -> Tensor:
    """The gradient of what the gates were taken of."""
    of_gates = torch.cat([of_remembered * state, gradient * (state - candidate)], dim=-1)
    return gate_back_(of_gates, gates, cutoff)


@fused
def state_back_(
    convolved: Tensor, gradient: Tensor, of_remembered: Tensor, gates: Tensor
) -> Tensor:
    """δ(conv) + u·δ + r·δ(rs)."""
    maps = convolved.shape[-1]
    convolved.addcmul_(gradient, gates[..., maps:])
    return convolved.addcmul_(of_remembered, gates[..., :maps])


@dataclass(frozen=True, kw_only=True)
class NeuralGPUCell:
    """The time steps of one bin.

    Attributes:
        layers: The layers of each weight copy.
        cutoff: Of the gates.
        steps: Time steps of the longest sequence.
        shortest: Time steps of the shortest.
        own_steps: Time steps of each sequence, (S, B, 1, 1, 1).
        columns: 1 where there is a symbol, (S, B, 1, L, 1); None if there is one everywhere.
        masks: Dropout of the state, one mask a time step.
        places: Of the hash, (height, L).
    """

    layers: Sequence[Sequence[Layer]]
    cutoff: float
    steps: int
    shortest: int
    own_steps: Tensor
    columns: Tensor | None
    masks: Masks | None
    places: Tensor

    def width(self, time: int) -> int:
        """Every column runs to the end; a sequence that is done is copied."""
        return self.places.shape[1]

    def step(self, time: int, state: Tensor, cost: Tensor | None) -> tuple[Tensor, Tape]:
        """Dropout, then every layer; sequences that have had their steps stay as they are."""
        keep = self._keep(time, state)
        inner = state if keep is None else state * keep
        layers = []
        for gates_of, candidate_of in self._layers(time):
            gates = gate_(gates_of(inner), self.cutoff)
            candidate = candidate_(candidate_of(remember(gates, inner)))
            layers.append((inner, gates, candidate))
            inner = blend(gates, inner, candidate, self.columns)
        if time >= self.shortest:
            inner = torch.where(time < self.own_steps, inner, state)
        return inner, (layers, keep)

    def back(self, time: int, tape: Tape, gradient: Tensor, cost: Tensor) -> Tensor:
        """The same, last layer first."""
        layers, keep = tape
        staying = None
        if time >= self.shortest:
            running = time < self.own_steps
            staying = gradient * ~running
            gradient = gradient * running
        for layer, kept in zip(reversed(self._layers(time)), reversed(layers), strict=True):
            gradient = self._layer_back(layer, *kept, gradient)
        if keep is not None:
            gradient = gradient * keep
        return gradient if staying is None else gradient + staying

    def _layer_back(
        self, layer: Layer, state: Tensor, gates: Tensor, candidate: Tensor, gradient: Tensor
    ) -> Tensor:
        gates_of, candidate_of = layer
        if self.columns is not None:
            gradient = gradient * self.columns
        of_remembered = candidate_of.back(
            remember(gates, state), candidate_back(gradient, gates, candidate)
        )
        of_gates = gates_back(gradient, of_remembered, state, gates, candidate, self.cutoff)
        return state_back_(gates_of.back(state, of_gates), gradient, of_remembered, gates)

    def _layers(self, time: int) -> Sequence[Layer]:
        return self.layers[time % len(self.layers)]

    def _keep(self, time: int, like: Tensor) -> Tensor | None:
        """The scaled mask of a time, (S, B, height, L, maps)."""
        if self.masks is None:
            return None
        return self.masks.scaled(
            self.masks.rows[:, time, :, None, None] + self.places, like.shape[-1]
        )


@dataclass(frozen=True, kw_only=True)
class NeuralGPURecurrence:
    """A Neural GPU computed bin by bin.

    Attributes:
        network: The definition.
        convolutions: How to convolve.
        segment: Time steps between two states kept; None keeps everything.
        look: Whether to look at the data, so as to leave out what is not needed.
    """

    network: NeuralGPU
    convolutions: Convolutions
    segment: int | None
    look: bool

    @property
    def side_by_side(self) -> bool:
        """Bins of other lengths have other numbers of steps, each from its own first."""
        return False

    def times(self, batch: Bin) -> int:
        """Number of dropout masks."""
        return batch.targets.shape[2] + self.network.config.extra_steps

    def layers(self, parameters: Parameters) -> list[list[Layer]]:
        """The convolutions of each weight copy and layer."""
        config = self.network.config

        def convolution(layer: int, kind: str, copy: int, shift: int) -> Convolution:
            kernel = parameters[f"gru{layer}.{kind}.weight"][:, copy]
            return self.convolutions(kernel, parameters[f"gru{layer}.{kind}.bias"][:, copy] + shift)

        return [
            [
                (convolution(layer, "gates", copy, 1), convolution(layer, "candidate", copy, 0))
                for layer in range(config.layers)
            ]
            for copy in range(config.weight_copies)
        ]

    def gradients(self, layers: list[list[Layer]]) -> dict[str, Tensor]:
        """What the convolutions have added up, under the names of the parameters."""
        found = {}
        for layer in range(self.network.config.layers):
            for place, kind in enumerate(("gates", "candidate")):
                pairs = [copy[layer][place].gradients() for copy in layers]
                for part, values in zip(("weight", "bias"), zip(*pairs, strict=True), strict=True):
                    found[f"gru{layer}.{kind}.{part}"] = torch.stack(values, dim=1)
        return found

    def run(
        self,
        parameters: Parameters,
        layers: list[list[Layer]],
        bins: Sequence[Bin],
        masks: Sequence[Masks | None],
        saturated: bool,
    ) -> tuple[list[Tensor], Tensor]:
        """The logits of each bin, (S, B, L, classes), and no saturation cost (S,)."""
        logits = [
            self._logits(parameters, layers, batch, mask)
            for batch, mask in zip(bins, masks, strict=True)
        ]
        return logits, logits[0].new_zeros(logits[0].shape[0])

    def _logits(
        self, parameters: Parameters, layers: list[list[Layer]], batch: Bin, masks: Masks | None
    ) -> Tensor:
        config = self.network.config
        mask = batch.mask
        length = mask.shape[2]
        steps = mask.sum(dim=2) + config.extra_steps  # (S, B)
        state = self._first_state(parameters, batch.inputs)
        columns = mask[:, :, None, :, None]
        cell = NeuralGPUCell(
            layers=layers,
            cutoff=config.gate_cutoff,
            steps=max(1, int(steps.max())) if self.look else length + config.extra_steps,
            shortest=int(steps.min()) if self.look else 0,
            own_steps=steps[:, :, None, None, None],
            columns=None if self.look and bool(mask.all()) else columns.to(state.dtype),
            masks=masks,
            places=places(length * config.height, config.filters, state.device)
            .view(length, config.height)
            .t(),
        )
        final, _ = unroll(cell, state, self.segment)
        logits = torch.einsum("sblm,scm->sblc", final[:, :, 0], parameters["output.weight"])
        return logits + parameters["output.bias"][:, None, None, :]

    def _first_state(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Symbol 0 and unused rows are zero."""
        table = parameters["embedding"]
        pads = torch.zeros_like(table[:, :1])
        cells = embed(tanh(torch.cat([pads, table[:, 1:]], dim=1)), inputs)  # (S, B, rows, L, m)
        return F.pad(cells, (0, 0, 0, 0, 0, self.network.config.height - inputs.shape[2]))
