"""The networks by their hand-written recurrences (`recurrence*.py`), on torch alone.

`Unrolled` is what the engines built on them share; `TorchEngine` is the one for a CPU. Embedding,
output and loss are a few operations on either side of the recurrence and are left to autograd.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.convolutions import Convolutions, SeedwiseConvolution
from ngpu_core.engines.engine import Differentiated, wrong_counts
from ngpu_core.engines.parts import Masks, draw_masks, some_sequences
from ngpu_core.engines.recurrence_diagonal import DiagonalRecurrence
from ngpu_core.engines.recurrence_neural_gpu import NeuralGPURecurrence
from ngpu_core.models.diagonal import DiagonalNeuralGPU
from ngpu_core.models.network import Bin, Network, Parameters
from ngpu_core.models.neural_gpu import NeuralGPU


class Recurrence(Protocol):
    """One family. Its layers hold the recurrent weights and add up their gradients."""

    @property
    def side_by_side(self) -> bool:
        """Whether all bins go through the recurrence at once."""
        ...

    def times(self, batch: Bin) -> int:
        """Number of dropout masks of a bin."""
        ...

    def layers(self, parameters: Parameters) -> Any:
        """The convolutions."""
        ...

    def gradients(self, layers: Any) -> dict[str, Tensor]:
        """What they have added up, under the names of the parameters."""
        ...

    def run(
        self,
        parameters: Parameters,
        layers: Any,
        bins: Sequence[Bin],
        masks: Sequence[Masks | None],
        saturated: bool,
    ) -> tuple[list[Tensor], Tensor]:
        """The logits of each bin, (S, B, L, classes), and the saturation cost (S,)."""
        ...


def recurrence(
    network: Network, convolutions: Convolutions, *, segment: int | None, look: bool
) -> Recurrence:
    """The recurrence of a network.

    Raises:
        TypeError: The network is of a family without one.
    """
    if isinstance(network, NeuralGPU):
        return NeuralGPURecurrence(
            network=network, convolutions=convolutions, segment=segment, look=look
        )
    if isinstance(network, DiagonalNeuralGPU):
        return DiagonalRecurrence(network=network, convolutions=convolutions, segment=segment)
    raise TypeError(f"no recurrence of {type(network).__name__}")


def unsupported(config: ModelConfig) -> str | None:
    """Why a configuration has no recurrence here; None when it has."""
    if config.family in ("neural_gpu", "diagonal_neural_gpu"):
        return None
    return f"the family {config.family} has no hand-written recurrence"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some sequences of some bins.

    Attributes:
        bins: The bins, cut to those sequences.
        masks: Their dropout.
        share: Weight of the part's loss in the whole batch's.
    """

    bins: list[Bin]
    masks: list[Masks | None]
    share: float


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    """A batch forward and back, a part at a time.

    Attributes:
        network: The definition.
        recurrence: Its recurrence.
        sequences: Sequences of a bin computed at once; None for all.
    """

    network: Network
    recurrence: Recurrence
    sequences: int | None = None

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        masks: Sequence[Masks | None],
        saturation_weights: Tensor,
        *,
        saturated: bool,
    ) -> Differentiated:
        """Losses, counts and gradients.

        Args:
            parameters: (S, …).
            bins: Of S seeds.
            masks: Of each bin.
            saturation_weights: (S,).
            saturated: False where all of these are known to be zero.
        """
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.no_grad():
            layers = self.recurrence.layers(parameters)
        first = saturation_weights.new_zeros
        losses, saturation = first(len(saturation_weights)), first(len(saturation_weights))
        counts = torch.zeros(
            len(saturation_weights), 4, dtype=torch.int64, device=saturation_weights.device
        )
        for part in self._parts(bins, masks):
            logits, cost = self.recurrence.run(leaves, layers, part.bins, part.masks, saturated)
            pairs = list(zip(logits, part.bins, strict=True))
            loss = torch.stack([self.network.loss(*pair) for pair in pairs]).sum(dim=0) * part.share
            cost = cost * (part.share * len(part.bins))
            (loss + saturation_weights * cost).sum().backward()
            losses, saturation = losses + loss.detach(), saturation + cost.detach()
            for found, batch in pairs:
                counts = counts + wrong_counts(self.network, found.detach(), batch)
        gradients = self.recurrence.gradients(layers)
        for name, leaf in leaves.items():
            if name not in gradients:
                gradients[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return Differentiated(
            losses=losses,
            saturation=saturation,
            counts=counts,
            gradients={name: gradients[name] for name in parameters},
        )

    @torch.no_grad()
    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """(S, B, L, classes) without dropout."""
        layers = self.recurrence.layers(parameters)
        found = [
            self.recurrence.run(parameters, layers, part.bins, part.masks, False)[0][0]
            for part in self._parts([batch], [None])
        ]
        return torch.cat(found, dim=1)

    def _parts(self, bins: Sequence[Bin], masks: Sequence[Masks | None]) -> Iterator[Part]:
        pairs = list(zip(bins, masks, strict=True))
        for group in [pairs] if self.recurrence.side_by_side else [[pair] for pair in pairs]:
            batch = group[0][0].targets.shape[1]
            size = min(self.sequences or batch, batch)
            for start in range(0, batch, size):
                span = slice(start, min(start + size, batch))
                cut = [some_sequences(*pair, span) for pair in group]
                yield Part(
                    bins=[one for one, _ in cut],
                    masks=[one for _, one in cut],
                    share=(span.stop - span.start) / batch / len(bins),
                )


class TorchEngine:
    """Computes any network from the library's convolutions, a seed at a time.

    Args:
        network: What to compute.
        segment: Time steps between two states kept for the backward pass; None keeps all it needs.
        sequences: Sequences of a bin computed at once; None for all. Fewer take less memory.
    """

    name = "torch"
    seeds_at_once = False
    releases_interpreter = False

    def __init__(
        self, network: Network, *, segment: int | None = None, sequences: int | None = None
    ) -> None:
        self.network = network
        self._unrolled = Unrolled(
            network=network,
            recurrence=recurrence(network, SeedwiseConvolution, segment=segment, look=True),
            sequences=sequences,
        )

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        """One batch, forward and backward."""
        times = [self._unrolled.recurrence.times(batch) for batch in bins]
        masks = draw_masks(dropout, bins, times, next(iter(parameters.values())))
        return self._unrolled.differentiate(
            parameters,
            bins,
            masks,
            saturation_weights,
            saturated=bool(saturation_weights.any()),
        )

    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """Without keeping anything."""
        return self._unrolled.logits(parameters, batch)
