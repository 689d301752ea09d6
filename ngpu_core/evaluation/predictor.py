"""Who answers questions: one trained seed, or several whose outputs are averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ngpu_core.config import RunConfig
from ngpu_core.engines.choice import choose
from ngpu_core.engines.engine import Engine
from ngpu_core.models.network import Bin, Network, Parameters


class Predictor(Protocol):
    """Gives every symbol of every position a score; the one with the greatest is written."""

    @property
    def network(self) -> Network:
        """Which positions count, and how large the state is."""
        ...

    @property
    def device(self) -> str:
        """Where questions are to lie."""
        ...

    def scores(self, batch: Bin) -> Tensor:
        """(1, B, L, classes) of questions (1, B, …)."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainedSeed:
    """One seed's weights and what computes them."""

    engine: Engine
    #: Name → (1, …).
    parameters: Parameters

    @classmethod
    def of_checkpoint(
        cls, state: Mapping[str, Any], *, device: str = "cpu", threads: int = 1
    ) -> "TrainedSeed":
        """The seed of a checkpoint, as `ngpu_core.checkpoint.load_seed` gives it."""
        config = RunConfig.from_mapping(state["config"])
        return cls(
            engine=choose(config, device=device, threads=threads),
            parameters={
                name: value[None].to(device)
                for name, value in state["tensors"]["parameters"].items()
            },
        )

    @property
    def network(self) -> Network:
        """The engine's."""
        return self.engine.network

    @property
    def device(self) -> str:
        """Where the weights lie."""
        return str(next(iter(self.parameters.values())).device)

    def scores(self, batch: Bin) -> Tensor:
        """Its logits."""
        return self.engine.logits(self.parameters, batch)


class Ensemble:
    """Several seeds of one configuration as one predictor: the mean of their probabilities.

    Args:
        members: At least one; networks of one size, on one device.

    Raises:
        ValueError: There is no member, or they are of different networks.
    """

    def __init__(self, members: Sequence[TrainedSeed]) -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        if any(member.network.config != members[0].network.config for member in members):
            raise ValueError("the members of an ensemble must be networks of one size")
        self.members = tuple(members)
        self.network = members[0].network
        self.device = members[0].device

    @torch.no_grad()
    def scores(self, batch: Bin) -> Tensor:
        """The mean of the members' softmax outputs; in float64, in which close ones do not tie."""
        total: Tensor | None = None
        for member in self.members:
            probabilities = torch.softmax(member.scores(batch).double(), dim=-1)
            total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        return total / len(self.members)
