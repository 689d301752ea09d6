"""The seam between training and a family of networks.

Every tensor carries the seeds of a pack on an axis of its own, S: parameters are (S, …), data
(S, B, …). Seeds share the arithmetic and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout

Parameters = Mapping[str, Tensor]
#: Is shown each state of a recurrence, (B, S, m, H, columns), the first before any step.
Watch = Callable[[Tensor], None]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """A batch padded to one length.

    Attributes:
        inputs: Symbol ids, (S, B, rows, L) int64; 0 is pad.
        targets: Symbol ids, (S, B, L) int64; 0 is pad.
        padded_length: The length the reference would pad to; at least L. It scales the loss and the
            dropout. Positions beyond L are computed only where `ModelConfig.computes_padding`.
    """

    inputs: Tensor
    targets: Tensor
    padded_length: int
    #: Which task each seed's sequences are of, (S,) int64; None: the first.
    tasks: Tensor | None = None

    @cached_property
    def mask(self) -> Tensor:
        """1 where any input row or the target holds a symbol: (S, B, L) bool."""
        return (self.inputs > 0).any(dim=2) | (self.targets > 0)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a forward pass gives.

    Attributes:
        logits: One (S, B, L, classes) tensor a bin, in the order of the bins.
        saturation: Saturation cost (S,), unweighted; zeros in families that have none.
    """

    logits: list[Tensor]
    saturation: Tensor


class Network(Protocol):
    """One family at one size. Stateless: parameters come in, numbers go out."""

    @property
    def config(self) -> ModelConfig:
        """The size."""
        ...

    @property
    def relaxed(self) -> frozenset[str]:
        """Names of the parameters whose second axis holds copies pulled towards their mean."""
        ...

    def initialize(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Fresh float32 parameters of one seed, without the seed axis."""
        ...

    def forward(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None = None,
        *,
        told: bool = False,
    ) -> Output:
        """Run every bin through the network.

        Args:
            parameters: (S, …).
            bins: Of S seeds.
            dropout: Only in training.
            told: Whether a family that reads its own answer is given the right one, as in training.
        """
        ...

    def loss(self, logits: Tensor, batch: Bin) -> Tensor:
        """Cross-entropy of one bin as the family counts it, (S,)."""
        ...

    def scored(self, batch: Bin) -> Tensor:
        """The positions whose symbols count as right or wrong, (S, B, L) bool."""
        ...


def tanh(x: Tensor) -> Tensor:
    """tanh as 2σ(2x) − 1: ten times faster than `torch.tanh` on a CPU."""
    return 2 * torch.sigmoid(2 * x) - 1


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every position, (S, B, L), from (S, B, L, classes) and ids."""
    log_probabilities = torch.log_softmax(logits, dim=-1)
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def embed(table: Tensor, inputs: Tensor) -> Tensor:
    """Look symbols up, each seed in its own table.

    Args:
        table: (S, classes, m).
        inputs: (S, B, …) ids.

    Returns:
        (S, B, …, m).
    """
    seeds, classes, maps = table.shape
    offsets = torch.arange(seeds, device=inputs.device) * classes
    ids = inputs + offsets.view(-1, *[1] * (inputs.dim() - 1))
    return torch.nn.functional.embedding(ids, table.reshape(seeds * classes, maps))
