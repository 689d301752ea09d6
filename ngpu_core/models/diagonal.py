"""The diagonal Neural GPU (DNGPU) of Freivalds and Liepins (SPECS D), in plain autograd.

The state is one row of m maps a symbol. One DCGRU is applied L times to a bin of length L; a third
of the maps is shifted right and a third left before it is gated through, which lets values travel
diagonally. Nonlinearities are hard, and what they cut off costs (saturation). The ablations of the
paper are options: soft nonlinearities (nothing is cut off), no shift, and what is dropped.

All bins lie side by side in one row, longest first, a zero column between two. The bins still
running at time t are a prefix of that row, so the recurrence takes max(L) steps, not their sum.
Inside, the row is (B, S, m, columns), so that one grouped convolution serves all seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout, placed
from ngpu_core.models.network import Bin, Output, Parameters, Watch, cross_entropy, embed, tanh

#: |pre-activation| beyond which saturation costs.
SATURATION_LIMIT = 0.9
RESET_BIAS = 0.5
UPDATE_BIAS = 0.7


def hard_sigmoid(x: Tensor) -> Tensor:
    """clip((x + 1) / 2, 0, 1)."""
    return torch.clamp(0.5 * x + 0.5, 0, 1)


def hard_tanh(x: Tensor) -> Tensor:
    """clip(x, -1, 1)."""
    return torch.clamp(x, -1, 1)


def convolve(state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Same-padded convolution of width 3, each seed with its own kernel.

    Args:
        state: (B, S, m_in, columns).
        weight: (S, m_out, m_in, 3).
        bias: (S, m_out).
    """
    batch, seeds, _, columns = state.shape
    flat = F.conv1d(
        state.flatten(1, 2), weight.flatten(0, 1), bias.flatten(), padding=1, groups=seeds
    )
    return flat.view(batch, seeds, -1, columns)


def shift_diagonally(state: Tensor) -> Tensor:
    """The first maps stay, the next third takes the left neighbour, the last the right one."""
    third = state.shape[2] // 3
    stay, from_left, from_right = state.split([state.shape[2] - 2 * third, third, third], dim=2)
    return torch.cat(
        [stay, F.pad(from_left[..., :-1], (1, 0)), F.pad(from_right[..., 1:], (0, 1))], dim=2
    )


def excess(x: Tensor) -> Tensor:
    """max(|x| − 0.9, 0) a map and column, summed over maps and batch: (S, columns)."""
    return F.softshrink(x, SATURATION_LIMIT).abs().sum(dim=(0, 2))


@dataclass(frozen=True, kw_only=True)
class Row:
    """Where each bin lies in the row, longest first.

    Attributes:
        order: Index of the bin at each place.
        starts: First column of the bin at each place.
        lengths: Its number of columns (= its time steps).
    """

    order: list[int]
    starts: list[int]
    lengths: list[int]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Row":
        """Lay out bins of these lengths."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        ordered = [lengths[index] for index in order]
        starts = [sum(ordered[:place]) + place for place in range(len(ordered))]
        return cls(order=order, starts=starts, lengths=ordered)

    def width(self, running: int) -> int:
        """Columns of the first `running` bins."""
        return self.starts[running - 1] + self.lengths[running - 1]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Bins (in their own order, columns last) → one row with zero columns between."""
        padded = [F.pad(parts[index], (0, 1)) for index in self.order]
        return torch.cat(padded, dim=-1)[..., :-1]


def row_masks(
    dropout: HashedDropout | None,
    row: Row,
    bins: Sequence[Bin],
    running: int,
    time: int,
    like: Tensor,
) -> Tensor | None:
    """The masks of one time (0: the embedding) for the first `running` bins: (B, S, m, columns)."""
    if dropout is None or not dropout.probability:
        return None
    sequences, _, maps, _ = like.shape
    parts = []
    for index in row.order[:running]:
        columns = bins[index].targets.shape[2]
        mask = dropout.mask(index, time, (sequences, columns, 1, maps), columns, like)
        parts.append(F.pad(mask[:, :, :, 0].permute(1, 0, 3, 2), (0, 1)))
    return torch.cat(parts, dim=-1)[..., :-1]


@dataclass(frozen=True, kw_only=True)
class DiagonalNeuralGPU:
    """A DNGPU of one size."""

    config: ModelConfig
    relaxed: frozenset[str] = frozenset()

    def initialize(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Weights U(±sqrt(3 / fan_in)) as in the version behind the paper, biases 0."""
        model = self.config
        maps = model.filters

        def uniform(fan_in: int, *shape: int) -> np.ndarray:
            bound = sqrt(3 / fan_in)
            return generator.uniform(-bound, bound, shape).astype(np.float32)

        return {
            "input.weight": uniform(model.input_symbols, model.input_symbols, maps),
            "input.bias": np.zeros(maps, np.float32),
            "gates.weight": uniform(3 * maps, 2 * maps, maps, 3),
            "gates.bias": np.repeat(np.array([RESET_BIAS, UPDATE_BIAS], np.float32), maps),
            "candidate.weight": uniform(3 * maps, maps, maps, 3),
            "candidate.bias": np.zeros(maps, np.float32),
            "output.weight": uniform(maps, model.output_symbols, maps),
            "output.bias": np.zeros(model.output_symbols, np.float32),
        }

    def forward(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None = None,
        *,
        told: bool = False,
        watch: Watch | None = None,
    ) -> Output:
        """All bins at once, side by side; `watch` is shown the states of the bins still running."""
        dropout = placed(dropout, self.config)
        row = Row.of([batch.targets.shape[2] for batch in bins])
        share = self._saturation_share(row, bins, parameters["input.weight"])
        mask = row.join([batch.mask.transpose(0, 1).to(share.dtype) for batch in bins])[:, :, None]
        saturation, state = self._embed(parameters, row, bins)
        keep = row_masks(dropout, row, bins, len(bins), 0, state)
        state = (state if keep is None else state * keep) * mask
        if watch:
            watch(state[:, :, :, None])
        # The input layer acts once; its cost counts as often as the recurrence's (times L).
        steps = row.join(
            [share.new_full((batch.targets.shape[2],), batch.targets.shape[2]) for batch in bins]
        )
        cost = (saturation * share * steps).sum(dim=1)
        finished: list[Tensor] = [state] * len(bins)
        running = len(bins)
        for time in range(row.lengths[0]):
            keep = None
            if self.config.dropped == "candidate":
                keep = row_masks(dropout, row, bins, running, time + 1, state)
            elif time:  # the first state was dropped from above
                kept = row_masks(dropout, row, bins, running, time, state)
                state = state if kept is None else state * kept
            step_saturation, state = self._dcgru(parameters, state, keep)
            state = state * mask[..., : state.shape[-1]]
            if watch:
                watch(state[:, :, :, None])
            cost = cost + (step_saturation * share[: state.shape[-1]]).sum(dim=1)
            while running and row.lengths[running - 1] == time + 1:
                running -= 1
                finished[row.order[running]] = state[..., row.starts[running] :]
                if running:
                    state = state[..., : row.width(running)]
        return Output(
            logits=[self._logits(parameters, final) for final in finished],
            saturation=cost / len(bins),
        )

    def loss(self, logits: Tensor, batch: Bin) -> Tensor:
        """Cross-entropy averaged over all positions, pads included."""
        return cross_entropy(logits, batch.targets).mean(dim=(1, 2))

    def scored(self, batch: Bin) -> Tensor:
        """All positions: the reference's accuracy counts pads too."""
        return torch.ones_like(batch.targets, dtype=torch.bool)

    def _saturation_share(self, row: Row, bins: Sequence[Bin], like: Tensor) -> Tensor:
        """Each column's weight in the saturation cost: 1 / (L²·B) of its bin, (columns,)."""
        sequences = bins[0].targets.shape[1]
        lengths = [batch.targets.shape[2] for batch in bins]
        return row.join(
            [like.new_full((length,), 1 / (length**2 * sequences)) for length in lengths]
        )

    def _embed(
        self, parameters: Parameters, row: Row, bins: Sequence[Bin]
    ) -> tuple[Tensor, Tensor]:
        """How far the first state was cut off (S, columns), and that state."""
        ids = row.join([batch.inputs[:, :, 0] for batch in bins])  # (S, B, columns)
        table = parameters["input.weight"] + parameters["input.bias"][:, None, :]
        return self._squash(embed(table, ids).permute(1, 0, 3, 2))

    def _dcgru(
        self, parameters: Parameters, state: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """s' = u·shift(s) + (1 − u)·dropout(c); also how far gates and candidate were cut off."""
        gates = convolve(state, parameters["gates.weight"], parameters["gates.bias"])
        beyond_gates, gates = self._gate(gates)
        reset, update = gates.chunk(2, dim=2)
        proposal = convolve(
            reset * state, parameters["candidate.weight"], parameters["candidate.bias"]
        )
        beyond, candidate = self._squash(proposal)
        if keep is not None:
            candidate = candidate * keep
        shifted = shift_diagonally(state) if self.config.diagonal_gates else state
        return beyond_gates + beyond, candidate + update * (shifted - candidate)

    def _gate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How far pre-activations are cut off (S, columns), and the gates."""
        if self.config.soft_nonlinearities:
            return x.new_zeros(()), torch.sigmoid(x)
        return excess(x), hard_sigmoid(x)

    def _squash(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How far pre-activations are cut off (S, columns), and values in [-1, 1]."""
        if self.config.soft_nonlinearities:
            return x.new_zeros(x.shape[1], x.shape[3]), tanh(x)
        return excess(x), hard_tanh(x)

    def _logits(self, parameters: Parameters, state: Tensor) -> Tensor:
        logits = torch.einsum("bsml,scm->sblc", state, parameters["output.weight"])
        return logits + parameters["output.bias"][:, None, None, :]
