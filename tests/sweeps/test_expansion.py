"""Configurations are the grid's points; packs are a partition of configurations × seeds."""

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_documents import documents, shuffled

from ngpu_core.config import RunConfig
from sweeps.expansion import configurations, packs
from sweeps.spec import load_spec

MINIMAL = {"name": "adders", "seeds": {"first": 5, "count": 3}}


@given(documents())
def test_every_seed_of_every_configuration_is_in_exactly_one_pack(document: dict[str, Any]) -> None:
    spec = load_spec(document)
    found = configurations(spec)

    planned = packs(spec, found)

    seed_runs = Counter((pack.configuration, seed) for pack in planned for seed in pack.seeds)
    assert seed_runs == Counter(product((each.position for each in found), spec.seeds.all))
    assert packs(spec, found) == planned
    asked = spec.resources.seeds_per_trial
    assert all(
        1 <= len(pack.seeds) <= (len(spec.seeds.all) if asked == "auto" else asked)
        for pack in planned
    )


@given(documents())
def test_configurations_are_the_points_that_are_not_excluded(document: dict[str, Any]) -> None:
    spec = load_spec(document)
    axes = [[(axis, level) for level in levels] for axis, levels in spec.grid.items()]
    points = [dict(point) for point in product(*axes)]
    kept = [p for p in points if not any(e.items() <= p.items() for e in spec.exclude)]

    found = configurations(spec)

    assert [each.axes for each in found] == kept
    assert [each.position for each in found] == list(range(len(kept)))


@given(documents(), st.data())
def test_the_order_of_keys_moves_configurations_but_does_not_change_them(
    document: dict[str, Any], data: st.DataObject
) -> None:
    first = configurations(load_spec(document))
    second = configurations(load_spec(shuffled(document, data.draw)))

    def content(found: list[Any]) -> list[Any]:
        return sorted((sorted(each.axes.items()), each.digest) for each in found)

    assert content(first) == content(second)


@given(documents())
def test_equal_digests_mean_equal_runs(document: dict[str, Any]) -> None:
    for one, other in product(configurations(load_spec(document)), repeat=2):
        assert (one.digest == other.digest) == (one.run == other.run)


@given(documents())
def test_a_run_survives_being_stored(document: dict[str, Any]) -> None:
    for each in configurations(load_spec(document)):
        assert RunConfig.from_mapping(each.run.to_mapping()) == each.run


def test_without_a_grid_there_is_one_configuration_with_the_name_of_the_sweep() -> None:
    (only,) = configurations(load_spec(MINIMAL))

    assert (only.label, only.axes, only.run) == ("adders", {}, RunConfig())


def test_levels_win_over_the_base_and_the_base_over_the_family() -> None:
    spec = load_spec(
        {
            **MINIMAL,
            "base": {"model.family": "diagonal_neural_gpu", "training.dropout": 0.2},
            "grid": {"size": {"a": {}, "b": {"model.filters": 48, "training.dropout": 0.3}}},
        }
    )

    first, second = (each.run for each in configurations(spec))

    assert (first.model.filters, first.training.dropout) == (96, 0.2)
    assert (second.model.filters, second.training.dropout) == (48, 0.3)
    assert first.training.schedule == second.training.schedule == "all_bins"


def test_a_default_that_depends_on_the_size_follows_it() -> None:
    grid = {"size": {str(size): {"model.filters": size} for size in (48, 96, 192)}}
    spec = load_spec({**MINIMAL, "base": {"model.family": "diagonal_neural_gpu"}, "grid": grid})

    rates = [each.run.training.learning_rate for each in configurations(spec)]

    assert rates == pytest.approx([0.01, 0.005, 0.0025])


def test_an_axis_may_choose_the_family() -> None:
    families = {name: {"model.family": name} for name in ("neural_gpu", "diagonal_neural_gpu")}
    base = {"evaluation.lengths": [41]}
    spec = load_spec({**MINIMAL, "base": base, "grid": {"family": families}})

    heights = [each.run.model.height for each in configurations(spec)]

    assert heights == [4, 1]


def test_a_pack_of_a_given_size_is_that_large_but_for_the_last() -> None:
    spec = load_spec({**MINIMAL, "seeds": {"count": 7}, "resources": {"seeds_per_trial": 3}})

    planned = packs(spec, configurations(spec))

    assert [pack.seeds for pack in planned] == [(0, 1, 2), (3, 4, 5), (6,)]
