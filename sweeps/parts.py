"""A pack's seeds in parts that fit in memory, each trained as a pack of its own, in turns.

A pack is sized when its sweep is submitted; what the device has is known only here. A pack that
fits is one part. Otherwise the parts take turns from checkpoint to checkpoint, one in memory at a
time, so that all seeds are at one step whenever the record is told of checkpoints.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ngpu_core.engines.choice import choose
from ngpu_core.engines.engine import Engine
from ngpu_core.memory import DoesNotFit, MemoryPlan, in_units, largest_pack, predict_memory
from sweeps.device_memory import FreeMemory
from sweeps.recorder import PackWork

#: What helps when a single seed does not fit.
ADVICE = (
    "Let fewer trials run side by side (a larger resources.cpu or resources.gpu), use a device "
    "with more memory, or lower model.filters, training.batch_size or training.max_length"
)


class TooLarge(Exception):
    """One seed alone does not fit, whatever is computed twice."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some seeds of a pack.

    Attributes:
        seeds: The seeds.
        segment: Time steps between two kept states; None keeps everything.
    """

    seeds: tuple[int, ...]
    segment: int | None


def device(work: PackWork) -> str:
    """Where a pack is trained."""
    return "cuda" if work.gpu > 0 else "cpu"


def engine_of(work: PackWork, part: Part) -> Engine:
    """What computes a part."""
    threads = max(1, work.cpu // len(part.seeds))
    return choose(work.run, device=device(work), threads=threads, segment=part.segment)


def planned_parts(work: PackWork, free: FreeMemory) -> list[Part]:
    """The pack in as few parts as fit in the trial's share, or else in what is free.

    Raises:
        TooLarge: Not even one seed fits; names the bytes.
    """
    whole = Part(seeds=work.seeds, segment=None)
    engine = _planned_as(engine_of(work, whole))
    plan = _plan(work, engine, free)
    count = -(-len(work.seeds) // plan.seeds)
    return [replace(part, segment=plan.segment) for part in _cut(whole, count)]


def smaller_parts(work: PackWork, part: Part, fault: str) -> list[Part]:
    """What to train in place of a part that ran out of memory: its halves, or less kept.

    Raises:
        TooLarge: It was one seed that kept as little as it can.
    """
    if len(part.seeds) > 1:
        return list(_cut(part, 2))
    engine = _planned_as(engine_of(work, part))
    needed = {
        segment: predict_memory(work.run, 1, engine=engine, threads=work.cpu, segment=segment)
        for segment in (part.segment, 1, 2, 4, 8)
    }
    least = min(needed, key=lambda segment: needed[segment])
    if needed[least] < needed[part.segment]:
        return [replace(part, segment=least)]
    predicted = needed[part.segment]
    raise TooLarge(
        f"seed {part.seeds[0]} alone does not fit in memory: predicted are {in_units(predicted)} "
        f"({predicted} bytes). {ADVICE}. The fault: {fault}"
    )


def _planned_as(engine: Engine) -> str:
    """What the memory plan calls an engine: seeds that share a call are held at once."""
    at_once = engine.name == "autograd" and engine.seeds_at_once
    return "autograd at once" if at_once else engine.name


def _plan(work: PackWork, engine: str, free: FreeMemory) -> MemoryPlan:
    most = len(work.seeds)
    try:
        return largest_pack(work.run, most, free.share, engine=engine, threads=work.cpu)
    except DoesNotFit:
        pass
    try:
        return largest_pack(work.run, most, free.available, engine=engine, threads=work.cpu)
    except DoesNotFit as error:
        raise TooLarge(f"{error}. {ADVICE}") from error


def _cut(part: Part, count: int) -> Iterator[Part]:
    """Nearly equal parts."""
    size, larger = divmod(len(part.seeds), count)
    start = 0
    for place in range(count):
        stop = start + size + (place < larger)
        yield replace(part, seeds=part.seeds[start:stop])
        start = stop
