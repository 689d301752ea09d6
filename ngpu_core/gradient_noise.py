"""Noise on gradients: how much, and where in a step, by the formula a configuration names.

* `learning_rate` (diagonal Neural GPU): scale · learning rate, on the raw gradient.
* `published` (Kaiser, Sutskever): scale · sqrt(step^-0.55 · max(0, e - 0.02)) on the clipped
  gradient, e the share of wrong sequences in the epoch before, as their program works it out. The
  paper's own words, a deviation ∝ step^-1/4 times that share, are nearly this: step^-0.275.
* `none_as_released`: none. Their program added the noise to a variable that nothing read, and the
  code behind Price, Zaremba and Sutskever's table never looked at the scale.

Noise is normal, truncated at two deviations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from ngpu_core.config import TrainingConfig
from ngpu_core.randomness import key

#: Sequence error from which on there is noise as published.
ENOUGH = 0.02
#: A norm that no gradient in float32 has.
UNCLIPPED = 1e38


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
    """The noise of a configuration."""

    training: TrainingConfig

    @property
    def follows_clipping(self) -> bool:
        """Whether it goes on gradients that were clipped to a norm."""
        training = self.training
        published = training.noise_formula == "published" and training.gradient_noise > 0
        return published and training.optimizer == "adam"

    def deviation(self, *, step: int, learning_rate: float, sequence_error: float) -> float:
        """Standard deviation of a seed's noise in a step.

        Args:
            step: Counts from 1.
            learning_rate: The seed's.
            sequence_error: Of the seed's last whole epoch; 1 before there is one.
        """
        scale = self.training.gradient_noise
        if self.training.noise_formula == "learning_rate":
            return scale * learning_rate
        if self.training.noise_formula == "published":
            return scale * sqrt(step**-0.55 * max(0.0, sequence_error - ENOUGH))
        return 0.0


def add_gradient_noise(
    gradients: Tensor, seeds: Sequence[int], deviations: Sequence[float], step: int
) -> None:
    """Add normal noise truncated at two deviations to each seed's gradient, in place.

    Args:
        gradients: (S, N).
        seeds: The S seeds.
        deviations: Standard deviation for each seed; 0 adds nothing.
        step: The training step, which keys the noise.
    """
    for place, (seed, deviation) in enumerate(zip(seeds, deviations, strict=True)):
        if deviation > 0:
            row = gradients[place]
            generator = torch.Generator(row.device).manual_seed(key(seed, "gradient_noise", step))
            noise = torch.empty_like(row)
            torch.nn.init.trunc_normal_(noise, 0, 1, -2, 2, generator=generator)
            row.add_(noise, alpha=deviation)
