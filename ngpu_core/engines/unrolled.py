"""The networks by their hand-written recurrences (`recurrence*.py`), on torch alone.

`Unrolled` is what the engines built on them share; `TorchEngine` is the one for a CPU. Embedding,
output and loss are a few operations on either side of the recurrence and are left to autograd.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout, placed
from ngpu_core.engines.convolutions import Convolutions, SeedwiseConvolution
from ngpu_core.engines.coverage import uncovered
from ngpu_core.engines.engine import Differentiated, wrong_counts
from ngpu_core.engines.masks import Masks, draw_masks
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
        TypeError: The network is of a family without one, or has an option without one.
    """
    reason = unsupported(network.config)
    if reason:
        raise TypeError(f"no recurrence: {reason}")
    if isinstance(network, NeuralGPU):
        return NeuralGPURecurrence(
            network=network, convolutions=convolutions, segment=segment, look=look
        )
    if isinstance(network, DiagonalNeuralGPU):
        return DiagonalRecurrence(network=network, convolutions=convolutions, segment=segment)
    raise TypeError(f"no recurrence of {type(network).__name__}")


def unsupported(config: ModelConfig) -> str | None:
    """Why a configuration has no recurrence here; None when it has."""
    only = uncovered(config)
    return f"{only} is computed under autograd" if only else None


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    """A batch forward and back."""

    network: Network
    recurrence: Recurrence

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
        losses, saturation = (torch.zeros_like(saturation_weights) for _ in range(2))
        counts = torch.zeros(
            *saturation_weights.shape, 4, dtype=torch.int64, device=saturation_weights.device
        )
        # What goes through the recurrence on its own goes back at once, so as to be let go.
        for group in self._groups(bins, masks):
            logits, cost = self.recurrence.run(leaves, layers, *group, saturated)
            pairs = list(zip(logits, group[0], strict=True))
            loss = torch.stack([self.network.loss(*pair) for pair in pairs]).sum(dim=0) / len(bins)
            (loss + saturation_weights * cost).sum().backward()
            losses, saturation = losses + loss.detach(), saturation + cost.detach()
            for found, batch in pairs:
                counts = counts + wrong_counts(self.network, found.detach(), batch)
        recurrent = self.recurrence.gradients(layers)
        return Differentiated(
            losses=losses,
            saturation=saturation,
            counts=counts,
            gradients={
                name: recurrent[name] if name in recurrent else _gradient(leaf)
                for name, leaf in leaves.items()
            },
        )

    @torch.no_grad()
    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """(S, B, L, classes) without dropout."""
        layers = self.recurrence.layers(parameters)
        return self.recurrence.run(parameters, layers, [batch], [None], False)[0][0]

    def _groups(
        self, bins: Sequence[Bin], masks: Sequence[Masks | None]
    ) -> list[tuple[Sequence[Bin], Sequence[Masks | None]]]:
        """The bins that go through the recurrence together."""
        if self.recurrence.side_by_side:
            return [(bins, masks)]
        return [([batch], [mask]) for batch, mask in zip(bins, masks, strict=True)]


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


class TorchEngine:
    """Computes any network from the library's convolutions, a seed at a time.

    Args:
        network: What to compute.
        segment: Time steps between two states kept for the backward pass; None keeps all it needs.
    """

    name = "torch"
    seeds_at_once = False
    releases_interpreter = False
    instruction_set = None

    def __init__(self, network: Network, *, segment: int | None = None) -> None:
        self.network = network
        self._unrolled = Unrolled(
            network=network,
            recurrence=recurrence(network, SeedwiseConvolution, segment=segment, look=True),
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
        dropout = placed(dropout, self.network.config)
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
