"""Networks and batches that every engine computes, and what the definition finds in them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.engines.engine import Differentiated, Engine
from ngpu_core.engines.native import NativeEngine, unsupported
from ngpu_core.engines.unrolled import TorchEngine
from ngpu_core.models import diagonal, neural_gpu
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin, Network, Parameters
from ngpu_core.packing import SeedPack

#: How to make each engine, from a network and the time steps between two states kept.
ENGINES: dict[str, Callable[[Network, int | None], Engine]] = {
    "torch": lambda network, segment: TorchEngine(network, segment=segment),
    "cuda": lambda network, segment: CudaEngine(network, segment=segment),
}
if unsupported(ModelConfig()) is None:
    ENGINES["native"] = lambda network, segment: NativeEngine(network, segment=segment)
#: Those that take the data type of the parameters; the others compute in float32.
ANY_PRECISION = ["torch", "cuda"]


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
    "nothing dropped": replace(
        LONG_NEURAL_GPU,
        model=replace(LONG_NEURAL_GPU.model, dropout_on="none"),
        bins=((5, 6),),
        sequences=2,
    ),
    "diagonal, nothing dropped": replace(
        LONG_DIAGONAL, model=replace(LONG_DIAGONAL.model, dropout_on="none"), bins=((6, 6),)
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
