"""Optimizers on packs: every tensor is (P, …) and every seed keeps to itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ngpu_core.config import TrainingConfig
from ngpu_core.packing import SeedPack
from ngpu_core.randomness import key

Gradients = Mapping[str, Tensor]


def per_seed(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (P,) so that it broadcasts over (P, …)."""
    return values.view(-1, *[1] * (like.dim() - 1))


class PackOptimizer(Protocol):
    """Updates a pack in place. `rates` and `active` are (P,)."""

    def prepare(self, pack: SeedPack) -> None:
        """Create this optimizer's slots in the pack."""
        ...

    def update(
        self, pack: SeedPack, gradients: Gradients, rates: Tensor, active: Tensor, step: int
    ) -> None:
        """One step; `step` counts from 1. Seeds that are not active stay as they are."""
        ...


def _zeros(pack: SeedPack) -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in pack.parameters.items()}


@dataclass(frozen=True, kw_only=True)
class Adam:
    """TensorFlow's Adam, after clipping each seed's gradient to a global norm (SPECS B.2)."""

    clip_norm: float
    epsilon: float
    beta1: float = 0.9
    beta2: float = 0.999

    def prepare(self, pack: SeedPack) -> None:
        """Slots: first and second moments."""
        pack.slots = {"first_moment": _zeros(pack), "second_moment": _zeros(pack)}

    def update(
        self, pack: SeedPack, gradients: Gradients, rates: Tensor, active: Tensor, step: int
    ) -> None:
        """m, v ← moments; θ ← θ − rate·sqrt(1 − β2ᵗ)/(1 − β1ᵗ)·m/(sqrt(v) + ε)."""
        squares = [gradient.flatten(1).square().sum(dim=1) for gradient in gradients.values()]
        norms = torch.stack(squares).sum(dim=0).sqrt()
        scale = self.clip_norm / torch.clamp(norms, min=self.clip_norm)
        corrected = rates * (1 - self.beta2**step) ** 0.5 / (1 - self.beta1**step)
        for name, gradient in gradients.items():
            value = pack.parameters[name]
            alive = per_seed(active, value)
            clipped = torch.where(alive, gradient * per_seed(scale, value), 0)
            first = pack.slots["first_moment"][name]
            second = pack.slots["second_moment"][name]
            first.mul_(self.beta1).add_(clipped, alpha=1 - self.beta1)
            second.mul_(self.beta2).addcmul_(clipped, clipped, value=1 - self.beta2)
            change = per_seed(corrected, value) * first / (second.sqrt() + self.epsilon)
            value.sub_(torch.where(alive, change, 0))


@dataclass(frozen=True, kw_only=True)
class AdaMax:
    """AdaMax with the elementwise clipping and the warming second decay of DNGPU (SPECS D)."""

    epsilon: float
    beta1: float = 0.9

    def prepare(self, pack: SeedPack) -> None:
        """Slots: first moment and running maximum."""
        pack.slots = {"first_moment": _zeros(pack), "maximum": _zeros(pack)}

    def update(
        self, pack: SeedPack, gradients: Gradients, rates: Tensor, active: Tensor, step: int
    ) -> None:
        """g clipped to ±(1.2·v + 1e-4); v ← max(β2·v, |g|); θ ← θ − rate·m/(v + ε)."""
        beta2 = 1 - max(0.0005, 0.01 * 0.5 ** (step / 2000))
        for name, gradient in gradients.items():
            value = pack.parameters[name]
            alive = per_seed(active, value)
            maximum = pack.slots["maximum"][name]
            bound = 1.2 * maximum + 1e-4
            clipped = torch.where(alive, torch.minimum(torch.maximum(gradient, -bound), bound), 0)
            first = pack.slots["first_moment"][name]
            first.mul_(self.beta1).add_(clipped, alpha=1 - self.beta1)
            torch.maximum(maximum * beta2, clipped.abs(), out=maximum)
            change = per_seed(rates, value) * first / (maximum + self.epsilon)
            value.sub_(torch.where(alive, change, 0))


def optimizer(training: TrainingConfig) -> PackOptimizer:
    """The optimizer of a configuration."""
    if training.optimizer == "adamax":
        return AdaMax(epsilon=training.epsilon)
    return Adam(clip_norm=training.clip_norm, epsilon=training.epsilon)


def add_gradient_noise(
    gradients: dict[str, Tensor], seeds: Sequence[int], deviations: Sequence[float], step: int
) -> None:
    """Add normal noise truncated at two deviations to each seed's gradient, in place (SPECS D).

    Args:
        gradients: Name → (S, …).
        seeds: The S seeds.
        deviations: Standard deviation for each seed; 0 adds nothing.
        step: The training step, which keys the noise.
    """
    for place, (seed, deviation) in enumerate(zip(seeds, deviations, strict=True)):
        if deviation <= 0:
            continue
        device = next(iter(gradients.values())).device
        generator = torch.Generator(device).manual_seed(key(seed, "gradient_noise", step))
        for gradient in gradients.values():
            noise = torch.empty_like(gradient[place])
            torch.nn.init.trunc_normal_(noise, 0, 1, -2, 2, generator=generator)
            gradient[place] += deviation * noise
