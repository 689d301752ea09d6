"""The trivial sweep as a good user of Ray Tune would write it: `ray_tune SEEDS CPUS`.

A class that is reused, so that processes start once; Tune's own loggers keep the results. Prints
how long it took on a cluster that is up, from the making of the Tuner to its end.
"""

import json
import sys
import time
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune

from benchmarks.scheduled import TRIVIAL
from ngpu_core.events import Evaluation


class TrainSeed(tune.Trainable):
    """One seed after the other in one process."""

    def setup(self, config: Mapping[str, Any]) -> None:
        """Set the process up once."""
        import torch

        torch.set_num_threads(1)
        self.seed = config["seed"]

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """The next seed in the same process."""
        self.seed = new_config["seed"]
        return True

    def step(self) -> dict[str, Any]:
        """Train a seed to its end."""
        from ngpu_core.training import PackTrainer

        events = PackTrainer(TRIVIAL, (self.seed,), threads=1).events()
        tests = [event for event in events if isinstance(event, Evaluation)]
        return {"wrong": tests[-1].wrong_sequences, "of": tests[-1].sequences, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep: a seed is over in a step."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""


def train(seeds: int, cpus: int) -> float:
    """Seconds for so many seeds."""
    ray.init(num_cpus=cpus, include_dashboard=False, logging_level="warning")
    try:
        with TemporaryDirectory(prefix="ngpu-bench-") as folder:
            began = time.perf_counter()
            tuner = tune.Tuner(
                tune.with_resources(TrainSeed, {"cpu": 1}),
                param_space={"seed": tune.grid_search(list(range(seeds)))},
                tune_config=tune.TuneConfig(reuse_actors=True),
                run_config=tune.RunConfig(name="trivial", storage_path=folder, verbose=0),
            )
            found = tuner.fit()
            if found.num_errors or len(found) != seeds:
                raise SystemExit(f"{found.num_errors} of {len(found)} trials failed")
            return time.perf_counter() - began
    finally:
        ray.shutdown()


if __name__ == "__main__":
    print(json.dumps({"seconds": train(int(sys.argv[1]), int(sys.argv[2]))}))
