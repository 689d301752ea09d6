"""Dropout masks for recurrences that draw them where they lie, from the hashes of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ngpu_core.dropout import COUNTER, HashedDropout, keep_elements, signed
from ngpu_core.engines.fused import fused
from ngpu_core.models.network import Bin


@fused
def scaled_masks(hashes: Tensor, maps: int, threshold: int, scale: Tensor) -> Tensor:
    """0 or the scale for each element, (…, maps), from the hash of each cell (…)."""
    return keep_elements(hashes, maps, threshold) * scale


@dataclass(frozen=True, kw_only=True)
class Masks:
    """The dropout masks of some sequences, as what they are hashed from.

    Attributes:
        rows: Row hash of each seed, time and sequence, (S, times, B) int32.
        threshold: Of 2^31: an element is dropped when its hash is below.
        scale: What kept elements are multiplied by; a tensor of one number.
    """

    rows: Tensor
    threshold: int
    scale: Tensor

    def scaled(self, hashes: Tensor, maps: int) -> Tensor:
        """Masks (…, maps) of cells with these hashes (…): 0 or the scale."""
        return scaled_masks(hashes, maps, self.threshold, self.scale)


def draw_masks(
    dropout: HashedDropout | None, bins: Sequence[Bin], times: Sequence[int], like: Tensor
) -> list[Masks | None]:
    """The masks of each bin; None where nothing is dropped.

    Args:
        dropout: The step's dropout.
        bins: Of S seeds.
        times: Number of masks of each bin.
        like: Gives data type and device.
    """
    drawn: list[Masks | None] = []
    for index, (batch, count) in enumerate(zip(bins, times, strict=True)):
        if dropout is None or not dropout.threshold(batch.padded_length):
            drawn.append(None)
            continue
        hashes = dropout.rows(index, range(count), batch.targets.shape[1])
        scale = 1 / (1 - dropout.drop(batch.padded_length))
        drawn.append(
            Masks(
                rows=torch.from_numpy(hashes.view("i4")).to(like.device),
                threshold=dropout.threshold(batch.padded_length),
                scale=torch.tensor(scale, dtype=like.dtype, device=like.device),
            )
        )
    return drawn


def places(cells: int, maps: int, device: torch.device) -> Tensor:
    """What the counter of each cell's first map adds to its row's hash: (cells,) int32."""
    return torch.arange(cells, dtype=torch.int32, device=device) * signed(COUNTER * maps % 2**32)
