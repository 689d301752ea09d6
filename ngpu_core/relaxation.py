"""Relaxation: copies of the recurrent weights, pulled towards their mean (SPECS B.2)."""

from math import prod

import torch
from torch import Tensor

from ngpu_core.models.network import Network
from ngpu_core.packing import Layout, SeedPack


def add_pull(network: Network, pack: SeedPack, gradients: Tensor, pulls: Tensor) -> None:
    """Add the gradient of pull · Σ |copy - mean|² to each seed's gradients, in place.

    Args:
        network: Says which parameters have copies.
        pack: The parameters, (S, copies, …).
        gradients: (S, N).
        pulls: Weight of the pull, (S,).
    """
    views = pack.layout.views(gradients)
    for name in network.relaxed:
        copies = pack.parameters[name]
        if copies.shape[1] > 1:
            spread = copies - copies.mean(dim=1, keepdim=True)
            weights = 2 * pulls.view(-1, *[1] * (spread.dim() - 1))
            views[name].addcmul_(spread, weights)


def copies_in_row(network: Network, layout: Layout) -> list[tuple[int, int, int]]:
    """Where copies lie in a seed's row: the first number, copies, numbers of each."""
    return [
        (layout.starts[name], shape[0], prod(shape[1:]))
        for name, shape in layout.shapes.items()
        if name in network.relaxed and shape[0] > 1
    ]


@torch.no_grad()
def average_copies(network: Network, pack: SeedPack, seed: int) -> None:
    """Replace one seed's weight copies by their mean."""
    place = pack.place(seed)
    for name in network.relaxed:
        copies = pack.parameters[name][place]
        copies.copy_(copies.mean(dim=0, keepdim=True).expand_as(copies))
