"""A spec becomes rows: read, expanded, and written in one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from db import submission
from db.submission import NewConfiguration, NewPack, NewSweep
from db.transitions import lock_sweep
from service.version import code_version
from sweeps.expansion import Configuration, PackPlan, configurations, packs
from sweeps.spec import SweepSpec, load_spec


def new_sweep(spec: SweepSpec, *, idempotency_key: str | None = None) -> NewSweep:
    """Everything a submission of this spec writes."""
    expanded = configurations(spec)
    return NewSweep(
        name=spec.name,
        digest=spec.digest(),
        spec=spec.canonical(),
        labels=spec.labels,
        configurations=[_configuration(each) for each in expanded],
        packs=_packs(packs(spec, expanded)),
        success_metric=spec.success.metric,
        success_length=spec.success.length,
        success_below=spec.success.below,
        success_when=spec.success.when,
        success_task=spec.success.task,
        max_failures=spec.retry.max_failures,
        max_failed_seeds=spec.retry.max_failed_seeds,
        priority=spec.schedule.priority,
        max_concurrent_trials=spec.schedule.max_concurrent_trials,
        cpu=spec.resources.cpu,
        gpu=spec.resources.gpu,
        code_version=code_version(),
        idempotency_key=idempotency_key,
    )


def extend(conn: Connection, sweep_id: str, count: int) -> int:
    """Add the next `count` seeds to every configuration; the seed runs added.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: The sweep was cancelled or has failed.
        SpecError: The sweep would have more seed runs than one may have.
    """
    # Read under the sweep's lock: two extensions at once add different seeds.
    stored = lock_sweep(conn, sweep_id).spec
    spec = load_spec(_with_more_seeds(stored, count))
    added = load_spec(_only_the_last_seeds(spec.canonical(), count))
    plans = packs(added, configurations(added))
    return submission.extend(
        conn,
        sweep_id,
        spec=spec.canonical(),
        packs=_packs(plans),
        code_version=code_version(),
    )


def _with_more_seeds(spec: Mapping[str, Any], count: int) -> dict[str, Any]:
    seeds = spec["seeds"]
    return {**spec, "seeds": {**seeds, "count": seeds["count"] + count}}


def _only_the_last_seeds(spec: Mapping[str, Any], count: int) -> dict[str, Any]:
    seeds = spec["seeds"]
    first = seeds["first"] + seeds["count"] - count
    return {**spec, "seeds": {"first": first, "count": count}}


def _configuration(each: Configuration) -> NewConfiguration:
    return NewConfiguration(
        position=each.position,
        digest=each.digest,
        label=each.label,
        axes=each.axes,
        run=each.run.to_mapping(),
        max_steps=each.run.training.max_steps,
    )


def _packs(plans: Sequence[PackPlan]) -> list[NewPack]:
    return [NewPack(configuration=plan.configuration, seeds=plan.seeds) for plan in plans]
