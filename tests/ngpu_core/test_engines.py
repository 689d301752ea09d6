"""Every engine computes the definition: the readable networks under autograd in float64."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.cuda import SIGHTINGS, CudaEngine, Feed, Recordings
from ngpu_core.engines.engine import Differentiated, Engine
from ngpu_core.engines.native import NativeEngine, unsupported
from ngpu_core.engines.parts import draw_masks
from ngpu_core.engines.recurrence import unroll
from ngpu_core.engines.unrolled import TorchEngine
from ngpu_core.models import diagonal, neural_gpu
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin, Network, Parameters
from ngpu_core.packing import SeedPack
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config

#: How to make each engine, from a network and the time steps between two states kept.
ENGINES: dict[str, Callable[[Network, int | None], Engine]] = {
    "torch": lambda network, segment: TorchEngine(network, segment=segment),
    "torch, two sequences at a time": lambda network, segment: TorchEngine(
        network, segment=segment, sequences=2
    ),
    "cuda": lambda network, segment: CudaEngine(network, segment=segment),
}
if unsupported(ModelConfig()) is None:
    ENGINES["native"] = lambda network, segment: NativeEngine(network, segment=segment)
#: Those that take the data type of the parameters; the others compute in float32.
ANY_PRECISION = ["torch", "torch, two sequences at a time", "cuda"]

every_engine = pytest.mark.parametrize("name", ENGINES)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and a batch."""

    model: ModelConfig
    seeds: tuple[int, ...] = (3,)
    #: Columns and padded length of each bin.
    bins: tuple[tuple[int, int], ...] = ((5, 6),)
    sequences: int = 3
    rows: int = 1
    #: Whether sequences of a bin differ in length.
    unequal: bool = True
    dropout: float = 0.0
    saturation: float = 0.0
    scale: float = 1.0
    data_seed: int = 0

    def network(self) -> Network:
        return network(self.model)

    def parameters(self, dtype: torch.dtype) -> Parameters:
        """Fresh ones, with biases that are not all equal."""
        generator = torch.Generator().manual_seed(self.data_seed)
        pack = SeedPack.initialize(self.network(), self.seeds, "cpu")
        return {
            name: self.scale * value.to(dtype)
            + 0.1 * torch.randn(value.shape, generator=generator).to(dtype)
            for name, value in pack.parameters.items()
        }

    def batch(self) -> list[Bin]:
        generator = np.random.default_rng(self.data_seed)
        return [self._bin(generator, *size) for size in self.bins]

    def _bin(self, generator: np.random.Generator, columns: int, padded: int) -> Bin:
        shape = (len(self.seeds), self.sequences)
        inputs = generator.integers(0, self.model.input_symbols, (*shape, self.rows, columns))
        targets = generator.integers(1, self.model.output_symbols, (*shape, columns))
        if self.unequal:
            lengths = generator.integers(1, columns + 1, shape)
            lengths[:, 0] = columns
            beyond = np.arange(columns) >= lengths[..., None]
            inputs[np.broadcast_to(beyond[:, :, None], inputs.shape)] = 0
            targets[beyond] = 0
        return Bin(
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            padded_length=padded,
        )

    def found(self, engine: Engine, dtype: torch.dtype) -> Differentiated:
        dropout = HashedDropout(
            seeds=self.seeds,
            step=4,
            probability=self.dropout,
            scaled_by=8 if self.model.family == "neural_gpu" else 0,
        )
        weights = torch.linspace(self.saturation, self.saturation / 2, len(self.seeds)).to(dtype)
        return engine.differentiate(self.parameters(dtype), self.batch(), dropout, weights)


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference as a share of the norm."""
    difference = (found.double() - expected.double()).norm()
    return float(difference / expected.double().norm().clamp_min(1e-12))


def assert_equal_up_to(tolerance: float, found: Differentiated, expected: Differentiated) -> None:
    assert torch.equal(found.counts, expected.counts)
    assert relative(found.losses, expected.losses) < tolerance
    if expected.saturation.any():
        assert relative(found.saturation, expected.saturation) < tolerance
    assert list(found.gradients) == list(expected.gradients)
    for name, gradient in expected.gradients.items():
        assert found.gradients[name].shape == gradient.shape
        assert relative(found.gradients[name], gradient) < tolerance, name


def neural_gpus() -> st.SearchStrategy[Case]:
    return st.builds(
        lambda height, rows, **drawn: Case(
            model=ModelConfig(
                height=height,
                input_symbols=5,
                output_symbols=4,
                **{key: drawn.pop(key) for key in MODEL_KEYS},
            ),
            rows=min(rows, height),
            **drawn,
        ),
        height=st.sampled_from([1, 4, 5]),
        rows=st.integers(1, 2),
        filters=st.sampled_from([1, 3, 5, 8]),
        layers=st.integers(1, 3),
        weight_copies=st.sampled_from([1, 3]),
        gate_cutoff=st.sampled_from([1.0, 1.2]),
        extra_steps=st.integers(0, 1),
        bins=st.sampled_from([((6, 8),), ((5, 5), (3, 4))]),
        dropout=st.sampled_from([0.0, 0.2]),
        unequal=st.booleans(),
        seeds=st.sampled_from([(3,), (7, 1, 4)]),
        data_seed=st.integers(0, 9),
    )


MODEL_KEYS = ("filters", "layers", "weight_copies", "gate_cutoff", "extra_steps")


def diagonals() -> st.SearchStrategy[Case]:
    return st.builds(
        lambda filters, **drawn: Case(
            model=ModelConfig(
                family="diagonal_neural_gpu",
                filters=filters,
                height=1,
                input_symbols=5,
                output_symbols=4,
            ),
            **drawn,
        ),
        filters=st.sampled_from([1, 2, 3, 7, 12]),
        bins=st.sampled_from([((5, 5),), ((3, 3), (7, 7), (4, 4)), ((4, 4), (4, 4))]),
        dropout=st.sampled_from([0.0, 0.2]),
        saturation=st.sampled_from([0.0, 0.3]),
        unequal=st.booleans(),
        seeds=st.sampled_from([(3,), (7, 1, 4)]),
        data_seed=st.integers(0, 9),
    )


@pytest.fixture
def in_double():
    """New tensors are float64, those the definition makes on its way too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("name", ANY_PRECISION)
@settings(max_examples=40, deadline=None)
@given(case=neural_gpus() | diagonals(), segment=st.sampled_from([None, 1, 3]))
def test_an_engine_computes_the_definition(name, case, segment):
    expected = case.found(AutogradEngine(case.network()), torch.float64)
    found = case.found(ENGINES[name](case.network(), segment), torch.float64)

    assert_equal_up_to(1e-9, found, expected)


def kink_distance(case: Case) -> float:
    """How far the nearest number of a forward pass lies from a place where a derivative jumps."""
    nearest = float("inf")

    def watched(function, *kinks):
        def call(x, *args):
            nonlocal nearest
            for kink in kinks:
                nearest = min(nearest, float((x.detach().abs() - kink).abs().min()))
            return function(x, *args)

        return call

    cutoff = case.model.gate_cutoff
    bound = float(np.log((cutoff + 1) / (cutoff - 1))) if cutoff > 1.01 else float("inf")
    with (
        mock.patch.object(neural_gpu, "gate", watched(neural_gpu.gate, bound)),
        mock.patch.object(diagonal, "hard_sigmoid", watched(diagonal.hard_sigmoid, 0.9, 1)),
        mock.patch.object(diagonal, "hard_tanh", watched(diagonal.hard_tanh, 0.9, 1)),
    ):
        case.found(AutogradEngine(case.network()), torch.float64)
    return nearest


def away_from_kinks(case: Case) -> Case:
    """The same with data whose derivatives do not depend on rounding.

    Where a pre-activation lies within its rounding error of the gate's or hardtanh's bound, float32
    and float64 take different sides and their gradients differ by as much as that cell matters.
    """
    candidates = (replace(case, data_seed=seed) for seed in range(50))
    return next(one for one in candidates if kink_distance(one) > 1e-5)


LONG_NEURAL_GPU = Case(
    model=ModelConfig(filters=24, input_symbols=5, output_symbols=5),
    bins=((12, 12),),
    sequences=5,
    rows=2,
    dropout=0.15,
)
LONG_DIAGONAL = Case(
    model=ModelConfig(
        family="diagonal_neural_gpu", filters=24, height=1, input_symbols=9, output_symbols=7
    ),
    bins=((5, 5), (13, 13), (8, 8)),
    sequences=5,
    dropout=0.1,
    saturation=0.01,
)
CASES = {
    "as published": LONG_NEURAL_GPU,
    "a plain sigmoid, one layer, one copy, no extra step": replace(
        LONG_NEURAL_GPU,
        model=replace(
            LONG_NEURAL_GPU.model, gate_cutoff=1.0, layers=1, weight_copies=1, extra_steps=0
        ),
    ),
    "odd sizes, three layers": replace(
        LONG_NEURAL_GPU,
        model=replace(LONG_NEURAL_GPU.model, filters=13, layers=3, height=5, weight_copies=2),
        sequences=3,
    ),
    "one row, several bins": replace(
        LONG_NEURAL_GPU,
        model=replace(LONG_NEURAL_GPU.model, height=1),
        bins=((9, 10), (6, 8), (11, 12)),
        rows=1,
        unequal=False,
    ),
    "gates often clipped": replace(
        LONG_NEURAL_GPU,
        model=replace(LONG_NEURAL_GPU.model, filters=9),
        bins=((6, 6),),
        sequences=2,
        scale=1.5,
    ),
    "several seeds": replace(LONG_NEURAL_GPU, seeds=(5, 2, 9), bins=((7, 8),)),
    "diagonal, as published": LONG_DIAGONAL,
    "diagonal, odd sizes, no dropout": replace(
        LONG_DIAGONAL, model=replace(LONG_DIAGONAL.model, filters=11), dropout=0.0, saturation=0.0
    ),
    "diagonal, often saturated": replace(LONG_DIAGONAL, scale=2.0, saturation=0.3),
    "diagonal, several seeds": replace(LONG_DIAGONAL, seeds=(5, 2, 9)),
}


@cache
def settled(case: str) -> tuple[Case, Differentiated]:
    """A case away from kinks, and what the definition finds in float64."""
    chosen = away_from_kinks(CASES[case])
    return chosen, chosen.found(AutogradEngine(chosen.network()), torch.float64)


@pytest.mark.parametrize("segment", [None, 4])
@pytest.mark.parametrize("case", CASES)
@every_engine
def test_an_engine_computes_the_definition_in_float32(name, case, segment):
    chosen, expected = settled(case)
    found = chosen.found(ENGINES[name](chosen.network(), segment), torch.float32)

    assert_equal_up_to(1e-5, found, expected)


@pytest.mark.parametrize("case", CASES)
@every_engine
def test_an_engine_tests_as_the_definition_does(name, case):
    chosen, _ = settled(case)
    parameters = chosen.parameters(torch.float32)
    batch = chosen.batch()[0]
    expected = AutogradEngine(chosen.network()).logits(parameters, batch)
    found = ENGINES[name](chosen.network(), None).logits(parameters, batch)

    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@every_engine
def test_a_long_sequence_is_tested(name):
    case = Case(
        model=ModelConfig(filters=3, height=2, input_symbols=5, output_symbols=5),
        bins=((401, 401),),
        sequences=2,
        scale=0.5,
    )
    batch = case.batch()[0]
    expected = AutogradEngine(case.network()).logits(case.parameters(torch.float32), batch)
    found = ENGINES[name](case.network(), None).logits(case.parameters(torch.float32), batch)

    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_products_in_bfloat16_are_rounded_and_sums_are_not():
    chosen, expected = settled("as published")
    found = chosen.found(CudaEngine(chosen.network(), precision="bfloat16"), torch.float32)

    for name, gradient in expected.gradients.items():
        assert found.gradients[name].dtype == torch.float32
        assert relative(found.gradients[name], gradient) < 3e-2, name
    assert relative(found.losses, expected.losses) > 1e-6  # it did round


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


def test_every_nth_state_kept_is_all_that_is_kept():
    class Counting:
        """Adds one; its tape is the time."""

        steps = 7
        taken: ClassVar[list[int]] = []

        def width(self, time):
            return 2 if time < 5 else 1

        def step(self, time, state, cost):
            self.taken.append(time)
            return state * 2, time

        def back(self, time, tape, gradient, cost):
            assert tape == time
            assert gradient.shape[3] == self.width(time)
            return gradient * 2

    state = torch.ones(1, 1, 1, 3, 1, requires_grad=True)
    final, _ = unroll(Counting(), state[:, :, :, :2], 3)
    assert final.flatten().tolist() == [2**7, 2**5]
    final.sum().backward()
    assert state.grad is not None
    assert state.grad.flatten().tolist() == [2**7, 2**5, 0]
    assert Counting.taken == [0, 1, 2, 3, 4, 5, 6, 6, 3, 4, 5, 0, 1, 2]


class PretendedGraphs:
    """Records by remembering what to compute, and writes results where the first were."""

    def __init__(self):
        self.recorded = 0

    def run(self, compute, feed):
        return compute(feed)

    def record(self, compute, feed):
        self.recorded += 1
        found = compute(feed)

        def run():
            for mine, new in zip(results(found), results(compute(feed)), strict=True):
                mine.copy_(new)

        return run, found


def results(found: Differentiated) -> list[Tensor]:
    return [found.losses, found.saturation, found.counts, *found.gradients.values()]


def test_recordings_are_replayed_with_new_numbers_and_the_oldest_let_go():
    case = replace(LONG_DIAGONAL, model=replace(LONG_DIAGONAL.model, filters=3), sequences=2)
    engine = CudaEngine(case.network())
    graphs = PretendedGraphs()
    recordings = Recordings(engine._compute, graphs, limit=2)

    def feed(columns: int, step: int) -> Feed:
        now = replace(case, data_seed=step, bins=((columns, columns),))
        dropout = HashedDropout(seeds=case.seeds, step=step, probability=0.2, scaled_by=0)
        parameters = now.parameters(torch.float32)
        bins = now.batch()
        masks = draw_masks(dropout, bins, [columns + 1], parameters["output.bias"])
        return Feed(
            parameters=dict(parameters),
            bins=bins,
            masks=masks,
            saturation_weights=torch.tensor([0.1 * step]),
        )

    for columns in (4, 5, 6, 4):
        for step in range(SIGHTINGS + 3):
            found = recordings(feed(columns, step))
            expected = engine._compute(feed(columns, step))
            for mine, yours in zip(results(found), results(expected), strict=True):
                assert torch.equal(mine, yours)
    assert len(recordings) == 2
    assert graphs.recorded == 4  # the first shape was let go and came again


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_looks_at_no_number_so_that_it_can_be_recorded(case, precision):
    chosen = CASES[case]
    engine = CudaEngine(chosen.network(), precision=precision)
    parameters = chosen.parameters(torch.float32)
    bins = [
        replace(batch, inputs=batch.inputs.to("meta"), targets=batch.targets.to("meta"))
        for batch in chosen.batch()
    ]
    dropout = HashedDropout(seeds=chosen.seeds, step=1, probability=chosen.dropout, scaled_by=0)
    there = {name: value.to("meta") for name, value in parameters.items()}
    times = [max(columns for columns, _ in chosen.bins) + 1] * len(bins)
    feed = Feed(
        parameters=there,
        bins=bins,
        masks=draw_masks(dropout, bins, times, there["output.bias"]),
        saturation_weights=torch.zeros(len(chosen.seeds), device="meta"),
    )
    found = engine._compute(feed)

    assert {value.device.type for value in results(found)} == {"meta"}
    assert {name: value.shape for name, value in found.gradients.items()} == {
        name: value.shape for name, value in parameters.items()
    }
