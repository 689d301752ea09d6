"""One interleaved run of one workload, as the object that `--json` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.ceilings import Ceilings, NoCompiler, gpu_peak
from benchmarks.contenders import Contender, Rate, compete, progress
from benchmarks.lineup import OURS, PeerName, Place, line_up
from benchmarks.machine import describe
from benchmarks.workload import Workload

Result = dict[str, Any]
LIBRARIES = ("torch", "jax", "tensorflow")


def measure(
    workload: Workload,
    place: Place,
    against: Sequence[PeerName],
    *,
    rounds: int = 7,
    seconds: float = 1.0,
    fixed: Mapping[str, int] | None = None,
) -> Result:
    """Let our engine and its peers take turns.

    Args:
        workload: What everyone computes.
        place: Where and with what.
        against: The peers.
        rounds: Turns of each contender.
        seconds: About how long a turn is.
        fixed: Steps a turn of some contenders, by name, whatever the time.

    Returns:
        Plain values; `docs/performance.md` says what each key means.
    """
    progress(str(workload))
    contenders, left_out = line_up(workload, place, against)
    try:
        ceilings, reason = _ceilings(place)
        rates, peaks = compete(
            contenders,
            rounds=rounds,
            seconds=seconds,
            fixed=fixed,
            between=(lambda: ceilings.fma_peak(place.threads)) if ceilings else None,
        )
        peak = Rate.of(peaks).median if peaks else None
        return {
            **_rates(workload, contenders, rates),
            **_share_of_peak(workload, place, contenders[0], rates[OURS], peak, reason),
            "peak_bytes": contenders[0].peak_bytes(),
            "peer_peak_bytes": {one.name: one.peak_bytes() for one in contenders[1:]},
            "left_out": left_out,
            "rounds": rounds,
            "backend": contenders[0].about["engine"],
            "device": place.device,
            "threads": place.threads,
            "machine": _machine(contenders),
        }
    finally:
        for one in contenders:
            one.close()


def _ceilings(place: Place) -> tuple[Ceilings | None, str | None]:
    """What measures the processor's peak, or why nothing does."""
    if place.device != "cpu":
        return None, None
    try:
        return Ceilings(), None
    except NoCompiler as error:
        progress(f"  the share of the peak is left out: {error}")
        return None, str(error)


def _rates(
    workload: Workload, contenders: Sequence[Contender], rates: Mapping[str, Rate]
) -> Result:
    engine, peers = rates[OURS].median, [one.name for one in contenders[1:]]
    speed = {"seed_steps_per_second": engine}
    if workload.testing:
        speed = {
            "sequences_per_second": engine,
            "symbols_per_second": engine * workload.lengths[0],
        }
    return {
        "family": workload.family,
        "filters": workload.filters,
        "lengths": list(workload.lengths),
        "seeds": workload.seeds,
        "batch": workload.batch,
        **speed,
        "quartiles": list(rates[OURS].quartiles),
        "peers": {name: rates[name].median for name in peers},
        "peer_quartiles": {name: list(rates[name].quartiles) for name in peers},
        "ratios": {name: engine / rates[name].median for name in peers},
    }


def _share_of_peak(
    workload: Workload,
    place: Place,
    own: Contender,
    rate: Rate,
    measured: float | None,
    reason: str | None,
) -> Result:
    """The share of the measured peak, on a GPU of the one its maker states."""
    peak = measured
    if place.device != "cpu":
        precision = own.about["precision"]
        peak = gpu_peak(own.about["gpu"], precision)
        reason = None if peak else f"the {precision} peak of {own.about['gpu']} is not known"
    return {
        "flop_per_step": workload.flop,
        "flop_per_second": rate.median * workload.flop,
        "peak_flop_per_second": peak,
        "fraction_of_peak": rate.median * workload.flop / peak if peak else None,
        "fraction_of_peak_note": reason,
    }


def _machine(contenders: Sequence[Contender]) -> Result:
    abouts = [one.about for one in contenders]
    versions = {name: about[name] for about in abouts for name in LIBRARIES if name in about}
    gpu = {name: abouts[0][name] for name in ("gpu", "precision") if name in abouts[0]}
    return describe(versions) | gpu


def summary(result: Result) -> str:
    """A few lines for people."""
    unit = "sequences/s" if "sequences_per_second" in result else "seed-steps/s"
    own = result.get("sequences_per_second") or result["seed_steps_per_second"]
    share = result["fraction_of_peak"]
    which = "measured" if result["device"] == "cpu" else "stated"
    of_peak = f", {share:.1%} of the {which} peak" if share else ""
    lines = [
        f"{result['family']}, {result['filters']} filters, lengths {result['lengths']}, "
        f"{result['seeds']} seeds, engine {result['backend']}",
        f"  ours {own:.4g} {unit}{of_peak}, {result['peak_bytes'] / 1e6:.0f} MB",
    ]
    for name, rate in result["peers"].items():
        lines.append(
            f"  {name} {rate:.4g} {unit}: ours is {result['ratios'][name]:.2f} x; "
            f"{result['peer_peak_bytes'][name] / 1e6:.0f} MB a process"
        )
    return "\n".join(lines + [f"  {name}: {why}" for name, why in result["left_out"].items()])
