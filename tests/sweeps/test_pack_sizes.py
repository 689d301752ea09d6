"""How many seeds a trial takes: enough to be busy, few enough to fit, the same on every machine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.config import ModelConfig, RunConfig, TrainingConfig
from ngpu_core.engine_memory import ENGINES
from ngpu_core.memory import predict_memory
from sweeps.duration import gflop_per_second
from sweeps.packing import (
    CORE_BYTES,
    GPU_BYTES,
    TRIALS_AT_ONCE,
    memory_budget,
    pack_size,
    planned_engine,
    predicted_bytes,
)
from sweeps.spec import Resources

LONG = RunConfig()
SHORT = RunConfig(
    model=ModelConfig(filters=4),
    training=TrainingConfig(max_steps=20, max_length=9, bins=(10,)),
)


def of_filters(filters: int) -> RunConfig:
    return RunConfig(model=ModelConfig(filters=filters))


@given(
    resources=st.builds(
        Resources,
        cpu=st.integers(1, 8),
        gpu=st.sampled_from([0, 0.25, 1]),
        memory=st.one_of(st.none(), st.integers(2**20, 2**40)),
    ),
    run=st.sampled_from([LONG, SHORT, of_filters(128)]),
    seeds=st.integers(1, 300),
    configurations=st.integers(1, 20),
)
def test_a_pack_has_a_seed_and_fits_its_memory_unless_it_has_only_one(
    resources: Resources, run: RunConfig, seeds: int, configurations: int
) -> None:
    size = pack_size(run, resources, seeds, configurations)

    assert 1 <= size <= seeds
    assert size == 1 or predicted_bytes(run, resources, size) <= memory_budget(resources)


def test_the_number_asked_for_is_taken_whatever_it_needs() -> None:
    resources = Resources(seeds_per_trial=300, memory=2**20)

    assert pack_size(of_filters(512), resources, 5, 1) == 300


@pytest.mark.parametrize(("cpu", "size"), [(1, 1), (2, 2), (4, 4)])
def test_long_seeds_are_packed_one_a_core(cpu: int, size: int) -> None:
    assert pack_size(LONG, Resources(cpu=cpu), 100, 4) == size


def test_seeds_that_are_over_at_once_are_packed_until_as_many_trials_are_left_as_run_at_once() -> (
    None
):
    size = pack_size(SHORT, Resources(), 640, 1)

    assert size == 640 // TRIALS_AT_ONCE
    assert pack_size(SHORT, Resources(), TRIALS_AT_ONCE, 1) == 1


def test_packs_of_a_configuration_are_of_nearly_equal_size() -> None:
    # 9 seeds in packs of at most 4 are three of 3, not 4, 4 and 1.
    assert pack_size(LONG, Resources(cpu=4), 9, 1) == 3


@pytest.mark.parametrize(("filters", "sizes"), [(4, (64, 64)), (24, (32, 64)), (128, (4, 8))])
def test_small_networks_share_a_gpu_in_large_packs(filters: int, sizes: tuple[int, int]) -> None:
    low, high = sizes

    assert low <= pack_size(of_filters(filters), Resources(gpu=1), 64, 1) <= high


def test_a_small_memory_makes_packs_smaller() -> None:
    whole = pack_size(LONG, Resources(gpu=1), 64, 1)
    small = predict_memory(LONG, 5, engine="cuda", segment=1)

    assert 1 < pack_size(LONG, Resources(gpu=1, memory=small), 64, 1) < whole
    assert pack_size(LONG, Resources(gpu=1, memory=2**20), 64, 1) == 1


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ({}, CORE_BYTES),
        ({"cpu": 3}, 3 * CORE_BYTES),
        ({"gpu": 0.5}, GPU_BYTES // 2),
        ({"memory": "8 GiB", "gpu": 1}, 8 * 2**30),
        ({"memory": "1.5GB"}, 1_500_000_000),
        ({"memory": 2**21}, 2**21),
    ],
)
def test_the_memory_of_a_trial_is_what_the_spec_says_or_an_assumption(
    given: dict[str, Any], budget: int
) -> None:
    assert memory_budget(Resources(**given)) == budget


def test_a_pack_that_does_not_fit_is_predicted_at_the_least_it_needs() -> None:
    run, resources = of_filters(512), Resources(memory=2**20)
    everything = predict_memory(run, 1, engine="native", threads=1)

    assert 2**20 < predicted_bytes(run, resources, 1) < everything


@pytest.mark.parametrize(
    ("model", "cpu", "gpu"),
    [
        ({}, "native", "cuda"),
        ({"batch_norm": 2}, "autograd", "autograd at once"),
        ({"family": "lstm_attention", "filters": 64, "layers": 3}, "autograd", "autograd at once"),
    ],
)
def test_a_pack_is_planned_for_the_engine_that_will_train_it(
    model: dict[str, Any], cpu: str, gpu: str
) -> None:
    run = RunConfig(model=ModelConfig(**model))

    for resources, engine in ((Resources(memory=2**34), cpu), (Resources(gpu=1), gpu)):
        assert planned_engine(run, resources) == engine
        assert engine in ENGINES
        assert predicted_bytes(run, resources, 3) == predict_memory(run, 3, engine=engine)


def test_a_network_that_only_autograd_computes_is_taken_to_be_slower() -> None:
    fast, slow = RunConfig(), RunConfig(model=ModelConfig(output_layer=1))

    for resources in (Resources(cpu=2), Resources(gpu=1)):
        assert gflop_per_second(slow, resources) < gflop_per_second(fast, resources)
