"""The command-line arguments that all benchmarks share."""

import argparse
import os

from benchmarks.lineup import PEERS, PeerName, Place
from benchmarks.machine import cores

BACKENDS = ("auto", "autograd", "torch", "native", "cuda")


def peers(text: str) -> tuple[PeerName, ...]:
    """A comma-separated list of peers; empty for none."""
    asked = [name for name in text.split(",") if name]
    for name in asked:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"no peer {name!r}: one of {', '.join(PEERS)}")
    return tuple(name for name in PEERS if name in asked)


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that `place` reads, and those of an interleaved run."""
    made = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--threads", type=int, default=cores(), help="of every contender")
    made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    made.add_argument("--backend", choices=BACKENDS, default="auto", help="which of our engines")
    made.add_argument("--jax-python", help="an interpreter that has JAX")
    made.add_argument("--tensorflow-python", help="an interpreter that has TensorFlow")
    made.add_argument("--rounds", type=int, help="turns of every contender")
    return made


def place(asked: argparse.Namespace) -> Place:
    """Where to run; fewer threads than cores confine every contender to as many cores."""
    if asked.threads < 1:
        raise SystemExit(f"--threads is {asked.threads}: must be at least 1")
    if asked.threads < cores() and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])
    return Place(
        threads=asked.threads,
        device=asked.device,
        backend=asked.backend,
        jax_python=asked.jax_python,
        tensorflow_python=asked.tensorflow_python,
    )
