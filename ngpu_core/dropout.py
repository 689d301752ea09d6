"""Dropout masks from a counter hash: any element, in any order, by any engine, at any time.

An element's fate is a hash of (seed, step, bin, time, sequence) and its place in the state. Engines
that lay the state out differently, share work between threads or draw a mask again in the backward
pass therefore agree to the last bit, and no mask is ever stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.randomness import key

#: Largest share dropped, whatever the scaling says.
MOST = 0.99
#: Odd constants of the element hash (a 32-bit mixer of two multiplications) and of its counter.
COUNTER, FIRST, SECOND = 0x9E3779B9, 0x21F0AAAD, 0xD35A2D97
_MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def signed(word: int) -> int:
    """A 32-bit word as the signed integer of the same bits (torch has no unsigned arithmetic)."""
    return word - 2**32 if word >= 2**31 else word


def row_hash(keys: Sequence[int], bin_index: int, times: range, sequences: int) -> np.ndarray:
    """The hash of each row of masks: (S, times, B) uint32, from 63-bit keys of S seeds."""
    with np.errstate(over="ignore"):
        place = (
            np.uint64(bin_index << 48)
            + (np.arange(times.start, times.stop, dtype=np.uint64) << np.uint64(24))[:, None]
            + np.arange(sequences, dtype=np.uint64)
        )
        seeds = np.array(keys, dtype=np.uint64)[:, None, None]
        mixed: np.ndarray = seeds + place * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
        return (mixed >> np.uint64(32)).astype(np.uint32)


def keep_elements(rows: Tensor, elements: int, threshold: int) -> Tensor:
    """Which elements are kept: (…, elements) bool from (…) row hashes.

    Args:
        rows: Row hashes as int32 of the same bits.
        elements: Number of elements a row; element i is at column · height · maps order.
        threshold: Of 2^31: an element is dropped when its hash is below.
    """
    counter = torch.arange(elements, dtype=torch.int32, device=rows.device) * signed(COUNTER)
    x = rows.unsqueeze(-1) + counter
    x = (x ^ ((x >> 16) & 0xFFFF)) * FIRST
    x = (x ^ ((x >> 15) & 0x1FFFF)) * signed(SECOND)
    x = x ^ ((x >> 15) & 0x1FFFF)
    return ((x >> 1) & 0x7FFFFFFF) >= threshold


@dataclass(frozen=True, kw_only=True)
class HashedDropout:
    """The dropout of one training step of some seeds.

    Attributes:
        seeds: The S seeds.
        step: The training step.
        probability: Share dropped.
        scaled_by: Reference length: the share is scaled by this / padded length; 0 leaves it.
    """

    seeds: Sequence[int]
    step: int
    probability: float
    scaled_by: int

    def drop(self, padded_length: int) -> float:
        """Share dropped in a bin of this padded length."""
        drop = self.probability * (self.scaled_by / padded_length if self.scaled_by else 1)
        return min(drop, MOST)

    def threshold(self, padded_length: int) -> int:
        """The same as a share of 2^31; 0 drops nothing."""
        return round(self.drop(padded_length) * 2**31)

    def key(self, place: int) -> int:
        """The key of the row hashes of the seed at a place, 63 bits."""
        return key(self.seeds[place], "dropout", self.step)

    def rows(self, bin_index: int, times: range, sequences: int) -> np.ndarray:
        """Row hashes (S, times, B) uint32 of a bin."""
        keys = [self.key(place) for place in range(len(self.seeds))]
        return row_hash(keys, bin_index, times, sequences)

    def mask(
        self,
        bin_index: int,
        time: int,
        shape: tuple[int, int, int, int],
        padded_length: int,
        like: Tensor,
    ) -> Tensor:
        """Scaled keep masks of one time of a bin: 0 or 1 / (1 - share).

        Args:
            bin_index: Which bin of the step.
            time: Which mask of the bin.
            shape: (B, columns, height, maps).
            padded_length: What the share is scaled by.
            like: Gives data type and device; its own shape is not looked at.

        Returns:
            (S, B, columns, height, maps).
        """
        threshold = self.threshold(padded_length)
        rows = torch.from_numpy(self.rows(bin_index, range(time, time + 1), shape[0]).view("i4"))
        keep = keep_elements(rows[:, 0].to(like.device), prod(shape[1:]), threshold)
        scale = 1 / (1 - self.drop(padded_length))
        return (keep * torch.tensor(scale, dtype=like.dtype)).view(len(self.seeds), *shape)


def placed(dropout: HashedDropout | None, model: ModelConfig) -> HashedDropout | None:
    """The dropout of a network's step: None where it drops nothing whatever the share."""
    return None if model.dropped == "none" else dropout
