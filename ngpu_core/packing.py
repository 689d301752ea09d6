"""A pack: several seeds of one configuration as stacked parameters. One seed is a pack of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
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

    @cached_property
    def starts(self) -> dict[str, int]:
        """Name → its first number in the row."""
        ends = accumulate(prod(shape) for shape in self.shapes.values())
        return dict(zip(self.shapes, chain([0], ends), strict=False))

    @cached_property
    def size(self) -> int:
        """N."""
        return sum(prod(shape) for shape in self.shapes.values())

    def views(self, rows: Tensor) -> "Views":
        """Name → (P, …), sharing the memory of rows (P, N)."""
        return Views(self, rows)

    def rows(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Name → (P, …) as rows (P, N); not copied where they are views of such rows."""
        if isinstance(tensors, Views):
            return tensors.rows
        return torch.cat([tensors[name].flatten(1) for name in self.shapes], dim=1)


class Views(Mapping[str, Tensor]):
    """Name → (P, …) in the memory of rows (P, N); each is made when it is first asked for."""

    def __init__(self, layout: Layout, rows: Tensor) -> None:
        self.layout = layout
        self.rows = rows
        self._made: dict[str, Tensor] = {}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Views":
        """Tensors (P, …) as views of rows: themselves if that is what they are, else a copy."""
        if isinstance(tensors, Views):
            return tensors
        layout = Layout({name: value.shape[1:] for name, value in tensors.items()})
        return cls(layout, layout.rows(tensors))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            start, shape = self.layout.starts[name], self.layout.shapes[name]
            part = self.rows[:, start : start + prod(shape)]
            self._made[name] = part.view(len(self.rows), *shape)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.shapes)

    def __len__(self) -> int:
        return len(self.layout.shapes)


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
    def parameters(self) -> Views:
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
