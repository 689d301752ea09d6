"""A training is the same on every engine, packed or alone, resumed or uninterrupted.

How far the loss curves of two engines may part: `test_engines.py` and `test_native.py` hold every
engine's gradients to 1e-5, so an engine counts as right whose step is the definition's from weights
that are off by a share of 1e-5. The definition itself is trained so, the weights nudged afresh in
every step; what its curve departs from the true one is the envelope. It grows with the step, as
training amplifies what went before. An engine may depart `MULTIPLE` times as far up to every step,
or `FLOOR`, a loss's own rounding: nothing here depends on how a kernel sums.

Rounding also decides now and then on which side of a kink a number falls, and from there a seed
parts faster, on any engine. So the seed that parts least is held to that envelope, and every seed
to the one of a nudge ten times as large, under which many numbers change sides.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from ngpu_core.config import RunConfig
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.engines.engine import Differentiated, Engine
from ngpu_core.engines.native import NativeEngine
from ngpu_core.engines.native_build import usable
from ngpu_core.engines.unrolled import TorchEngine
from ngpu_core.models.families import network
from ngpu_core.models.network import Network, Parameters
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config

#: The compiled one with every instruction set of this processor.
ENGINES: dict[str, Callable[[Network], Engine]] = {
    "autograd": AutogradEngine,
    "torch": TorchEngine,
    "cuda": CudaEngine,
    **{f"native, {target}": partial(NativeEngine, target=target) for target in usable()},
}
every_engine = pytest.mark.parametrize("name", ENGINES)

STEPS = 200
SEEDS = [11, 12, 13]
NUDGE = 1e-5
#: The envelope is one draw of nudges, on three seeds: room for its luck.
MULTIPLE = 4
FLOOR = 4e-6


def rev(maps: int, length: int) -> RunConfig:
    return small(
        "neural_gpu",
        maps,
        training__tasks=("rev",),
        training__min_length=length,
        training__max_length=length,
        training__learning_rate=0.003,
    )


def sort(maps: int, *bins: int) -> RunConfig:
    return small(
        "diagonal_neural_gpu",
        maps,
        training__tasks=("sort",),
        training__bins=bins,
        training__learning_rate=0.002,
    )


def small(family: str, maps: int, **changes) -> RunConfig:
    return run_config(
        family,
        model__filters=maps,
        model__input_symbols=4,
        model__output_symbols=4,
        training__batch_size=8,
        training__max_steps=2 * STEPS,
        **changes,
    )


TRAININGS = {
    "neural_gpu": rev(12, 5),
    "diagonal_neural_gpu": sort(12, 4, 6),
    "neural_gpu, 24 maps": rev(24, 9),
    "diagonal_neural_gpu, 24 maps": sort(24, 6, 9, 11),
}
every_training = pytest.mark.parametrize(
    "training",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "24 maps" in name else [])
        for name in TRAININGS
    ],
)


@dataclass(kw_only=True)
class Watched:
    """An engine that remembers the losses it found; perhaps a slightly wrong one.

    Attributes:
        nudge: Largest relative change of a weight, drawn afresh for every call.
        spoil: Changes what it found.
    """

    engine: Engine
    nudge: float = 0.0
    spoil: Callable[[Differentiated], None] = lambda found: None
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def __getattr__(self, attribute: str):
        return getattr(self.engine, attribute)

    def differentiate(self, parameters: Parameters, *args):
        found = self.engine.differentiate(
            {name: self.nudged(value) for name, value in parameters.items()}, *args
        )
        self.spoil(found)
        self.losses.append(found.losses.clone())
        return found

    def nudged(self, value: Tensor) -> Tensor:
        if not self.nudge:
            return value
        draw = 2 * torch.rand(value.shape, generator=self.generator) - 1
        return value * (1 + self.nudge * draw)


def loss_curves(training: str, engine: Engine, **changes) -> Tensor:
    """Losses of every seed at every step: (steps, seeds)."""
    watched = Watched(engine=engine, **changes)
    trainer = PackTrainer(TRAININGS[training], SEEDS, engine=watched)
    for _ in range(STEPS):
        assert not trainer.train_steps(1)
    return torch.cat(watched.losses).view(STEPS, len(SEEDS)).double()


@cache
def definition_curves(training: str, nudge: float = 0.0) -> Tensor:
    """Autograd's, all seeds in one call."""
    engine = AutogradEngine(network(TRAININGS[training].model), seeds_at_once=True)
    return loss_curves(training, engine, nudge=nudge)


def departures(training: str, curves: Tensor) -> Tensor:
    """How far each seed has been from the definition up to each step, as a share of the loss."""
    true = definition_curves(training)
    return ((curves - true).abs() / true).cummax(dim=0).values


def excess(training: str, curves: Tensor) -> float:
    """The largest departure in units of what is allowed; a right engine's is below 1."""
    found = departures(training, curves)
    least = departures(training, definition_curves(training, NUDGE)).amin(dim=1)
    most = departures(training, definition_curves(training, 10 * NUDGE)).amax(dim=1)
    shares = [
        found.amin(dim=1) / (MULTIPLE * least).clamp(min=FLOOR),
        found.amax(dim=1) / (MULTIPLE * most).clamp(min=FLOOR),
    ]
    return float(torch.cat(shares).max())


@every_training
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "autograd"])
def test_a_training_has_the_definitions_loss_curve(name, training):
    engine = ENGINES[name](network(TRAININGS[training].model))
    curves = loss_curves(training, engine)

    assert excess(training, curves) < 1
    assert (curves[-5:].mean(dim=0) < 0.8 * curves[:5].mean(dim=0)).all()  # it is a training


@every_training
def test_a_gradient_one_per_cent_off_is_told_from_rounding(training):
    def spoil(found):
        for gradient in found.gradients.values():
            gradient *= 1.01

    engine = CudaEngine(network(TRAININGS[training].model))
    assert excess(training, loss_curves(training, engine, spoil=spoil)) > 3


@every_training
@every_engine
def test_a_seed_is_trained_as_if_it_were_alone(name, training):
    config = TRAININGS[training]
    make = ENGINES[name]
    together = PackTrainer(config, [4, 8, 2], engine=make(network(config.model)))
    alone = PackTrainer(config, [8], engine=make(network(config.model)))
    for _ in range(5):
        together.train_steps(1)
        alone.train_steps(1)
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


@every_training
@every_engine
def test_a_resumed_training_is_the_uninterrupted_one(name, training):
    config = TRAININGS[training]
    make = ENGINES[name]
    whole = PackTrainer(config, [4, 8], engine=make(network(config.model)))
    for _ in range(3):
        whole.train_steps(1)
    states = {seed: copy.deepcopy(whole.seed_state(seed)) for seed in (4, 8)}
    resumed = PackTrainer(config, [4, 8], engine=make(network(config.model)))
    resumed.load_seed_states(states)
    for _ in range(3):
        whole.train_steps(1)
        resumed.train_steps(1)
    for seed in (4, 8):
        mine, yours = whole.pack.seed_tensors(seed), resumed.pack.seed_tensors(seed)
        for kind in mine:
            assert all(torch.equal(mine[kind][key], yours[kind][key]) for key in mine[kind])
