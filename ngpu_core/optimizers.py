"""Optimizers on packs: every tensor is rows (P, N), and every seed keeps to its own."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ngpu_core.config import TrainingConfig
from ngpu_core.packing import SeedPack


class PackOptimizer(Protocol):
    """Updates a pack in place and uses its gradients up.

    `gradients` are (P, N), `rates` and `active` (P,).
    """

    @property
    def epsilon(self) -> float:
        """Of the denominator."""
        ...

    def prepare(self, pack: SeedPack) -> None:
        """Create this optimizer's two slots in the pack."""
        ...

    def decays(self, step: int) -> tuple[float, float]:
        """What the slots keep of themselves."""
        ...

    def correction(self, step: int) -> float:
        """Factor on the rates: the slots start from zero."""
        ...

    def update(
        self, pack: SeedPack, gradients: Tensor, rates: Tensor, active: Tensor, step: int
    ) -> None:
        """One step; `step` counts from 1. Seeds that are not active keep their parameters."""
        ...


def _clear_inactive(gradients: Tensor, active: Tensor) -> None:
    """Zero the gradients of seeds that are not active; there they may be anything."""
    gradients.masked_fill_(~active[:, None], 0)


def clip_to_norm(gradients: Tensor, clip_norm: float) -> Tensor:
    """Scale each seed's gradient (P, N) down to a norm, in place."""
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    return gradients.mul_(clip_norm / torch.clamp(norms, min=clip_norm))


@dataclass(frozen=True, kw_only=True)
class Adam:
    """TensorFlow's Adam, after clipping each seed's gradient to a global norm (SPECS B.2)."""

    clip_norm: float
    epsilon: float
    beta1: float = 0.9
    beta2: float = 0.999

    def prepare(self, pack: SeedPack) -> None:
        """Slots: first and second moments."""
        pack.slots = {
            "first_moment": torch.zeros_like(pack.rows),
            "second_moment": torch.zeros_like(pack.rows),
        }

    def decays(self, step: int) -> tuple[float, float]:
        """β1, β2."""
        return self.beta1, self.beta2

    def correction(self, step: int) -> float:
        """sqrt(1 - β2ᵗ) / (1 - β1ᵗ)."""
        return float((1 - self.beta2**step) ** 0.5 / (1 - self.beta1**step))

    def update(
        self, pack: SeedPack, gradients: Tensor, rates: Tensor, active: Tensor, step: int
    ) -> None:
        """m, v ← moments; θ ← θ - rate·correction·m/(sqrt(v) + ε)."""
        clipped = clip_to_norm(gradients, self.clip_norm)
        _clear_inactive(clipped, active)
        first, second = pack.slots["first_moment"], pack.slots["second_moment"]
        first.lerp_(clipped, 1 - self.beta1)
        second.mul_(self.beta2).addcmul_(clipped, clipped, value=1 - self.beta2)
        corrected = rates * active * self.correction(step)
        pack.rows.sub_((first * corrected[:, None]).div_(second.sqrt().add_(self.epsilon)))


@dataclass(frozen=True, kw_only=True)
class AdaMax:
    """AdaMax with the elementwise clipping and the warming second decay of DNGPU (SPECS D)."""

    epsilon: float
    beta1: float = 0.9

    def prepare(self, pack: SeedPack) -> None:
        """Slots: first moment and running maximum."""
        pack.slots = {
            "first_moment": torch.zeros_like(pack.rows),
            "maximum": torch.zeros_like(pack.rows),
        }

    def decays(self, step: int) -> tuple[float, float]:
        """β1, and β2 that warms from 0.99 to 0.9995."""
        return self.beta1, 1 - max(0.0005, 0.01 * 0.5 ** (step / 2000))

    def correction(self, step: int) -> float:
        """None."""
        return 1.0

    def update(
        self, pack: SeedPack, gradients: Tensor, rates: Tensor, active: Tensor, step: int
    ) -> None:
        """g clipped to ±(1.2·v + 1e-4); v ← max(β2·v, |g|); θ ← θ - rate·m/(v + ε)."""
        _, beta2 = self.decays(step)
        first, maximum = pack.slots["first_moment"], pack.slots["maximum"]
        bound = maximum * 1.2 + 1e-4
        _clear_inactive(gradients, active)
        clipped = gradients.clamp_(-bound, bound)
        first.lerp_(clipped, 1 - self.beta1)
        torch.maximum(maximum.mul_(beta2), clipped.abs_(), out=maximum)
        rates = rates * active
        pack.rows.sub_((first * rates[:, None]).div_(maximum + self.epsilon))


def optimizer(training: TrainingConfig) -> PackOptimizer:
    """The optimizer of a configuration."""
    if training.optimizer == "adamax":
        return AdaMax(epsilon=training.epsilon)
    return Adam(clip_norm=training.clip_norm, epsilon=training.epsilon)
