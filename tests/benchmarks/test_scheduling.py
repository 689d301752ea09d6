"""The benchmark of the control plane: its arithmetic, and that each contender trains the same."""

import pytest

from benchmarks.scheduled import TRIVIAL, Trained, spec, train_one
from benchmarks.scheduling import GOAL, figures, milliseconds, summary
from sweeps.expansion import configurations, packs
from sweeps.spec import load_spec


def trained(seeds: int, seconds: float) -> Trained:
    return Trained(seeds=seeds, seconds=seconds, memory={})


def test_rounds_weigh_by_their_seeds() -> None:
    assert milliseconds([trained(1, 1.0), trained(3, 1.0)]) == 500.0


@pytest.mark.parametrize(("beyond", "met"), [(GOAL - 1, True), (GOAL + 1, False)])
def test_the_goal_is_what_a_seed_costs_beyond_its_training(beyond: float, met: bool) -> None:
    result = figures([trained(10, 0.1 + beyond / 100)], [], [trained(10, 0.1)])
    assert result["overhead_milliseconds_per_seed"] == pytest.approx(beyond)
    assert result["ray_tune_milliseconds_per_seed"] is None
    assert result["goal"]["found"] == pytest.approx(beyond)
    assert result["goal"]["met"] is met


def test_the_summary_names_the_peer_where_there_was_one() -> None:
    ours, alone = [trained(10, 0.2)], [trained(10, 0.1)]
    assert "Ray Tune" not in summary({**figures(ours, [], alone), "seeds": 10})
    assert "Ray Tune alone 30.0 ms" in summary(
        {**figures(ours, [trained(10, 0.3)], alone), "seeds": 10}
    )


def test_the_sweep_is_packs_of_one_seed_of_what_the_others_train() -> None:
    document = load_spec(spec(7, 100))
    [configuration] = expanded = configurations(document)
    assert configuration.run == TRIVIAL
    assert [pack.seeds for pack in packs(document, expanded)] == [(n,) for n in range(100, 107)]


def test_a_seed_is_trained_to_its_end() -> None:
    assert train_one(3) > 2
