"""The protocol of runners, workers and users, in a world of random interleavings."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.simulated.life import live

STEPS = 80


@given(st.lists(st.integers(0, 2**31), max_size=STEPS))
@settings(max_examples=15)
def test_whatever_happens_every_seed_has_one_outcome(numbers: list[int]) -> None:
    live(numbers)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_in_longer_lives_too(seed: int) -> None:
    random = Random(seed)
    live([random.randrange(2**31) for _ in range(STEPS)])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20, 60))
def test_whatever_happens_in_thousands_of_lives(seed: int) -> None:
    random = Random(seed)
    for _ in range(50):
        live([random.randrange(2**31) for _ in range(2 * STEPS)])
