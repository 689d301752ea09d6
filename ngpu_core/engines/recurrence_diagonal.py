"""The diagonal Neural GPU's recurrence, forward and back.

A step maps s to s' = u·shift(s) + (1 − u)·d·c with gates (r, u) = (1 + hardtanh(conv(s))) / 2, the
candidate c = hardtanh(conv(r·s)) and the dropout mask d. With δ the gradient of s', its way back is

    δc = d·(1 − u)·δ                  through hardtanh, then through the convolution: δ(rs)
    δr = s·δ(rs),   δu = (shift(s) − d·c)·δ   through hardtanh, then the convolution: δ(conv)
    δs = unshift(u·δ) + r·δ(rs) + δ(conv)

What hardtanh cuts off beyond 0.9 costs (saturation), which adds ± a column's weight to what is past
the limit.

All sequences lie in one row of columns, (S, 1, 1, columns, maps): those of the longest bin first, a
column of zeros after each. What still runs is the left end of the row, so the recurrence takes as
many steps as the longest bin is long, and no sequence sees its neighbour. Functions whose names end
in an underscore overwrite their first argument.
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
from ngpu_core.models.diagonal import SATURATION_LIMIT, DiagonalNeuralGPU, hard_tanh
from ngpu_core.models.network import Bin, Parameters, embed

aten = torch.ops.aten

#: State, clipped gates, clipped candidate, scaled dropout mask.
Tape = tuple[Tensor, Tensor, Tensor, Tensor | None]


@fused
def excess(x: Tensor, shares: Tensor) -> Tensor:
    """Weighted sum of max(|x| − 0.9, 0): (S,) from (S, 1, 1, columns, maps) and (columns, 1)."""
    return F.softshrink(x, SATURATION_LIMIT).abs_().mul_(shares).sum(dim=(1, 2, 3, 4))


def clip_back(gradient: Tensor, clipped: Tensor, weights: Tensor | None) -> Tensor:
    """Through hardtanh; what is past the saturation limit adds its column's weight.

    Args:
        gradient: Of the result.
        clipped: The result.
        weights: What saturation costs in each column, (S, 1, 1, columns, 1); None if nothing.
    """
    passed = aten.hardtanh_backward(gradient, clipped, -1, 1)
    if weights is None:
        return passed
    return passed.addcmul_(F.softshrink(clipped, SATURATION_LIMIT).sign_(), weights)


def opened(gate: Tensor) -> Tensor:
    """A gate in [0, 1] from its clipped x in [−1, 1]."""
    return gate.mul(0.5).add_(0.5)


def shift(state: Tensor, *, back: bool = False) -> Tensor:
    """The first maps stay, the next third takes the left neighbour, the last the right one.

    Args:
        state: (…, columns, maps).
        back: Turns it round, which is the way gradients take.
    """
    third = state.shape[-1] // 3
    stay, second, last = state.split([state.shape[-1] - 2 * third, third, third], dim=-1)
    first, other = (to_the_left, to_the_right) if back else (to_the_right, to_the_left)
    return torch.cat([stay, first(second), other(last)], dim=-1)


def to_the_right(columns: Tensor) -> Tensor:
    """Each column's maps, (…, columns, maps), in the next one; zeros come in."""
    return F.pad(columns[..., :-1, :], (0, 0, 1, 0))


def to_the_left(columns: Tensor) -> Tensor:
    """The other way."""
    return F.pad(columns[..., 1:, :], (0, 0, 0, 1))


@fused
def remember(gates: Tensor, state: Tensor) -> Tensor:
    """r·s."""
    return opened(gates[..., : state.shape[-1]]).mul_(state)


@fused
def blend(
    gates: Tensor, state: Tensor, candidate: Tensor, keep: Tensor | None, columns: Tensor
) -> Tensor:
    """u·shift(s) + (1 − u)·d·c, zero in columns without a symbol."""
    update = opened(gates[..., state.shape[-1] :])
    dropped = candidate if keep is None else candidate * keep
    return torch.lerp(dropped, shift(state), update).mul_(columns)


@fused
def candidate_back(
    gradient: Tensor,
    gates: Tensor,
    candidate: Tensor,
    keep: Tensor | None,
    weights: Tensor | None,
) -> Tensor:
    """The gradient of what the candidate was clipped from."""
    update = opened(gates[..., candidate.shape[-1] :])
    of_candidate = torch.addcmul(gradient, gradient, update, value=-1)
    if keep is not None:
        of_candidate.mul_(keep)
    return clip_back(of_candidate, candidate, weights)


@fused
def gates_back(
    gradient: Tensor, of_remembered: Tensor, tape: Tape, weights: Tensor | None
) -> Tensor:
    """The gradient of what the gates were clipped from."""
    state, gates, candidate, keep = tape
    dropped = candidate if keep is None else candidate * keep
    of_update = shift(state).sub_(dropped).mul_(gradient)
    of_gates = torch.cat([of_remembered * state, of_update], dim=-1)
    return clip_back(of_gates.mul_(0.5), gates, weights)


@fused
def state_back_(
    convolved: Tensor, gradient: Tensor, of_remembered: Tensor, gates: Tensor
) -> Tensor:
    """δ(conv) + r·δ(rs) + unshift(u·δ)."""
    reset, update = opened(gates).chunk(2, dim=-1)
    convolved.addcmul_(of_remembered, reset)
    return convolved.add_(shift(gradient * update, back=True))


@dataclass(frozen=True, kw_only=True)
class DiagonalCell:
    """The time steps of some sequences of every bin.

    Attributes:
        gates: Their convolution.
        candidate: Its convolution.
        widths: Columns running at each time step.
        columns: 1 where there is a symbol, (S, 1, 1, columns, 1).
        shares: Weight of a column in the saturation cost, (columns,).
        saturated: Whether that cost has a weight at all.
        masks: Dropout of the candidate; time t takes mask t + 1.
        places: Which sequence's hash a column's masks are from, and where in it, (columns,) each.
    """

    gates: Convolution
    candidate: Convolution
    widths: Sequence[int]
    columns: Tensor
    shares: Tensor
    saturated: bool
    masks: Masks | None
    places: tuple[Tensor, Tensor]

    @property
    def steps(self) -> int:
        """As many as the longest bin has columns."""
        return len(self.widths)

    def width(self, time: int) -> int:
        """The bins longer than `time`."""
        return self.widths[time]

    def step(self, time: int, state: Tensor, cost: Tensor | None) -> tuple[Tensor, Tape]:
        """One DCGRU."""
        shares = self.shares[: state.shape[3], None]
        gates = self.gates(state)
        if cost is not None:
            cost += excess(gates, shares)
        gates.clamp_(-1, 1)
        candidate = self.candidate(remember(gates, state))
        if cost is not None:
            cost += excess(candidate, shares)
        candidate.clamp_(-1, 1)
        keep = self.keep(time + 1, state.shape[3], state.shape[4])
        after = blend(gates, state, candidate, keep, self.columns[:, :, :, : state.shape[3]])
        return after, (state, gates, candidate, keep)

    def back(self, time: int, tape: Tape, gradient: Tensor, cost: Tensor) -> Tensor:
        """The same backwards."""
        state, gates, candidate, keep = tape
        width = state.shape[3]
        gradient = gradient * self.columns[:, :, :, :width]
        weights = None
        if self.saturated:
            weights = cost[:, None, None, None, None] * self.shares[:width, None]
        of_remembered = self.candidate.back(
            remember(gates, state), candidate_back(gradient, gates, candidate, keep, weights)
        )
        convolved = self.gates.back(state, gates_back(gradient, of_remembered, tape, weights))
        return state_back_(convolved, gradient, of_remembered, gates)

    def keep(self, time: int, width: int, maps: int) -> Tensor | None:
        """The scaled mask of a time (0: the embedding), (S, 1, 1, columns, maps)."""
        if self.masks is None:
            return None
        sequences, offsets = (one[:width] for one in self.places)
        hashes = self.masks.rows[:, time].index_select(1, sequences) + offsets
        return self.masks.scaled(hashes[:, None, None], maps)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Where sequences lie in a row: those of the longest bin first, a zero column after each.

    Attributes:
        order: Index of the bin at each place.
        lengths: Columns of a sequence of that bin.
        sequences: Sequences of each bin.
    """

    order: Sequence[int]
    lengths: Sequence[int]
    sequences: int

    @classmethod
    def of(cls, bins: Sequence[Bin]) -> "Row":
        """Lay out bins of one batch size."""
        columns = [batch.targets.shape[2] for batch in bins]
        order = sorted(range(len(bins)), key=lambda index: -columns[index])
        return cls(
            order=order,
            lengths=[columns[index] for index in order],
            sequences=bins[0].targets.shape[1],
        )

    @property
    def widths(self) -> list[int]:
        """Columns of the bins longer than t, for every t."""
        return [
            sum((length + 1) * self.sequences for length in self.lengths if length > time)
            for time in range(self.lengths[0])
        ]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """(…, B, L) of each bin, in the bins' own order → (…, columns)."""
        return torch.cat([F.pad(parts[index], (0, 1)).flatten(-2) for index in self.order], dim=-1)

    def split(self, row: Tensor) -> list[Tensor]:
        """(S, columns, x) → (S, B, L, x) of each bin, in the bins' own order."""
        sizes = [(length + 1) * self.sequences for length in self.lengths]
        parts = {
            index: part.unflatten(1, (self.sequences, length + 1))[:, :, :length]
            for index, length, part in zip(
                self.order, self.lengths, row.split(sizes, 1), strict=True
            )
        }
        return [parts[index] for index in range(len(self.order))]


@dataclass(frozen=True, kw_only=True)
class DiagonalRecurrence:
    """A diagonal Neural GPU, all bins at once.

    Attributes:
        network: The definition.
        convolutions: How to convolve.
        segment: Time steps between two states kept; None keeps everything.
    """

    network: DiagonalNeuralGPU
    convolutions: Convolutions
    segment: int | None

    @property
    def side_by_side(self) -> bool:
        """All bins lie in one row."""
        return True

    def times(self, batch: Bin) -> int:
        """Number of dropout masks: of the embedding, and of each time step."""
        return batch.targets.shape[2] + 1

    def layers(self, parameters: Parameters) -> tuple[Convolution, Convolution]:
        """Gates and candidate."""
        gates, candidate = (
            self.convolutions(
                parameters[f"{kind}.weight"][:, :, :, None], parameters[f"{kind}.bias"]
            )
            for kind in ("gates", "candidate")
        )
        return gates, candidate

    def gradients(self, layers: tuple[Convolution, Convolution]) -> dict[str, Tensor]:
        """What the convolutions have added up, under the names of the parameters."""
        found = {}
        for kind, convolution in zip(("gates", "candidate"), layers, strict=True):
            kernel, found[f"{kind}.bias"] = convolution.gradients()
            found[f"{kind}.weight"] = kernel[:, :, :, 0]
        return found

    def run(
        self,
        parameters: Parameters,
        layers: tuple[Convolution, Convolution],
        bins: Sequence[Bin],
        masks: Sequence[Masks | None],
        saturated: bool,
    ) -> tuple[list[Tensor], Tensor]:
        """The logits of each bin, (S, B, L, classes), and the saturation cost (S,)."""
        row = Row.of(bins)
        table = parameters["input.weight"] + parameters["input.bias"][:, None, :]
        lengths = [
            table.new_full(batch.targets.shape[1:], batch.targets.shape[2]) for batch in bins
        ]
        shares = row.join([1 / (length.square() * row.sequences * len(bins)) for length in lengths])
        columns = row.join([batch.mask.to(table.dtype) for batch in bins])[:, None, None, :, None]
        ids = row.join([batch.inputs[:, :, 0] for batch in bins])
        cell = DiagonalCell(
            gates=layers[0],
            candidate=layers[1],
            widths=row.widths,
            columns=columns,
            shares=shares,
            saturated=saturated,
            masks=joined(row, masks),
            places=hash_places(row, table.shape[2], table.device),
        )
        state = embed(hard_tanh(table), ids)[:, None, None]
        keep = cell.keep(0, *state.shape[3:])
        state = (state if keep is None else state * keep) * columns
        final, saturation = unroll(cell, state, self.segment)
        logits = torch.matmul(final[:, 0, 0], parameters["output.weight"].transpose(1, 2))
        first = embed(F.softshrink(table, SATURATION_LIMIT).abs().sum(dim=2, keepdim=True), ids)
        # The input layer acts once; its cost counts as often as the recurrence's (times L).
        first_cost = (first[..., 0] * (shares * row.join(lengths))).sum(dim=1)
        return row.split(logits + parameters["output.bias"][:, None]), first_cost + saturation


def joined(row: Row, masks: Sequence[Masks | None]) -> Masks | None:
    """The masks of every bin side by side; bins that finish early have none later."""
    found = [masks[index] for index in row.order]
    first = found[0]
    if first is None:
        return None
    times = first.rows.shape[1]
    rows = [F.pad(one.rows, (0, 0, 0, times - one.rows.shape[1])) for one in found if one]
    return Masks(rows=torch.cat(rows, dim=2), threshold=first.threshold, scale=first.scale)


def hash_places(row: Row, maps: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each column: its sequence's place among all, and what its place adds to the hash."""
    sequences, offsets = [], []
    for place, length in enumerate(row.lengths):
        own = torch.arange(row.sequences, device=device) + place * row.sequences
        sequences.append(own.repeat_interleave(length + 1))
        offsets.append(places(length + 1, maps, device).repeat(row.sequences))
    return torch.cat(sequences), torch.cat(offsets)
