"""A spec becomes configurations, and configurations become packs. Pure and deterministic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ngpu_core.config import RunConfig
from sweeps.canonical import digest
from sweeps.packing import pack_size
from sweeps.spec import SweepSpec


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One point of a sweep's grid: everything that fixes a result except the seed."""

    #: Place in the sweep, from 0, the last axis fastest.
    position: int
    #: SHA-256 of `run`: equal runs have equal digests, in any sweep.
    digest: str
    #: Its levels, `24 · classical · badd`; without a grid the sweep's name.
    label: str
    #: Axis -> level.
    axes: Mapping[str, str]
    run: RunConfig


@dataclass(frozen=True, kw_only=True)
class PackPlan:
    """Seeds of one configuration that are trained as one model."""

    #: Position of the configuration.
    configuration: int
    seeds: tuple[int, ...]


def configurations(spec: SweepSpec) -> list[Configuration]:
    """The configurations of a sweep, the excluded ones left out."""
    grid = spec.points
    found = []
    for position, point in enumerate(grid.points()):
        run = grid.run(point)
        found.append(
            Configuration(
                position=position,
                digest=digest(run.to_mapping()),
                label=" · ".join(point.values()) or spec.name,
                axes=point,
                run=run,
            )
        )
    return found


def packs(spec: SweepSpec, configurations: Sequence[Configuration]) -> list[PackPlan]:
    """Every seed of every configuration, once, in packs of `seeds_per_trial`."""
    seeds = spec.seeds.all
    found = []
    for each in configurations:
        size = pack_size(each.run, spec.resources, len(seeds), len(configurations))
        found += [
            PackPlan(configuration=each.position, seeds=tuple(seeds[start : start + size]))
            for start in range(0, len(seeds), size)
        ]
    return found
