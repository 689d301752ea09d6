import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ngpu_core.randomness import key, stream

SEEDS = st.integers(0, 2**64 - 1)
PURPOSES = st.text(max_size=20)
STEPS = st.integers(0, 2**64 - 1)

GOLDEN_FIRST = [2093001007, 376330279, 1960668184]
GOLDEN_LATER = [3281953685, 2483243214, 3098426517]
GOLDEN_KEY = 1078952796422372474


@given(SEEDS, PURPOSES, STEPS)
def test_one_address_always_gives_the_same_numbers(seed: int, purpose: str, step: int) -> None:
    first = stream(seed, purpose, step).integers(0, 2**63, size=8)
    assert np.array_equal(first, stream(seed, purpose, step).integers(0, 2**63, size=8))
    assert key(seed, purpose, step) == key(seed, purpose, step)
    assert 0 <= key(seed, purpose, step) < 2**63


@given(st.lists(st.tuples(SEEDS, PURPOSES, STEPS), min_size=2, max_size=2, unique=True))
def test_different_addresses_give_different_numbers(addresses: list[tuple[int, str, int]]) -> None:
    one, other = (stream(*address).integers(0, 2**63, size=4) for address in addresses)
    assert not np.array_equal(one, other)
    assert key(*addresses[0]) != key(*addresses[1])


def test_neighbouring_addresses_never_share_a_block() -> None:
    addresses = list(itertools.product(range(8), ["a", "ab", "b"], range(8)))
    blocks = {stream(*address).bytes(16) for address in addresses}
    assert len(blocks) == len(addresses)
    assert len({key(*address) for address in addresses}) == len(addresses)


def test_the_numbers_are_the_same_on_every_machine_and_in_every_release() -> None:
    """A stored seed must mean the same data forever; these values were written down once."""
    assert stream(0, "golden", 0).integers(0, 2**32, size=3).tolist() == GOLDEN_FIRST
    assert stream(7, "golden", 5).integers(0, 2**32, size=3).tolist() == GOLDEN_LATER
    assert key(7, "golden", 5) == GOLDEN_KEY


def test_first_numbers_of_consecutive_steps_are_uniform_and_uncorrelated() -> None:
    values = np.array([stream(3, "uniform", step).random() for step in range(4000)])
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(len(values))


def test_first_numbers_of_consecutive_seeds_are_uniform_and_uncorrelated() -> None:
    values = np.array([stream(seed, "uniform").random() for seed in range(4000)])
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(len(values))


@pytest.mark.parametrize(("seed", "step"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64)])
def test_an_address_out_of_range_is_refused(seed: int, step: int) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        stream(seed, "x", step)
    with pytest.raises(ValueError, match="must lie in"):
        key(seed, "x", step)
