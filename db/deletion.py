"""Deleting a sweep that has ended, with every row that belongs to it."""

from sqlalchemy import Connection, delete, select

from db.models import (
    carry_results,
    carry_trials,
    checkpoints,
    configurations,
    deliveries,
    evaluations,
    events,
    packs,
    probe_results,
    runners,
    seed_runs,
    sweeps,
    training_epochs,
    verdicts,
)
from db.states import ENDED_SWEEPS
from db.transitions import lock_sweep, require_state

#: Tables with a `seed_run_id`, and those with a `sweep_id`, each before what it refers to.
_OF_SEED_RUNS = (
    checkpoints,
    verdicts,
    probe_results,
    carry_results,
    carry_trials,
    training_epochs,
    evaluations,
)
_OF_SWEEP = (seed_runs, packs, configurations, events, deliveries, runners)


def delete_sweep(conn: Connection, sweep_id: str) -> None:
    """Delete a sweep for good. Its checkpoint files are no rows: they stay for the scheduler.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: It has not ended; cancel it first.
    """
    require_state(lock_sweep(conn, sweep_id), "be deleted", ENDED_SWEEPS)
    runs = select(seed_runs.c.id).where(seed_runs.c.sweep_id == sweep_id)
    for table in _OF_SEED_RUNS:
        conn.execute(delete(table).where(table.c.seed_run_id.in_(runs)))
    for table in _OF_SWEEP:
        conn.execute(delete(table).where(table.c.sweep_id == sweep_id))
    conn.execute(delete(sweeps).where(sweeps.c.id == sweep_id))
