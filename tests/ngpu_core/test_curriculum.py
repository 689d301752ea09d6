"""Lengths and rates: what SPECS B.2, B.3 and D say changes from epoch to epoch."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.curriculum import Curriculum, EpochStatistics, draw_length
from ngpu_core.tasks.registry import task
from tests.ngpu_core.configurations import run_config

NEURAL = run_config("neural_gpu", training__max_length=41, training__curriculum_error=0.15)
DIAGONAL = run_config("diagonal_neural_gpu", training__saturation=1e-3)


def after(config, *epochs: tuple[float, float], start: Curriculum | None = None) -> Curriculum:
    current = start or Curriculum.start(config)
    for loss, error in epochs:
        statistics = {0: EpochStatistics(loss=loss, sequence_error=error)}
        current = current.after_epoch(config, statistics)
    return current


def test_it_starts_short_and_extends_to_the_next_valid_length_when_mastered():
    assert Curriculum.start(NEURAL).lengths == (8,)
    assert after(NEURAL, (1.0, 0.15)).lengths == (9,)  # badd: odd lengths
    assert after(NEURAL, (1.0, 0.15), (1.0, 0.0)).lengths == (11,)
    assert after(NEURAL, (1.0, 0.151)).lengths == (8,)
    assert after(NEURAL, *[(1.0, 0.0)] * 100).lengths == (41,)


def test_an_epoch_without_counted_batches_changes_nothing():
    start = Curriculum.start(NEURAL)
    assert start.after_epoch(NEURAL, {}) == start


def test_the_pull_grows_to_its_ceiling_and_then_the_copies_are_averaged():
    grown = after(NEURAL, *[(1.0, 0.0)] * 30)
    assert grown.pull == pytest.approx(0.0005 * 1.2**30)
    assert grown.pull >= 0.1
    assert not grown.average_copies
    assert after(NEURAL, (1.0, 0.0), start=grown).average_copies
    assert not after(NEURAL, (1.0, 1.0), start=grown).average_copies
    assert after(NEURAL, (1.0, 0.0), start=grown).pull == grown.pull


@given(losses=st.lists(st.floats(0, 5), min_size=1, max_size=12))
def test_the_rate_falls_when_the_loss_is_above_each_of_the_last_three(losses):
    rate, recorded = 1e-3, [1e4] * 3
    for loss in losses:
        if exp(loss) > max(recorded[-3:]):
            rate *= 0.98
        recorded.append(exp(loss))
    reached = after(NEURAL, *[(loss, 1.0) for loss in losses])
    assert reached.learning_rate == pytest.approx(rate)


def test_an_extended_curriculum_protects_the_next_epochs_from_decay():
    settled = after(NEURAL, *[(0.1, 1.0)] * 4)
    assert after(NEURAL, (0.2, 1.0), start=settled).learning_rate < settled.learning_rate
    extended = after(NEURAL, (0.1, 0.0), start=settled)
    assert after(NEURAL, (0.2, 1.0), start=extended).learning_rate == settled.learning_rate


def test_the_diagonal_rate_falls_by_a_third_after_two_worse_epochs_and_has_a_floor():
    first = DIAGONAL.training.learning_rate
    assert after(DIAGONAL, (1.0, 1.0), (1.1, 1.0), (1.2, 1.0)).learning_rate == pytest.approx(
        0.7 * first
    )
    assert after(DIAGONAL, (1.0, 1.0), (1.1, 1.0), (0.9, 1.0)).learning_rate == first
    worse = [(float(k), 1.0) for k in range(1, 60)]
    assert after(DIAGONAL, *worse).learning_rate == pytest.approx(first / 60)


def test_the_saturation_weight_is_balanced_against_the_loss_and_capped():
    statistics = EpochStatistics(loss=0.5, sequence_error=1.0, weighted_saturation=0.01)
    balanced = Curriculum.start(DIAGONAL).after_epoch(DIAGONAL, {0: statistics})
    rate = DIAGONAL.training.learning_rate
    assert balanced.saturation_weight == pytest.approx(1e-3 * rate * 0.5 / 0.01)
    tiny = EpochStatistics(loss=0.5, sequence_error=1.0, weighted_saturation=1e-9)
    assert Curriculum.start(DIAGONAL).after_epoch(DIAGONAL, {0: tiny}).saturation_weight == 1e-3


def test_a_curriculum_survives_its_mapping():
    reached = after(NEURAL, (1.0, 0.1), (2.0, 1.0))
    assert Curriculum.from_mapping(reached.to_mapping()) == reached


@given(current=st.integers(8, 41), seed=st.integers(0, 1000))
def test_drawn_lengths_are_valid(current, seed):
    length = draw_length(NEURAL, task("badd"), current, np.random.default_rng(seed))
    assert 5 <= length <= 41
    assert task("badd").valid(length)


def test_lengths_are_drawn_as_the_reference_draws_them():
    """Against the rule of SPECS B.3 computed exactly, for a task that has every length."""
    config = run_config(
        "neural_gpu", training__tasks=("scopy",), training__max_length=20, training__min_length=5
    )
    generator = np.random.default_rng(3)
    drawn = np.array([draw_length(config, task("scopy"), 10, generator) for _ in range(20_000)])
    lengths = np.arange(5, 21)
    current = np.clip((lengths - 4) / 6, 0, 1)  # P(U{5..10} <= l)
    whole = (lengths - 4) / 16
    below = (0.4 * current + 0.6 * current**2) * (0.75 + 0.25 * whole)
    observed = np.array([(drawn <= length).mean() for length in lengths])
    assert np.abs(observed - below).max() < 0.015
