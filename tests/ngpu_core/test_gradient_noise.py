"""Noise on gradients: its size by each formula, and that it enters where the formula says."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.config import TrainingConfig
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.gradient_noise import GradientNoise, add_gradient_noise
from ngpu_core.models.families import network
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config


def deviation(formula: str, scale: float, step: int, rate: float, error: float) -> float:
    training = TrainingConfig(noise_formula=formula, gradient_noise=scale)
    noise = GradientNoise(training=training)
    return noise.deviation(step=step, learning_rate=rate, sequence_error=error)


@given(
    scale=st.floats(0, 1), step=st.integers(1, 10**6), rate=st.floats(1e-6, 1),
    error=st.floats(0, 1),
)  # fmt: skip
def test_each_formula_is_what_its_source_says(scale, step, rate, error):
    wrong = max(0.0, error - 0.02)
    published = scale * (step**-0.55 * wrong) ** 0.5

    assert deviation("learning_rate", scale, step, rate, error) == scale * rate
    assert deviation("published", scale, step, rate, error) == pytest.approx(published)
    assert deviation("none_as_released", scale, step, rate, error) == 0


def after_some_steps(**changes):
    trainer = PackTrainer(run_config("neural_gpu", training__max_steps=7, **changes), [3])
    events = [repr(event) for event in trainer.events() if hasattr(event, "seed")]
    return trainer.pack.rows.clone(), events


def test_the_noise_as_released_is_none():
    quiet, facts = after_some_steps()
    released, same = after_some_steps(
        training__gradient_noise=0.1, training__noise_formula="none_as_released"
    )
    published, _ = after_some_steps(
        training__gradient_noise=0.1, training__noise_formula="published"
    )

    assert torch.equal(quiet, released)
    assert facts == same
    assert not torch.equal(quiet, published)


def test_there_is_no_noise_as_published_once_hardly_any_sequence_is_wrong():
    config = run_config(
        "neural_gpu", training__gradient_noise=0.1, training__noise_formula="published"
    )
    trainer, quiet = PackTrainer(config, [3]), PackTrainer(run_config("neural_gpu"), [3])
    for one in (trainer, quiet):
        one._progress[3].epoch_error = 0.02
        one.train_steps(2)

    torch.testing.assert_close(trainer.pack.rows, quiet.pack.rows, rtol=0, atol=1e-6)


def test_published_noise_is_added_to_the_pulled_and_clipped_gradient():
    config = run_config(
        "neural_gpu", training__gradient_noise=0.3, training__noise_formula="published",
        training__clip_norm=0.05, training__pull=0.01, training__min_length=5,
        training__max_length=5,
    )  # fmt: skip
    trainer = PackTrainer(config, [3], engine=AutogradEngine(network(config.model)))
    before = trainer.pack.rows.clone()
    drawn = trainer._data[(3,)].take(1, {3: (5,)})
    found = trainer.engine.differentiate(
        trainer.pack.parameters, trainer._bins(drawn), trainer._dropout([3], 1), torch.zeros(1)
    )
    gradient = {name: value[0].double().numpy() for name, value in found.gradients.items()}
    for name in trainer.engine.network.relaxed:
        copies = trainer.pack.parameters[name][0].double().numpy()
        gradient[name] = gradient[name] + 2 * 0.01 * (copies - copies.mean(axis=0))
    row = np.concatenate([value.ravel() for value in gradient.values()])
    assert np.linalg.norm(row) > 0.05
    row = row * 0.05 / np.linalg.norm(row)
    noise = torch.zeros(1, len(row))
    add_gradient_noise(noise, [3], [1.0], 1)
    row = row + 0.3 * (1 - 0.02) ** 0.5 * noise[0].numpy()  # the first step, everything wrong
    first, second = 0.1 * row, 0.001 * row**2  # Adam from rest
    rate = 1e-3 * (1 - 0.999) ** 0.5 / (1 - 0.9)
    expected = before[0].numpy() - rate * first / (np.sqrt(second) + 1e-4)

    assert not trainer.train_steps(1)
    trainer.close()
    np.testing.assert_allclose(trainer.pack.rows[0].numpy(), expected, rtol=0, atol=2e-7)
