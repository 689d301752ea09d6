"""What a sweep would be, before anything runs: how much, how long, and what it could show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ngpu_core.memory import in_units
from ngpu_core.statistics import detectable_difference
from sweeps.duration import counted_seconds, gflop_per_second
from sweeps.expansion import Configuration, configurations, packs
from sweeps.packing import memory_budget, predicted_bytes
from sweeps.spec import SweepSpec
from sweeps.terms import Resources

#: Configurations spelled out at most.
LISTED = 20
#: Measured seconds a step of one seed, or None where there is no measurement.
History = Callable[[Configuration], float | None]
#: Of configurations' digests: how many seeds of each need no training.
Reusable = Callable[[Sequence[str]], Mapping[str, int]]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A sweep in numbers."""

    configurations: int
    #: Points of the grid that `exclude` leaves out.
    excluded: int
    seed_runs: int
    #: Of these, trained before: their results are taken over.
    reused: int
    trials: int
    #: Training steps summed over all seed runs, none stopping early.
    seed_steps: int
    #: Time for those not reused, one trial after another; divide by the trials at once.
    estimated_hours: float
    #: Where that estimate comes from.
    basis: str
    #: Predicted bytes of device memory of the largest trial.
    trial_bytes: int
    #: That it does not fit in the memory a trial is taken to have, and what to do; None if it does.
    memory_warning: str | None
    #: Smallest difference between two configurations' success fractions that this many seeds show
    #: with 80 % power at the 95 % level.
    detectable_difference: float
    #: The first configurations.
    listed: tuple[Configuration, ...]


def unmeasured(configuration: Configuration) -> None:
    """The history of a service that has run nothing yet."""
    del configuration


def untrained(digests: Sequence[str]) -> Mapping[str, int]:
    """What such a service can take over."""
    del digests
    return {}


def preview(
    spec: SweepSpec, *, history: History = unmeasured, reusable: Reusable = untrained
) -> Preview:
    """Count a sweep and estimate its cost.

    Args:
        spec: The sweep.
        history: Seconds a step of one seed took for a configuration, where that was measured.
        reusable: How many of the sweep's seeds have a result already, by configuration digest.
    """
    found = configurations(spec)
    seeds = spec.seeds.count
    known = reusable([each.digest for each in found])
    steps = {each.position: each.run.training.max_steps for each in found}
    left = {each.position: seeds - known.get(each.digest, 0) for each in found}
    measured = {each.position: seconds for each in found if (seconds := history(each)) is not None}
    planned = packs(spec, found)
    largest = {plan.configuration: len(plan.seeds) for plan in reversed(planned)}
    rates = {each.position: gflop_per_second(each.run, spec.resources) for each in found}
    seconds = sum(
        left[each.position]
        * steps[each.position]
        * measured.get(each.position, counted_seconds(each.run, rates[each.position]))
        for each in found
    )
    trial_bytes = max(
        predicted_bytes(each.run, spec.resources, largest[each.position]) for each in found
    )
    return Preview(
        configurations=len(found),
        excluded=spec.points.size - len(found),
        seed_runs=len(found) * seeds,
        reused=len(found) * seeds - sum(left.values()),
        trials=len(planned),
        seed_steps=seeds * sum(steps.values()),
        estimated_hours=seconds / 3600,
        basis=_basis(found, measured, rates),
        trial_bytes=trial_bytes,
        memory_warning=_memory_warning(trial_bytes, spec.resources),
        detectable_difference=detectable_difference(seeds),
        listed=tuple(found[:LISTED]),
    )


def _memory_warning(needed: int, resources: Resources) -> str | None:
    budget = memory_budget(resources)
    if needed <= budget:
        return None
    remedy = "say in resources.memory what it has"
    if resources.seeds_per_trial not in ("auto", 1):
        remedy = f"set resources.seeds_per_trial to auto, or {remedy}"
    return (
        f"the largest trial needs {in_units(needed)} even when it keeps as little as possible, and "
        f"is taken to have {in_units(budget)}: it will train its seeds in smaller parts, or fail; "
        f"{remedy}"
    )


def _basis(
    found: Sequence[Configuration], measured: Mapping[int, float], rates: Mapping[int, float]
) -> str:
    assumed = " or ".join(f"{rate:,.0f}" for rate in sorted(set(rates.values()), reverse=True))
    arithmetic = f"arithmetic at an assumed {assumed} GFLOP/s a trial, at full training length"
    if not measured:
        return f"nothing measured yet: {arithmetic}"
    if len(measured) == len(found):
        return "measured: seconds a step in earlier runs of the same configurations"
    return f"measured for {len(measured)} of {len(found)} configurations; the rest {arithmetic}"
