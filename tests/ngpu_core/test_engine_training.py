"""A training is the same on every engine, packed or alone, resumed or uninterrupted."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.engine import Engine
from ngpu_core.models.families import network
from ngpu_core.models.network import Network
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config
from tests.ngpu_core.engine_cases import ENGINES

every_engine = pytest.mark.parametrize("name", ENGINES)


@dataclass(kw_only=True)
class Watched:
    """An engine that remembers the losses it found."""

    engine: Engine
    losses: list[Tensor]

    def __getattr__(self, attribute: str):
        return getattr(self.engine, attribute)

    def differentiate(self, *args):
        found = self.engine.differentiate(*args)
        self.losses.append(found.losses.clone())
        return found


SMALL = {"model__input_symbols": 4, "model__output_symbols": 4, "training__max_steps": 60}
TRAININGS = {
    "neural_gpu": run_config(
        "neural_gpu",
        training__tasks=("rev",),
        training__min_length=6,
        training__max_length=6,
        training__learning_rate=0.01,
        **SMALL,
    ),
    "diagonal_neural_gpu": run_config("diagonal_neural_gpu", training__tasks=("sort",), **SMALL),
}


def loss_curve(
    family: str, make: Callable[[Network], Engine], steps: int = 40, nudge: float = 0.0
) -> Tensor:
    """Losses of one seed's first steps.

    Args:
        family: What is trained.
        make: The engine.
        steps: How many.
        nudge: Relative change of every weight before the first step.
    """
    config = TRAININGS[family]
    engine = Watched(engine=make(network(config.model)), losses=[])
    trainer = PackTrainer(config, [11], engine=engine)
    generator = torch.Generator().manual_seed(1)
    for value in trainer.pack.parameters.values():
        value *= 1 + nudge * (2 * torch.rand(value.shape, generator=generator) - 1)
    for _ in range(steps):
        trainer.train_step()
    return torch.cat(engine.losses).double()


@cache
def definition_curve(family: str, nudge: float = 0.0) -> Tensor:
    return loss_curve(family, AutogradEngine, nudge=nudge)


@pytest.mark.parametrize("family", TRAININGS)
@every_engine
def test_a_training_has_the_definitions_loss_curve(name, family):
    """The tolerance is the curve's own sensitivity.

    Engines differ in the rounding of some hundred sums a step, 1e-6 of a gradient (the tests above
    hold them to 1e-5). A change of every weight by that share, made once, is worth as much; forty
    steps of it add up to at most forty times.
    """
    curve, nudged = definition_curve(family), definition_curve(family, 1e-6)
    sensitivity = float((nudged - curve).abs().max())
    found = loss_curve(family, lambda net: ENGINES[name](net, None))

    torch.testing.assert_close(found[0], curve[0], rtol=1e-6, atol=0)
    assert float((found - curve).abs().max()) < 40 * sensitivity
    assert curve[-5:].mean() < curve[:5].mean()  # it is a training


@pytest.mark.parametrize("family", TRAININGS)
@every_engine
def test_a_seed_is_trained_as_if_it_were_alone(name, family):
    config = TRAININGS[family]
    make = ENGINES[name]
    together = PackTrainer(config, [4, 8, 2], engine=make(network(config.model), None))
    alone = PackTrainer(config, [8], engine=make(network(config.model), None))
    for _ in range(5):
        together.train_step()
        alone.train_step()
    mine, yours = together.pack.seed_tensors(8), alone.pack.seed_tensors(8)
    exact = not together.engine.seeds_at_once
    for kind in mine:
        for key, value in mine[kind].items():
            torch.testing.assert_close(
                value,
                yours[kind][key],
                rtol=0 if exact else 1e-4,
                atol=0 if exact else 1e-5,
                msg=lambda text, key=key: f"{key}: {text}",
            )


@pytest.mark.parametrize("family", TRAININGS)
@every_engine
def test_a_resumed_training_is_the_uninterrupted_one(name, family):
    config = TRAININGS[family]
    make = ENGINES[name]
    whole = PackTrainer(config, [4, 8], engine=make(network(config.model), None))
    for _ in range(3):
        whole.train_step()
    states = {seed: copy.deepcopy(whole.seed_state(seed)) for seed in (4, 8)}
    resumed = PackTrainer(config, [4, 8], engine=make(network(config.model), None))
    resumed.load_seed_states(states)
    for _ in range(3):
        whole.train_step()
        resumed.train_step()
    for seed in (4, 8):
        mine, yours = whole.pack.seed_tensors(seed), resumed.pack.seed_tensors(seed)
        for kind in mine:
            assert all(torch.equal(mine[kind][key], yours[kind][key]) for key in mine[kind])
