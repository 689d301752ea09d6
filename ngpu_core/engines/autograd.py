"""The definition as an engine: the readable networks under torch's autograd."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.engine import Differentiated, wrong_counts
from ngpu_core.models.network import Bin, Network, Parameters


class AutogradEngine:
    """Computes any network, in any precision, on any device; slowly, keeping everything."""

    name = "autograd"
    releases_interpreter = False
    instruction_set = None

    def __init__(self, network: Network, *, seeds_at_once: bool = False) -> None:
        self.network = network
        self.seeds_at_once = seeds_at_once

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        """Forward, then backward through torch's tape."""
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        output = self.network.forward(leaves, bins, dropout, told=True)
        losses = torch.stack(
            [
                self.network.loss(logits, batch)
                for logits, batch in zip(output.logits, bins, strict=True)
            ]
        ).mean(dim=0)
        (losses + saturation_weights * output.saturation).sum().backward()
        counts = [
            wrong_counts(self.network, logits.detach(), batch)
            for logits, batch in zip(output.logits, bins, strict=True)
        ]
        return Differentiated(
            losses=losses.detach(),
            saturation=output.saturation.detach(),
            counts=torch.stack(counts).sum(dim=0),
            gradients={
                name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
                for name, leaf in leaves.items()
            },
        )

    @torch.no_grad()
    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """The network's own forward pass."""
        return self.network.forward(parameters, [batch]).logits[0]
