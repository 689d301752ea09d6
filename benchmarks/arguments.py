"""The command-line arguments that all benchmarks share."""

import argparse
import os
import shutil
from collections.abc import Callable

import torch

from benchmarks.lineup import PEERS, PeerName, Place
from benchmarks.machine import cores
from benchmarks.workload import Workload

BACKENDS = ("auto", "autograd", "torch", "native", "cuda")


def peers(text: str) -> tuple[PeerName, ...]:
    """A comma-separated list of peers; empty for none."""
    asked = [name for name in text.split(",") if name]
    for name in asked:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"no peer {name!r}: one of {', '.join(PEERS)}")
    return tuple(name for name in PEERS if name in asked)


def positive(text: str) -> int:
    """A number of something there must be at least one of."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 1")
    return number


def interpreter(text: str) -> str:
    """A Python that can be started."""
    if not shutil.which(text):
        raise argparse.ArgumentTypeError(f"no program {text!r}")
    return text


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that `place` reads, and those of an interleaved run."""
    made = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--threads", type=positive, default=cores(), help="of every contender")
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    made.add_argument("--backend", choices=BACKENDS, default="auto", help="which of our engines")
    made.add_argument("--jax-python", type=interpreter, help="an interpreter that has JAX")
    made.add_argument(
        "--tensorflow-python", type=interpreter, help="an interpreter that has TensorFlow"
    )
    made.add_argument("--rounds", type=positive, help="turns of every contender")
    return made


def place(asked: argparse.Namespace) -> Place:
    """Where to run; fewer threads than cores confine every contender to as many cores."""
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here")
    if asked.threads < cores() and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
    return Place(
        threads=asked.threads,
        device=asked.device,
        backend=asked.backend,
        jax_python=asked.jax_python,
        tensorflow_python=asked.tensorflow_python,
    )


def possible(made: Callable[[], Workload]) -> Workload:
    """A workload, or the end with the sentence that says why it cannot be computed."""
    try:
        workload = made()
        _ = workload.config
    except ValueError as error:
        raise SystemExit(f"this cannot be computed: {error}") from None
    return workload
