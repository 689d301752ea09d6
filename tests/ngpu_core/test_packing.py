"""Packing is invisible: a seed ends where it would alone, whoever it is packed with."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.models.families import network
from ngpu_core.packing import SeedPack
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import OPTIONS, run_config, run_configs

distinct_seeds = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4, unique=True)


def trained(trainer: PackTrainer) -> list[object]:
    """Train to the end; the events without the clock's."""
    return [event for event in trainer.events() if type(event).__name__ != "Progress"]


@settings(max_examples=12, deadline=None)
@given(config=run_configs, seeds=distinct_seeds, data=st.data())
def test_a_packed_seed_has_the_parameters_data_and_results_it_has_alone(config, seeds, data):
    seed = data.draw(st.sampled_from(seeds))
    pack, alone = PackTrainer(config, seeds), PackTrainer(config, [seed])
    packed_events, alone_events = trained(pack), trained(alone)

    theirs = [e for e in packed_events if getattr(e, "seed", None) == seed]
    ours = [e for e in alone_events if getattr(e, "seed", None) == seed]
    assert repr(theirs) == repr(ours)  # repr: a loss may be nan
    packed, single = pack.pack.seed_tensors(seed), alone.pack.seed_tensors(seed)
    for kind, tensors in packed.items():
        for name, value in tensors.items():
            assert torch.equal(value, single[kind][name]), (kind, name)


def test_the_order_of_a_pack_does_not_matter():
    config = run_config("neural_gpu")
    one, other = PackTrainer(config, [1, 2, 3]), PackTrainer(config, [3, 1, 2])
    trained(one), trained(other)
    for seed in (1, 2, 3):
        mine = one.pack.seed_tensors(seed)["parameters"]
        yours = other.pack.seed_tensors(seed)["parameters"]
        assert all(torch.equal(mine[name], yours[name]) for name in mine)


@pytest.mark.parametrize(
    ("family", "options"),
    [(family, options) for family, each in OPTIONS.items() for options in [*each, {}]],
)
def test_seeds_computed_at_once_stay_within_1e_5_of_alone_over_ten_steps(family, options):
    """On a GPU seeds of one shape share each operation; the same code path on CPU tensors."""
    config = run_config(family, training__max_steps=10, training__max_length=5, **options)
    at_once = AutogradEngine(network(config.model), seeds_at_once=True)
    one_by_one = AutogradEngine(network(config.model))
    grouped = PackTrainer(config, [4, 5, 6], engine=at_once)
    alone = PackTrainer(config, [5], engine=one_by_one)
    trained(grouped), trained(alone)
    mine = grouped.pack.seed_tensors(5)["parameters"]
    yours = alone.pack.seed_tensors(5)["parameters"]
    for name, value in mine.items():
        torch.testing.assert_close(value, yours[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_a_pack_refuses_no_seeds_and_repeated_ones(seeds):
    with pytest.raises(ValueError, match="distinct and at least one"):
        SeedPack.initialize(network(run_config("neural_gpu").model), seeds, "cpu")
