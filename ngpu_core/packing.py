"""A pack: several seeds of one configuration as stacked parameters. One seed is a pack of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from ngpu_core.models.network import Network
from ngpu_core.randomness import stream


@dataclass(frozen=True)
class Layout:
    """Where each parameter of a network lies in a seed's row of N numbers."""

    #: Name → shape, without the seed axis, in the order of the row.
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """N."""
        return sum(prod(shape) for shape in self.shapes.values())

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Name → (P, …), sharing the memory of rows (P, N)."""
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = rows.split(sizes, dim=1)
        return {
            name: part.view(len(rows), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def rows(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Name → (P, …) as rows (P, N); not copied where they are views of such rows."""
        first = tensors[next(iter(self.shapes))]
        whole = first._base
        if whole is not None and whole.shape == (len(first), self.size):
            return whole
        return torch.cat([tensors[name].flatten(1) for name in self.shapes], dim=1)


@dataclass(kw_only=True)
class SeedPack:
    """P seeds: each has a row of N parameters, and rows of N numbers for its optimizer.

    A seed's numbers never depend on its companions or its place: initial values, data, dropout and
    noise come from streams keyed by (seed, purpose, step), and every operation keeps P apart.
    """

    seeds: tuple[int, ...]
    layout: Layout
    #: Parameters, (P, N).
    rows: Tensor
    #: Optimizer state: slot name → (P, N).
    slots: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def initialize(cls, network: Network, seeds: Sequence[int], device: str) -> "SeedPack":
        """Fresh parameters, each seed's from its own stream.

        Raises:
            ValueError: `seeds` is empty or repeats a seed.
        """
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds is {list(seeds)}: must be distinct and at least one")
        alone = [network.initialize(stream(seed, "init")) for seed in seeds]
        layout = Layout({name: value.shape for name, value in alone[0].items()})
        rows = np.stack(
            [np.concatenate([value.ravel() for value in values.values()]) for values in alone]
        )
        return cls(seeds=tuple(seeds), layout=layout, rows=torch.from_numpy(rows).to(device))

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """Name → (P, …), sharing memory with `rows`."""
        return self.layout.views(self.rows)

    def place(self, seed: int) -> int:
        """Where a seed lies on the leading axis."""
        return self.seeds.index(seed)

    def alone(self, seed: int) -> "SeedPack":
        """A pack of one seed that shares this pack's memory: training it trains the seed here."""
        place = self.place(seed)
        return SeedPack(
            seeds=(seed,),
            layout=self.layout,
            rows=self.rows[place : place + 1],
            slots={slot: rows[place : place + 1] for slot, rows in self.slots.items()},
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
            layout=self.layout,
            rows=self.rows[places],
            slots={slot: rows[places] for slot, rows in self.slots.items()},
        )

    def store(self, subset: "SeedPack") -> None:
        """Write a subset's rows back; nothing to do for one that shares our memory."""
        if subset is self or len(subset.seeds) == 1:
            return
        places = [self.place(seed) for seed in subset.seeds]
        self.rows[places] = subset.rows
        for slot, rows in subset.slots.items():
            self.slots[slot][places] = rows

    def seed_tensors(self, seed: int) -> dict[str, dict[str, Tensor]]:
        """One seed's parameters and optimizer slots, copied to the CPU, without the pack axis."""
        alone = self.alone(seed)
        return {
            kind: {name: value[0].cpu().clone() for name, value in self.layout.views(rows).items()}
            for kind, rows in {"parameters": alone.rows, **alone.slots}.items()
        }

    def load_seed_tensors(self, seed: int, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The inverse of `seed_tensors`."""
        alone = self.alone(seed)
        for kind, values in tensors.items():
            ours = self.layout.views(alone.rows if kind == "parameters" else alone.slots[kind])
            for name, value in values.items():
                ours[name][0] = value.to(self.rows.device)
