"""Rows of the named queries as the API's models."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine

from db import queries
from db.engine import reading
from db.reuse import reusable
from service.schemas import Progress, Rule, Sweep, SweepPreview, SweepSummary
from service.version import code_version
from sweeps.expansion import Configuration
from sweeps.preview import preview
from sweeps.spec import SweepSpec


def rule_of(row: Mapping[str, Any]) -> Rule:
    """A sweep's success rule."""
    return Rule(**{key: row[f"success_{key}"] for key in Rule.model_fields})


def progress_of(conn: Connection, sweep_id: str) -> Progress:
    """How far a sweep is."""
    return Progress.model_validate(queries.progress(conn, sweep_id))


def sweep_of(conn: Connection, sweep_id: str) -> Sweep:
    """One sweep as the API shows it.

    Raises:
        SweepNotFound: There is no such sweep.
    """
    row = queries.sweep(conn, sweep_id)
    return Sweep(**row, rule=rule_of(row), progress=progress_of(conn, sweep_id))


def sweep_summary(row: Mapping[str, Any]) -> SweepSummary:
    """A row of `list_sweeps`, which holds the counts too."""
    return SweepSummary(**row, rule=rule_of(row), progress=Progress.model_validate(row))


def estimate(engine: Engine, spec: SweepSpec) -> SweepPreview:
    """What a spec would run, by what was measured here so far."""
    with reading(engine) as conn:

        def seconds_per_step(configuration: Configuration) -> float | None:
            return queries.history_seconds_per_step(conn, digest=configuration.digest)

        def with_result(digests: Sequence[str]) -> Mapping[str, int]:
            return reusable(conn, digests, spec.seeds.all, code_version())

        found = preview(spec, history=seconds_per_step, reusable=with_result)
    numbers = {key: getattr(found, key) for key in SweepPreview.model_fields if key != "labels"}
    return SweepPreview(**numbers, labels=[each.label for each in found.listed])
