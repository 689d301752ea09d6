"""The protocol of runners, workers and users, in a world of random interleavings."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.simulation import Simulation

STEPS = 80


def simulate(numbers: list[int]) -> None:
    """One world, from nothing to the end of all its sweeps."""
    world = Simulation()
    try:
        for number in numbers:
            world.step(number)
            world.check()
        world.settle()
    finally:
        world.close()


@given(st.lists(st.integers(0, 2**31), max_size=STEPS))
@settings(max_examples=15)
def test_whatever_happens_every_seed_has_one_outcome(numbers: list[int]) -> None:
    simulate(numbers)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_in_longer_lives_too(seed: int) -> None:
    random = Random(seed)
    simulate([random.randrange(2**31) for _ in range(STEPS)])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(20, 60))
def test_whatever_happens_in_thousands_of_lives(seed: int) -> None:
    random = Random(seed)
    for _ in range(50):
        simulate([random.randrange(2**31) for _ in range(2 * STEPS)])
