"""Masks are hashes: of the right share, independent of each other, the same for every companion."""

from dataclasses import replace
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.dropout import HashedDropout
from ngpu_core.randomness import key

SHAPE = (2, 41, 4, 24)
LIKE = torch.zeros(())
BASE = HashedDropout(seeds=(5,), step=7, probability=0.3, scaled_by=0)
#: Standard deviations that a fixed draw may lie off: one in two million does by chance.
DEVIATIONS = 5

seeds = st.integers(0, 2**31 - 1)
words = 2**32


def scalar_keep(
    seed: int, step: int, bin_index: int, time: int, sequence: int, element: int, threshold: int
) -> bool:
    """Whether one element is kept, in Python integers."""
    place = (bin_index << 48) + (time << 24) + sequence
    row = (key(seed, "dropout", step) + place * 0x9E3779B97F4A7C15) % 2**64
    row = (row ^ (row >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    row = (row ^ (row >> 27)) * 0x94D049BB133111EB % 2**64
    x = ((row >> 32) + element * 0x9E3779B9) % words
    x = (x ^ (x >> 16)) * 0x21F0AAAD % words
    x = (x ^ (x >> 15)) * 0xD35A2D97 % words
    x ^= x >> 15
    return x >> 1 >= threshold


def mask(dropout: HashedDropout, bin_index: int = 0, time: int = 0) -> torch.Tensor:
    return dropout.mask(bin_index, time, SHAPE, 0, LIKE)


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    pair = torch.stack([one.flatten(), other.flatten()]).double()
    return float(torch.corrcoef(pair)[0, 1])


@settings(deadline=None, max_examples=30)
@given(
    seed=seeds, step=st.integers(0, 2**40), bin_index=st.integers(0, 40),
    time=st.integers(0, 5000), drop=st.floats(0.001, 0.98),
)  # fmt: skip
def test_every_element_is_what_the_hash_says_in_python_integers(seed, step, bin_index, time, drop):
    dropout = HashedDropout(seeds=(seed,), step=step, probability=drop, scaled_by=0)
    drawn = dropout.mask(bin_index, time, (3, 5, 2, 4), 0, torch.zeros((), dtype=torch.float64))
    flat = drawn.reshape(3, 40)
    for sequence in range(3):
        for element in range(40):
            kept = scalar_keep(seed, step, bin_index, time, sequence, element, round(drop * 2**31))
            assert flat[sequence, element] == (1 / (1 - drop) if kept else 0)


@pytest.mark.parametrize("drop", [0.01, 0.06, 0.1, 0.3, 0.5, 0.9])
def test_the_share_dropped_is_the_one_asked_for(drop):
    dropout = HashedDropout(seeds=range(4), step=1, probability=drop, scaled_by=0)
    shares = [(mask(dropout, time=time) == 0).double().mean() for time in range(10)]
    values = 10 * 4 * np.prod(SHAPE)
    assert abs(np.mean(shares) - drop) < DEVIATIONS * sqrt(drop * (1 - drop) / values)


@pytest.mark.parametrize(
    ("probability", "scaled_by", "padded", "drop"),
    [
        (0.15, 8, 8, 0.15),
        (0.15, 8, 40, 0.03),
        (0.15, 8, 4, 0.3),
        (0.9, 8, 2, 0.99),
        (0.1, 0, 9, 0.1),
    ],
)
def test_the_share_is_scaled_by_the_padded_length_up_to_a_limit(
    probability, scaled_by, padded, drop
):
    dropout = HashedDropout(seeds=(0,), step=1, probability=probability, scaled_by=scaled_by)
    assert dropout.drop(padded) == pytest.approx(drop)
    assert dropout.threshold(padded) == pytest.approx(drop * 2**31, abs=1)


def test_no_dropout_keeps_everything_as_it_is():
    dropout = replace(BASE, probability=0.0)
    assert dropout.threshold(8) == 0
    assert torch.equal(mask(dropout), torch.ones(1, *SHAPE))


def test_the_scale_keeps_the_expectation():
    means = [mask(BASE, time=time).double().mean() for time in range(20)]
    deviation = sqrt(0.3 / 0.7 / (20 * np.prod(SHAPE)))
    assert abs(np.mean(means) - 1) < DEVIATIONS * deviation


def test_masks_that_differ_in_seed_step_bin_or_time_are_uncorrelated():
    masks = [
        mask(BASE),
        mask(replace(BASE, seeds=(6,))),
        mask(replace(BASE, seeds=(5 + 2**24,))),
        mask(replace(BASE, step=8)),
        mask(replace(BASE, step=7 + 2**24)),
        mask(BASE, bin_index=1),
        mask(BASE, time=1),
        mask(BASE, time=2),
    ]
    bound = DEVIATIONS / sqrt(masks[0].numel())
    for one, other in combinations(masks, 2):
        assert abs(correlation(one, other)) < bound


def test_sequences_columns_rows_and_maps_of_a_mask_are_uncorrelated():
    many = BASE.mask(0, 0, (16, *SHAPE[1:]), 0, LIKE)[0]
    bound = DEVIATIONS / sqrt(many.numel() / 2)
    for axis in range(4):
        for lag in (1, 2, 3):
            length = many.shape[axis]
            one = many.narrow(axis, 0, length - lag)
            assert abs(correlation(one, many.narrow(axis, lag, length - lag))) < bound


@settings(deadline=None, max_examples=20)
@given(
    companions=st.lists(seeds, max_size=4, unique=True), seed=seeds, data=st.data(),
    time=st.integers(0, 100),
)  # fmt: skip
def test_a_mask_does_not_depend_on_companions_sequences_or_precision(companions, seed, data, time):
    pack = data.draw(st.permutations([*{*companions, seed}]))
    packed = replace(BASE, seeds=pack).mask(1, time, (4, 6, 2, 5), 0, LIKE)
    alone = replace(BASE, seeds=(seed,)).mask(1, time, (9, 6, 2, 5), 0, LIKE.double())
    assert torch.equal(packed[pack.index(seed)], alone[0, :4].float())


def test_rows_of_several_times_are_those_of_each_time():
    rows = BASE.rows(2, range(3, 9), 4)
    assert rows.shape == (1, 6, 4)
    for place, time in enumerate(range(3, 9)):
        assert np.array_equal(rows[:, [place]], BASE.rows(2, range(time, time + 1), 4))
