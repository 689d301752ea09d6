"""A pack: several seeds of one configuration as stacked parameters. One seed is a pack of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ngpu_core.models.network import Network
from ngpu_core.randomness import key, stream


@dataclass(kw_only=True)
class SeedPack:
    """P seeds, their parameters (P, …) and the optimizer's slots (P, …).

    A seed's numbers never depend on its companions or its place: initial values, data, dropout and
    noise come from streams keyed by (seed, purpose, step), and every operation keeps P apart.
    """

    seeds: tuple[int, ...]
    parameters: dict[str, Tensor]
    #: Optimizer state: slot name → parameter name → (P, …).
    slots: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @classmethod
    def initialize(cls, network: Network, seeds: Sequence[int], device: str) -> "SeedPack":
        """Fresh parameters, each seed's from its own stream.

        Raises:
            ValueError: `seeds` is empty or repeats a seed.
        """
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds is {list(seeds)}: must be distinct and at least one")
        alone = [network.initialize(stream(seed, "init")) for seed in seeds]
        parameters = {
            name: torch.from_numpy(np.stack([values[name] for values in alone])).to(device)
            for name in alone[0]
        }
        return cls(seeds=tuple(seeds), parameters=parameters)

    def place(self, seed: int) -> int:
        """Where a seed lies on the leading axis."""
        return self.seeds.index(seed)

    def subset(self, seeds: Sequence[int]) -> "SeedPack":
        """A copy of some seeds' tensors, as a pack of their own.

        Training a subset and storing it back keeps a seed's arithmetic the same to the last bit,
        whatever the size of the pack it came from.
        """
        places = [self.place(seed) for seed in seeds]
        return SeedPack(
            seeds=tuple(seeds),
            parameters={name: value[places] for name, value in self.parameters.items()},
            slots={
                slot: {name: value[places] for name, value in values.items()}
                for slot, values in self.slots.items()
            },
        )

    def store(self, subset: "SeedPack") -> None:
        """Write a subset's tensors back."""
        places = [self.place(seed) for seed in subset.seeds]
        for name, value in subset.parameters.items():
            self.parameters[name][places] = value
        for slot, values in subset.slots.items():
            for name, value in values.items():
                self.slots[slot][name][places] = value

    def seed_tensors(self, seed: int) -> dict[str, dict[str, Tensor]]:
        """One seed's parameters and optimizer slots, copied to the CPU, without the pack axis."""
        place = self.place(seed)
        named = {"parameters": self.parameters, **self.slots}
        return {
            kind: {name: value[place].detach().cpu().clone() for name, value in tensors.items()}
            for kind, tensors in named.items()
        }

    def load_seed_tensors(self, seed: int, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The inverse of `seed_tensors`."""
        place = self.place(seed)
        for kind, values in tensors.items():
            ours = self.parameters if kind == "parameters" else self.slots[kind]
            for name, value in values.items():
                ours[name][place] = value.to(ours[name].device)


@dataclass
class KeyedDropout:
    """Dropout masks of one training step, each seed's from its own stream.

    `probability` maps a padded length to the probability of dropping.
    """

    seeds: Sequence[int]
    step: int
    probability: float
    #: Reference length: the probability is scaled by this / padded length; 0 leaves it as it is.
    scaled_by: int
    device: str

    def __post_init__(self) -> None:
        self._generators = [
            torch.Generator(self.device).manual_seed(key(seed, "dropout", self.step))
            for seed in self.seeds
        ]

    def mask(self, shape: Sequence[int], padded_length: int) -> Tensor | None:
        """A scaled keep mask (S, *shape), or None when nothing is dropped."""
        drop = self.probability * (self.scaled_by / padded_length if self.scaled_by else 1)
        if drop <= 0:
            return None
        keep = 1 - min(drop, 0.99)
        masks = [
            torch.empty(tuple(shape), device=self.device).bernoulli_(keep, generator=generator)
            for generator in self._generators
        ]
        return torch.stack(masks).div_(keep) if len(masks) > 1 else masks[0].div_(keep)[None]
