"""Seed-steps a second of our engine beside what a user would run, interleaved in one run.

    python -m benchmarks.training --family neural_gpu --filters 24 --length 20 --seeds 4 --json

A step is all of it on both sides: drawing fresh sequences, forward, backward, optimizer, counting
what was wrong. Every contender has the whole machine while it is its turn. Peers:

    naive              a loop over nn.Conv layers, one process a core with one thread each
    naive-one-process  the same in one process with all threads
    jax                scan over time, vmap over seeds, all seeds in one jitted step
    tensorflow         the unrolled graph of every bin, as the reference of the diagonal family

Machines are shared and noisy: read the ratios, not the seconds.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from benchmarks.ceilings import Ceilings, NoCompiler, gpu_peak
from benchmarks.contenders import Contender, Rate, compete, progress
from benchmarks.lineup import OURS, PEERS, PeerName, Place, line_up
from benchmarks.machine import cores, describe
from benchmarks.workload import Workload

Result = dict[str, Any]


def measure(
    workload: Workload,
    place: Place,
    against: Sequence[PeerName],
    *,
    rounds: int = 7,
    seconds: float = 1.0,
) -> Result:
    """One interleaved run.

    Args:
        workload: What everyone computes.
        place: Where and with what.
        against: The peers.
        rounds: Turns of each contender.
        seconds: About how long a turn is.

    Returns:
        What `--json` prints; see `docs/performance.md` for the keys.
    """
    progress(f"{workload}: {workload.seeds} seeds")
    contenders, left_out = line_up(workload, place, against)
    try:
        ceilings, reason = _ceilings(place)
        rates, peaks = compete(
            contenders,
            rounds=rounds,
            seconds=seconds,
            between=(lambda: ceilings.fma_peak(place.threads)) if ceilings else None,
        )
        return _result(workload, place, contenders, rates, peaks, reason) | {
            "left_out": left_out,
            "rounds": rounds,
        }
    finally:
        for one in contenders:
            one.close()


def _ceilings(place: Place) -> tuple[Ceilings | None, str | None]:
    if place.device != "cpu":
        return None, None
    try:
        return Ceilings(), None
    except NoCompiler as error:
        progress(f"  the share of the peak is left out: {error}")
        return None, str(error)


def _result(
    workload: Workload,
    place: Place,
    contenders: Sequence[Contender],
    rates: dict[str, Rate],
    peaks: list[float],
    reason: str | None,
) -> Result:
    own, *peers = contenders
    engine = rates[OURS].median
    peak = Rate.of(peaks).median if peaks else None
    if place.device != "cpu":
        precision = own.about.get("precision", "float32")
        peak = gpu_peak(own.about["gpu"], precision)
        reason = None if peak else f"the {precision} peak of {own.about['gpu']} is not known"
    versions = {
        name: version
        for one in contenders
        for name, version in one.about.items()
        if name in ("torch", "numpy", "jax", "tensorflow")
    }
    gpu = {"gpu": own.about["gpu"]} if "gpu" in own.about else {}
    return {
        "family": workload.family,
        "filters": workload.filters,
        "lengths": list(workload.lengths),
        "seeds": workload.seeds,
        "batch": workload.batch,
        "backend": own.about["engine"],
        "device": place.device,
        "threads": place.threads,
        "seed_steps_per_second": engine,
        "quartiles": list(rates[OURS].quartiles),
        "peers": {one.name: rates[one.name].median for one in peers},
        "peer_quartiles": {one.name: list(rates[one.name].quartiles) for one in peers},
        "ratios": {one.name: engine / rates[one.name].median for one in peers},
        "flop_per_seed_step": workload.flop,
        "flop_per_second": engine * workload.flop,
        "peak_flop_per_second": peak,
        "fraction_of_peak": engine * workload.flop / peak if peak else None,
        "fraction_of_peak_note": reason,
        "peak_bytes": own.peak_bytes(),
        "peer_peak_bytes": {one.name: one.peak_bytes() for one in peers},
        "machine": describe(versions) | gpu,
    }


def summary(result: Result) -> str:
    """A few lines for people."""
    share = result["fraction_of_peak"]
    of_peak = f", {share:.0%} of the measured peak" if share else ""
    if share and result["device"] != "cpu":
        of_peak = f", {share:.1%} of the stated peak"
    lines = [
        f"{result['family']}, {result['filters']} filters, lengths {result['lengths']}, "
        f"{result['seeds']} seeds, engine {result['backend']}",
        f"  ours {result['seed_steps_per_second']:.4g} seed-steps/s{of_peak}, "
        f"{result['peak_bytes'] / 1e6:.0f} MB",
    ]
    for name, rate in result["peers"].items():
        lines.append(
            f"  {name} {rate:.4g} seed-steps/s: ours is {result['ratios'][name]:.2f} x; "
            f"{result['peer_peak_bytes'][name] / 1e6:.0f} MB a process"
        )
    return "\n".join(lines + [f"  {name}: {why}" for name, why in result["left_out"].items()])


def peers(text: str) -> tuple[PeerName, ...]:
    """A comma-separated list of peers; empty for none."""
    asked = [name for name in text.split(",") if name]
    for name in asked:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"no peer {name!r}: one of {', '.join(PEERS)}")
    return tuple(name for name in PEERS if name in asked)


def add_place(parser: argparse.ArgumentParser) -> None:
    """The arguments that `place` reads, and those of an interleaved run."""
    backends = ["auto", "autograd", "torch", "native", "cuda"]
    parser.add_argument("--threads", type=int, default=cores(), help="of every contender")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backend", choices=backends, default="auto", help="which of our engines")
    parser.add_argument("--jax-python", help="an interpreter that has JAX")
    parser.add_argument("--tensorflow-python", help="an interpreter that has TensorFlow")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every contender")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a turn is")


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


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=["neural_gpu", "diagonal_neural_gpu"], required=True)
    parser.add_argument("--filters", type=int, default=24)
    parser.add_argument("--length", type=int, nargs="+", default=[20], help="one bin or several")
    parser.add_argument("--seeds", type=int, default=4, help="that our engine trains at once")
    parser.add_argument("--batch", type=int, default=32, help="sequences a bin")
    parser.add_argument("--against", type=peers, default=("naive",), metavar=",".join(PEERS))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_place(parser)
    asked = parser.parse_args()
    workload = Workload(
        family=asked.family,
        filters=asked.filters,
        lengths=tuple(sorted(asked.length)),
        seeds=asked.seeds,
        batch=asked.batch,
    )
    result = measure(
        workload, place(asked), asked.against, rounds=asked.rounds, seconds=asked.seconds
    )
    print(json.dumps(result) if asked.json else summary(result))


if __name__ == "__main__":
    main()
