"""The seam between training and the arithmetic: a batch in, losses and gradients out.

The networks of `ngpu_core.models` under autograd are the definition (`autograd.py`); the other
engines compute the same numbers faster and in less memory, up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ngpu_core.dropout import HashedDropout
from ngpu_core.models.network import Bin, Network, Parameters


@dataclass(frozen=True, kw_only=True)
class Differentiated:
    """What one training step needs of S seeds.

    Attributes:
        losses: Cross-entropy, mean over the bins, (S,).
        saturation: Unweighted saturation cost, (S,); zeros in families that have none.
        counts: (S, 4) integers: sequences, wrong sequences, symbols, wrong symbols.
        gradients: Of loss + weight · saturation, name → (S, …). The caller's until the engine is
            called again in the same thread.
    """

    losses: Tensor
    saturation: Tensor
    counts: Tensor
    gradients: Parameters


class Engine(Protocol):
    """One way to compute a network. Stateless but for buffers it may reuse.

    Seeds share a call only when their bins have the same shapes. A seed's numbers do not depend on
    its companions: to the last bit unless `seeds_at_once`, else up to rounding.
    """

    network: Network

    @property
    def name(self) -> str:
        """What a user calls it: `autograd`, `torch`, `native`, `cuda`."""
        ...

    @property
    def instruction_set(self) -> str | None:
        """What its own kernel was compiled for: `avx512`; None where libraries choose."""
        ...

    @property
    def seeds_at_once(self) -> bool:
        """Whether a call wants all seeds of one shape; otherwise it is given one seed at a time."""
        ...

    @property
    def releases_interpreter(self) -> bool:
        """Whether calls for different seeds may run in threads side by side."""
        ...

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        """One batch, forward and backward. Parameters are (S, …), `saturation_weights` (S,)."""
        ...

    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """(S, B, L, classes) without dropout, keeping nothing for a backward pass."""
        ...


def wrong_counts(network: Network, logits: Tensor, batch: Bin) -> Tensor:
    """(S, 4) integers: sequences, wrong sequences, symbols, wrong symbols."""
    scored = network.scored(batch)
    wrong = (logits.argmax(dim=-1) != batch.targets) & scored
    sequences = torch.full_like(wrong[:, 0, 0], wrong.shape[1], dtype=torch.int64)
    return torch.stack(
        [
            sequences,
            wrong.any(dim=2).sum(dim=1),
            scored.sum(dim=(1, 2)),
            wrong.sum(dim=(1, 2)),
        ],
        dim=1,
    )
