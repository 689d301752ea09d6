"""Our engine in a process of its own, stepped over a pipe: whole training steps, or whole tests."""

import argparse
import gc
import os
from collections.abc import Callable

import torch

from benchmarks.peers.naive import memory
from benchmarks.worker import serve
from benchmarks.workload import Workload
from ngpu_core.engines.choice import choose, torch_threads
from ngpu_core.engines.engine import Engine
from ngpu_core.evaluation.generalization import test
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import task
from ngpu_core.training import PackTrainer


def training_loop(
    workload: Workload, engine: Engine, *, threads: int, device: str
) -> Callable[[int], None]:
    """Steps of a pack."""
    seeds = range(workload.seeds)
    trainer = PackTrainer(workload.config, seeds, device=device, threads=threads, engine=engine)

    def steps(count: int) -> None:
        while count:
            stretch = min(count, trainer.stretch())
            trainer.train_steps(stretch)
            count -= stretch
        if device != "cpu":
            torch.cuda.synchronize()

    return steps


def test_loop(workload: Workload, engine: Engine, *, device: str) -> Callable[[int], None]:
    """A test of that many sequences, as training tests a seed."""
    config = workload.config
    values = engine.network.initialize(stream(0, "init"))
    parameters = {name: torch.from_numpy(one)[None].to(device) for name, one in values.items()}

    def sequences(count: int) -> None:
        generator = stream(0, "test")
        symbols = min(config.model.input_symbols, config.model.output_symbols)
        chosen = task(config.training.tasks[0])
        batch = chosen.sample(generator, count, workload.lengths[0], symbols=symbols)
        test(engine, config, parameters, batch)

    return sequences


def precision(engine: Engine) -> str:
    """What the factors of products are on a GPU; torch's convolutions take TF32 unless told not."""
    convolutions = "tf32" if torch.backends.cudnn.allow_tf32 else "float32"
    return str(getattr(engine, "precision", convolutions))


def main() -> None:
    """Build the engine and step it on command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", help="a Workload as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    base, peak = memory(asked.device)
    workload = Workload.from_json(asked.workload)
    # Seeds are trained side by side before one is spread over threads, as in a trial.
    share = asked.threads if workload.testing else max(1, asked.threads // workload.seeds)
    engine = choose(workload.config, device=asked.device, threads=share, asked=asked.backend)
    torch.set_num_threads(torch_threads(engine, asked.threads))
    gc.freeze()  # as in a trial
    about = {"torch": torch.__version__, "engine": engine.name}
    if asked.device != "cpu":
        about["gpu"] = torch.cuda.get_device_name()
        about["precision"] = precision(engine)
    if workload.testing:
        steps = test_loop(workload, engine, device=asked.device)
    else:
        steps = training_loop(workload, engine, threads=asked.threads, device=asked.device)
    serve(steps, about, base=base, peak=peak)


if __name__ == "__main__":
    main()
