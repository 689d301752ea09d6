"""What training takes, in a process of its own: `python -m tests.ngpu_core.measured JSON`.

Prints the bytes at the peak of some steps, a test and a checkpoint, above the same process after it
has trained something tiny. Linux only: it reads the peak the kernel counts.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from ngpu_core.checkpoint import save_seed
from ngpu_core.config import RunConfig
from ngpu_core.engines.choice import choose
from ngpu_core.evaluation.generalization import evaluate_seed
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config


def resident(key: str) -> int:
    """Bytes the kernel counts: `VmRSS` now, `VmHWM` at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def train(config: RunConfig, case: dict[str, Any], steps: int) -> None:
    """Some steps, a test of a seed and a checkpoint."""
    seeds, threads = range(case["seeds"]), case["threads"]
    engine = choose(
        config,
        threads=max(1, threads // len(seeds)),
        segment=case["segment"],
        asked=case["engine"],
    )
    trainer = PackTrainer(config, seeds, threads=threads, engine=engine)
    for _ in range(steps):
        trainer.train_steps(1)
    for _ in evaluate_seed(engine, config, trainer.pack.alone(0).parameters, 0, steps):
        pass
    with tempfile.TemporaryDirectory() as folder:
        save_seed(Path(folder) / "0.pt", trainer.seed_state(0))
    trainer.close()


def main() -> None:
    """Measure the case that the argument describes."""
    case = json.loads(sys.argv[1])
    torch.set_num_threads(case["threads"])
    train(run_config(case["family"]), case, 2)
    base = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    train(RunConfig.from_mapping(case["config"]), case, case["steps"])
    print(resident("VmHWM") - base)


if __name__ == "__main__":
    main()
