"""Who competes: our engine, and the peers that can run here."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from benchmarks.contenders import Contender, Failed, progress
from benchmarks.workload import Workload

PeerName = Literal["naive", "naive-one-process", "jax", "tensorflow"]
PEERS: tuple[PeerName, ...] = get_args(PeerName)
OURS = "ours"


class NotHere(RuntimeError):
    """A peer cannot run here or cannot compute this."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and with what the contenders run.

    Attributes:
        threads: Processor threads each contender may use.
        device: `cpu` or `cuda`.
        backend: Which of our engines.
        jax_python: Interpreter that has JAX; None looks in this one.
        tensorflow_python: Interpreter that has TensorFlow; None looks in this one.
    """

    threads: int
    device: str = "cpu"
    backend: str = "auto"
    jax_python: str | None = None
    tensorflow_python: str | None = None


def _threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}


def ours(workload: Workload, place: Place) -> Contender:
    """Our engine, all seeds in one process."""
    command = [sys.executable, "-m", "benchmarks.ours", workload.to_json()]
    command += ["--threads", str(place.threads), "--device", place.device]
    return Contender(OURS, [[*command, "--backend", place.backend]], seeds=workload.seeds)


def _naive(workload: Workload, place: Place) -> Contender:
    """One seed a process, one process a core (one process in all on a GPU)."""
    processes = place.threads if place.device == "cpu" else 1
    command = [sys.executable, "-m", "benchmarks.peers.naive", workload.to_json()]
    command += ["--device", place.device]
    commands = [[*command, "--seed", str(seed)] for seed in range(processes)]
    return Contender("naive", commands, environment=_threads(1))


def _naive_one_process(workload: Workload, place: Place) -> Contender:
    """One seed, one process with all threads."""
    if place.device != "cpu":
        raise NotHere("on a GPU `naive` is one process")
    command = [sys.executable, "-m", "benchmarks.peers.naive", workload.to_json()]
    return Contender(
        "naive-one-process",
        [[*command, "--threads", str(place.threads)]],
        environment=_threads(place.threads),
    )


def _jax(workload: Workload, place: Place) -> Contender:
    """All seeds in one jitted step; JAX takes the threads the processor affinity leaves it."""
    if workload.family != "neural_gpu" or workload.testing:
        raise NotHere("the JAX form trains neural_gpu")
    python = _with_module("jax", place.jax_python)
    command = [python, "-m", "benchmarks.peers.jax_scan", workload.to_json()]
    return Contender(
        "jax",
        [command],
        seeds=workload.seeds,
        environment={} if place.device != "cpu" else {"JAX_PLATFORMS": "cpu"},
    )


def _tensorflow(workload: Workload, place: Place) -> Contender:
    """One seed, one process with all threads, as the reference program runs."""
    if workload.family != "diagonal_neural_gpu" or workload.testing or place.device != "cpu":
        raise NotHere("the TensorFlow form trains diagonal_neural_gpu on a CPU")
    python = _with_module("tensorflow", place.tensorflow_python)
    command = [python, "-m", "benchmarks.peers.tensorflow_graph", workload.to_json()]
    return Contender("tensorflow", [[*command, "--threads", str(place.threads)]])


_MAKERS: dict[str, Callable[[Workload, Place], Contender]] = {
    "naive": _naive,
    "naive-one-process": _naive_one_process,
    "jax": _jax,
    "tensorflow": _tensorflow,
}


def _with_module(module: str, python: str | None) -> str:
    """An interpreter that has a module.

    Raises:
        NotHere: It has not.
    """
    chosen = python or sys.executable
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    if subprocess.run([chosen, "-c", code], capture_output=True).returncode:
        raise NotHere(f"no {module} in the interpreter; name one that has it: --{module}-python")
    return chosen


def line_up(
    workload: Workload, place: Place, against: Sequence[PeerName]
) -> tuple[list[Contender], dict[str, str]]:
    """Start everyone: the contenders, ours first, and why each missing peer is left out.

    Raises:
        Failed: Our own process ended.
    """
    contenders = [ours(workload, place)]
    left_out: dict[str, str] = {}
    standing = []
    try:
        for name in against:
            try:
                contenders.append(_MAKERS[name](workload, place))
            except NotHere as error:
                left_out[name] = str(error)
        contenders[0].wait()
        standing.append(contenders[0])
        for one in contenders[1:]:
            try:
                one.wait()
                standing.append(one)
            except Failed as error:
                left_out[one.name] = str(error)
    finally:
        for one in contenders:
            if one not in standing:
                one.close()
    for missing, reason in left_out.items():
        progress(f"  {missing} is left out: {reason}")
    return standing, left_out
