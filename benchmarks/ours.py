"""Our engine in a process of its own: whole training steps of a pack, stepped over a pipe."""

import argparse
import os

import torch

from benchmarks.peers.naive import memory
from benchmarks.worker import serve
from benchmarks.workload import Workload
from ngpu_core.engines.choice import choose
from ngpu_core.training import PackTrainer


def main() -> None:
    """Build the pack and step it on command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", help="a Workload as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    base, peak = memory(asked.device)
    workload = Workload.from_json(asked.workload)
    config = workload.config
    engine = choose(config, device=asked.device, threads=asked.threads, asked=asked.backend)
    trainer = PackTrainer(
        config, range(workload.seeds), device=asked.device, threads=asked.threads, engine=engine
    )

    def steps(count: int) -> None:
        for _ in range(count):
            trainer.train_step()
        if asked.device != "cpu":
            torch.cuda.synchronize()

    about = {"torch": torch.__version__, "engine": engine.name}
    if asked.device != "cpu":
        about["gpu"] = torch.cuda.get_device_name()
    serve(steps, about, base=base, peak=peak)


if __name__ == "__main__":
    main()
