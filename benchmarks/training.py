"""Seed-steps a second of the engine beside the loop a user would write, interleaved in one run.

    python -m benchmarks.training --family neural_gpu --filters 24 --length 20 --seeds 4 --json

One thread each. The machine is shared and noisy: read the ratio, not the seconds.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.naive import naive_step
from ngpu_core.config import (
    EvaluationConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    family_defaults,
)
from ngpu_core.training import PackTrainer


def configuration(family: str, filters: int, bins: tuple[int, ...], batch: int) -> RunConfig:
    """A run of a family at fixed lengths."""
    sections: dict[str, dict[str, object]] = {"model": {"family": family}, "training": {}}
    for key, value in family_defaults(family, filters).items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    sections["model"]["filters"] = filters
    training = sections["training"] | {"bins": bins, "batch_size": batch, "examples_per_length": 0}
    if family == "neural_gpu":
        training |= {"tasks": ("rev",), "min_length": bins[-1], "max_length": bins[-1]}
    return RunConfig(
        model=ModelConfig(**sections["model"]),  # type: ignore[arg-type]
        training=TrainingConfig(**training),  # type: ignore[arg-type]
        evaluation=EvaluationConfig(),
    )


def engine_step(config: RunConfig, seeds: int) -> Callable[[], None]:
    """One training step of a pack: its events between two steps."""
    trainer = PackTrainer(config, range(seeds))

    def step() -> None:
        trainer.train_step()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(family: str, filters: int, bins: tuple[int, ...], seeds: int, batch: int) -> dict:
    """Medians of an interleaved run."""
    config = configuration(family, filters, bins, batch)
    ours, peer = engine_step(config, seeds), naive_step(family, filters, bins, batch)
    ours(), peer()
    rounds = [(seconds(ours) / seeds, seconds(peer)) for _ in range(7)]
    engine = 1 / statistics.median(own for own, _ in rounds)
    naive = 1 / statistics.median(other for _, other in rounds)
    return {
        "family": family,
        "filters": filters,
        "lengths": list(bins),
        "seeds": seeds,
        "batch": batch,
        "seed_steps_per_second": engine,
        "peers": {"naive": naive},
        "ratios": {"naive": engine / naive},
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=["neural_gpu", "diagonal_neural_gpu"], required=True)
    parser.add_argument("--filters", type=int, default=24)
    parser.add_argument("--length", type=int, nargs="+", default=[20], help="one bin or several")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bins = tuple(sorted(asked.length))
    result = measure(asked.family, asked.filters, bins, asked.seeds, asked.batch)
    if asked.json:
        print(json.dumps(result))
        return
    print(
        f"{result['family']}, {result['filters']} filters, lengths {result['lengths']}, "
        f"{result['seeds']} seeds: {result['seed_steps_per_second']:.1f} seed-steps/s, "
        f"{result['ratios']['naive']:.2f} x the nn.Conv loop ({result['peers']['naive']:.1f}/s)"
    )


if __name__ == "__main__":
    main()
