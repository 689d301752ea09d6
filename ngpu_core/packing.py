"""A pack: several seeds of one configuration as stacked parameters. One seed is a pack of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ngpu_core.models.network import Network
from ngpu_core.randomness import stream


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

    def alone(self, seed: int) -> "SeedPack":
        """A pack of one seed that shares this pack's memory: training it trains the seed here."""
        place = self.place(seed)
        return SeedPack(
            seeds=(seed,),
            parameters={name: value[place : place + 1] for name, value in self.parameters.items()},
            slots={
                slot: {name: value[place : place + 1] for name, value in values.items()}
                for slot, values in self.slots.items()
            },
        )

    def subset(self, seeds: Sequence[int]) -> "SeedPack":
        """Some seeds as a pack of their own: a copy (see `store`), or this pack if it is all."""
        if tuple(seeds) == self.seeds:
            return self
        if len(seeds) == 1:
            return self.alone(seeds[0])
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
        """Write a subset's tensors back; nothing to do for one that shares our memory."""
        if subset is self or len(subset.seeds) == 1:
            return
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
