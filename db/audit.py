"""What a proof of a sweep reads: its rows as they are, counted as little as possible.

`service.verification` holds them against the sweep's spec.
"""

from typing import Any

from sqlalchemy import Connection, Select, Table, func, select

from db.models import (
    carry_results,
    checkpoints,
    evaluations,
    probe_results,
    seed_runs,
    training_epochs,
)
from db.paging import Row, rows_of


def seed_runs_of(conn: Connection, sweep_id: str) -> list[Row]:
    """Every seed run of a sweep, with the checkpoint the record points to.

    Returns:
        Rows of `id, configuration_id, seed, state, steps, max_steps, reused_from` and
        `checkpoint_step`, `path`, `sha256` (None without a checkpoint), by configuration and seed.
    """
    s, k = seed_runs.c, checkpoints.c
    return rows_of(
        conn.execute(
            select(
                s.id, s.configuration_id, s.seed, s.state, s.steps, s.max_steps, s.reused_from,
                k.step.label("checkpoint_step"), k.path, k.sha256,
            )
            .outerjoin(checkpoints, k.seed_run_id == s.id)
            .where(s.sweep_id == sweep_id)
            .order_by(s.configuration_id, s.seed)
        )
    )  # fmt: skip


def tests_by_step(conn: Connection, configuration_id: int) -> list[Row]:
    """How many tests each seed run of a configuration has at each step: `seed_run_id, step, rows`.

    The primary key holds each task and length once a step, so a number says that all are there.
    """
    return _by_step(conn, configuration_id, evaluations)


def epochs_by_step(conn: Connection, configuration_id: int) -> list[Row]:
    """How many training rows each seed run has at each step: `seed_run_id, step, rows`."""
    return _by_step(conn, configuration_id, training_epochs)


def tests_by_kind(conn: Connection, configuration_id: int) -> list[Row]:
    """What a configuration was tested on: `task, length, sequences`, each combination once."""
    e = evaluations.c
    kinds = select(e.task, e.length, e.sequences).distinct()
    return rows_of(conn.execute(_of(kinds, evaluations, configuration_id)))


def carries_by_task(conn: Connection, configuration_id: int) -> list[Row]:
    """The carry results of a configuration: `seed_run_id, task, step`."""
    r = carry_results.c
    return rows_of(
        conn.execute(_of(select(r.seed_run_id, r.task, r.step), carry_results, configuration_id))
    )


def probes_by_task(conn: Connection, configuration_id: int) -> list[Row]:
    """How many points of each probe were asked: `seed_run_id, task, probe, step, rows`."""
    p = probe_results.c
    key = (p.seed_run_id, p.task, p.probe, p.step)
    query = _of(select(*key, func.count().label("rows")), probe_results, configuration_id)
    return rows_of(conn.execute(query.group_by(*key)))


def _by_step(conn: Connection, configuration_id: int, table: Table) -> list[Row]:
    t = table.c
    counted = select(t.seed_run_id, t.step, func.count().label("rows"))
    query = _of(counted, table, configuration_id)
    return rows_of(conn.execute(query.group_by(t.seed_run_id, t.step)))


def _of(query: Select[Any], table: Table, configuration_id: int) -> Select[Any]:
    return query.join(seed_runs, seed_runs.c.id == table.c.seed_run_id).where(
        seed_runs.c.configuration_id == configuration_id
    )
