"""What one benchmark computes: training steps or tests of a family at a size, at fixed lengths."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from ngpu_core.config import (
    EvaluationConfig,
    Family,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    family_defaults,
)
from ngpu_core.cost import forward_flop, training_flop


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training step of every seed, or the test of one sequence by one seed, repeated.

    Attributes:
        family: `neural_gpu` trains on one length, `diagonal_neural_gpu` on all lengths each step.
        filters: Maps of the state.
        lengths: Bins, in symbols, ascending; one for `neural_gpu`.
        seeds: How many our engine trains at once.
        batch: Sequences a step, and a bin.
        testing: Only the forward pass, a sequence a step.
    """

    family: Family
    filters: int
    lengths: tuple[int, ...]
    seeds: int
    batch: int = 32
    testing: bool = False

    def __post_init__(self) -> None:
        if self.family == "neural_gpu" and len(self.lengths) != 1:
            raise ValueError(f"lengths is {list(self.lengths)}: neural_gpu trains on one a step")
        if self.testing and (self.seeds, len(self.lengths)) != (1, 1):
            raise ValueError("a test is of one seed at one length")

    @property
    def config(self) -> RunConfig:
        """The run: fresh sequences every step, every one as long as its bin allows.

        `neural_gpu` takes as many time steps as symbols, as the code behind the paper's sweeps did;
        its task, rev, has problems of every length.
        """
        sections: dict[str, dict[str, Any]] = {"model": {"family": self.family}, "training": {}}
        for key, value in family_defaults(self.family, self.filters).items():
            section, name = key.split(".")
            sections.setdefault(section, {})[name] = value
        model = sections["model"] | {"filters": self.filters, "extra_steps": 0}
        training = sections["training"] | {
            "bins": self.lengths,
            "batch_size": self.batch,
            "examples_per_length": 0,
        }
        if self.family == "neural_gpu":
            only = self.lengths[0]
            training |= {"tasks": ("rev",), "min_length": only, "max_length": only}
        return RunConfig(
            model=ModelConfig(**model),
            training=TrainingConfig(**training),
            evaluation=EvaluationConfig(),
        )

    @property
    def flop(self) -> float:
        """Floating-point operations of one seed-step, or of one test sequence: convolutions."""
        if self.testing:
            length = self.lengths[0]
            return forward_flop(self.config.model, sequences=1, length=length, padded=length)
        return training_flop(self.config)

    def to_json(self) -> str:
        """For the command line of another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Workload":
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(**{**values, "lengths": tuple(values["lengths"])})

    def __str__(self) -> str:
        lengths = ", ".join(map(str, self.lengths))
        what = "test" if self.testing else f"batch {self.batch}, {self.seeds} seeds"
        return f"{self.family}, {self.filters} filters, length {lengths}, {what}"
