"""What a sweep would be: its counts are exact, its hours say what they rest on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_documents import documents

from ngpu_core.statistics import detectable_difference
from sweeps.duration import CPU_GFLOP_PER_SECOND, counted_seconds
from sweeps.expansion import Configuration, configurations, packs
from sweeps.packing import predicted_bytes
from sweeps.preview import LISTED, preview
from sweeps.spec import load_spec

DOCUMENT = {
    "name": "sizes",
    "base": {"training.max_steps": 1000},
    "grid": {"filters": {str(n): {"model.filters": n} for n in (24, 48)}},
    "seeds": {"count": 10},
}


@given(documents())
def test_counts_are_those_of_the_expansion(document: dict[str, Any]) -> None:
    spec = load_spec(document)
    found = configurations(spec)

    seen = preview(spec)

    assert seen.configurations == len(found)
    assert seen.excluded == spec.points.size - len(found)
    assert seen.trials == len(packs(spec, found))
    assert seen.seed_runs == sum(len(pack.seeds) for pack in packs(spec, found))
    assert seen.seed_steps == spec.seeds.count * sum(e.run.training.max_steps for e in found)
    assert seen.estimated_hours > 0
    assert seen.listed == tuple(found[:LISTED])


def test_without_history_the_hours_are_arithmetic_and_say_so() -> None:
    spec = load_spec(DOCUMENT)

    seen = preview(spec)

    counted = sum(
        10_000 * counted_seconds(each.run, CPU_GFLOP_PER_SECOND) for each in configurations(spec)
    )
    assert seen.estimated_hours == pytest.approx(counted / 3600)
    assert "nothing measured yet" in seen.basis
    assert f"{CPU_GFLOP_PER_SECOND:g} GFLOP/s" in seen.basis


def test_the_bytes_of_a_trial_are_those_of_the_largest_one() -> None:
    document = {**DOCUMENT, "resources": {"seeds_per_trial": 4}}
    spec = load_spec(document)

    seen = preview(spec)

    small, large = (predicted_bytes(each.run, spec.resources, 4) for each in configurations(spec))
    assert seen.trial_bytes == large > small > 2**20


@pytest.mark.parametrize("gibibytes", [0.001, 8])
def test_a_trial_that_does_not_fit_in_its_memory_is_warned_of(gibibytes: float) -> None:
    memory = int(gibibytes * 2**30)
    seen = preview(
        load_spec({**DOCUMENT, "resources": {"seeds_per_trial": 4, "memory": f"{memory}B"}})
    )

    assert (seen.memory_warning is None) == (seen.trial_bytes <= memory)
    if gibibytes < 1:
        assert seen.memory_warning is not None
        assert "resources.seeds_per_trial" in seen.memory_warning


def test_with_history_the_hours_are_measured_and_say_so() -> None:
    seen = preview(load_spec(DOCUMENT), history=lambda configuration: 0.36)

    assert seen.estimated_hours == pytest.approx(2.0)
    assert seen.basis.startswith("measured: ")


@given(known=st.lists(st.integers(0, 10), min_size=2, max_size=2))
def test_hours_are_of_the_seed_runs_that_need_training(known: list[int]) -> None:
    seen = preview(
        load_spec(DOCUMENT),
        history=lambda configuration: 0.36,
        reusable=lambda digests: dict(zip(digests, known, strict=True)),
    )

    assert (seen.seed_runs, seen.reused) == (20, sum(known))
    assert seen.estimated_hours == pytest.approx(2.0 * (20 - sum(known)) / 20)


def test_a_partly_measured_sweep_says_for_how_many() -> None:
    def history(configuration: Configuration) -> float | None:
        return 0.36 if configuration.axes["filters"] == "24" else None

    seen = preview(load_spec(DOCUMENT), history=history)

    assert seen.estimated_hours > 0.5
    assert "1 of 2 configurations" in seen.basis


def test_the_detectable_difference_is_that_of_two_configurations() -> None:
    assert preview(load_spec(DOCUMENT)).detectable_difference == detectable_difference(10)
