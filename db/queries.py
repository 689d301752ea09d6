"""The named questions: REST, CLI and pages ask these, so that all faces show the same numbers.

Rows are plain dictionaries. Lists that may be long come as a `Page`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    and_,
    case,
    cast,
    func,
    literal,
    select,
)

from db.curve_pages import curve_rows
from db.errors import SeedRunNotFound, SweepNotFound
from db.events import events_since
from db.models import (
    carry_trials as carry_trials_table,
)
from db.models import checkpoints, evaluations, seed_runs, sweeps
from db.models import configurations as configurations_table
from db.paging import DEFAULT_LIMIT, Page, Row, page, rows_of
from db.states import OPEN_SEEDS, SeedState
from db.views import (
    carry_thresholds,
    learning_curves,
    probe_errors,
    seed_results,
    success_fractions,
)
from db.views import failures as failures_view

__all__ = [
    "carry_trials",
    "configurations",
    "curves",
    "evaluations_by_length",
    "events_since",
    "failures",
    "history_seconds_per_step",
    "list_sweeps",
    "probes",
    "progress",
    "seed",
    "seed_curves",
    "seeds",
    "success",
    "sweep",
    "thresholds",
]


def list_sweeps(
    conn: Connection,
    *,
    state: str | None = None,
    name: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page:
    """Sweeps, the newest first, each with its counts as `progress` has them.

    Beside those stand `configurations` (how many), `counted` and `succeeded` by its success rule.

    Args:
        conn: A connection.
        state: Only sweeps in this state.
        name: Only sweeps of this name.
        cursor: Of the former page.
        limit: Sweeps at most.
    """
    query = select(*(column for column in _public_sweep() if column.name != "spec"))
    if state is not None:
        query = query.where(sweeps.c.state == state)
    if name is not None:
        query = query.where(sweeps.c.name == name)
    found = page(conn, query, [sweeps.c.id], cursor=cursor, limit=limit, descending=True)
    ids = [row["id"] for row in found.items]
    counts, successes = _progress(conn, ids), _successes(conn, ids)
    for row in found.items:
        row.update(counts[row["id"]], **successes[row["id"]])
    return found


def _public_sweep() -> list[ColumnElement[Any]]:
    return [column for column in sweeps.c if column.name not in ("dedupe_key", "idempotency_key")]


def _successes(conn: Connection, sweep_ids: Sequence[str]) -> dict[str, Row]:
    f = success_fractions.c
    found = conn.execute(
        select(
            f.sweep_id,
            func.count().label("configurations"),
            cast(func.sum(f.counted), Double).label("counted"),
            cast(func.sum(f.succeeded), Double).label("succeeded"),
        )
        .where(f.sweep_id.in_(sweep_ids))
        .group_by(f.sweep_id)
    )
    return {
        row.sweep_id: {
            "configurations": row.configurations,
            "counted": int(row.counted),
            "succeeded": int(row.succeeded),
        }
        for row in found
    }


def sweep(conn: Connection, sweep_id: str) -> Row:
    """One sweep: the columns of its table, the spec among them.

    Raises:
        SweepNotFound: There is no such sweep.
    """
    found = conn.execute(select(*_public_sweep()).where(sweeps.c.id == sweep_id)).mappings().first()
    if found is None:
        raise SweepNotFound(sweep_id)
    return dict(found)


def progress(conn: Connection, sweep_id: str) -> Row:
    """How far a sweep is.

    Returns:
        `requested` and the seed runs in each state; `steps_done` and `steps_total` (a seed run that
        has ended counts with the steps it took); `seed_steps_per_second`, the running seeds' mean
        rate times their number; `seconds_left` at that rate. Both are None while nothing tells.

    Raises:
        SweepNotFound: There is no such sweep.
    """
    found = _progress(conn, [sweep_id])
    if sweep_id not in found:
        raise SweepNotFound(sweep_id)
    return found[sweep_id]


def _progress(conn: Connection, sweep_ids: Sequence[str]) -> dict[str, Row]:
    s = seed_runs.c
    is_open = s.state.in_(OPEN_SEEDS)
    moving = and_(s.state == SeedState.RUNNING, s.wall_seconds > s.attempt_wall_seconds)
    rate = cast(s.steps - s.attempt_step, Double) / (s.wall_seconds - s.attempt_wall_seconds)
    found = conn.execute(
        select(
            s.sweep_id,
            func.count().label("requested"),
            *(func.count(case((s.state == state, 1))).label(state.value) for state in SeedState),
            func.sum(s.steps).label("steps_done"),
            func.sum(case((is_open, s.max_steps), else_=s.steps)).label("steps_total"),
            func.avg(case((moving, rate))).label("rate"),
        )
        .where(s.sweep_id.in_(sweep_ids))
        .group_by(s.sweep_id)
    )
    return {row["sweep_id"]: _with_time_left(dict(row)) for row in found.mappings()}


def _with_time_left(row: Row) -> Row:
    del row["sweep_id"]
    rate = (row.pop("rate") or 0.0) * row["running"] or None
    left = row["steps_total"] - row["steps_done"]
    row["seed_steps_per_second"] = rate
    row["seconds_left"] = left / rate if rate else (0.0 if left == 0 else None)
    return row


def success(conn: Connection, sweep_id: str) -> list[Row]:
    """The sweep's rows of `success_fractions`, in the grid's order."""
    f = success_fractions.c
    return rows_of(
        conn.execute(select(success_fractions).where(f.sweep_id == sweep_id).order_by(f.position))
    )


def configurations(conn: Connection, sweep_id: str) -> list[Row]:
    """The sweep's configurations in the grid's order, each with its run configuration."""
    c = configurations_table.c
    return rows_of(
        conn.execute(
            select(configurations_table).where(c.sweep_id == sweep_id).order_by(c.position)
        )
    )


def seeds(
    conn: Connection,
    sweep_id: str,
    *,
    configuration_id: int | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page:
    """The sweep's rows of `seed_results`, by configuration and seed."""
    r = seed_results.c
    query = select(seed_results).where(r.sweep_id == sweep_id)
    if configuration_id is not None:
        query = query.where(r.configuration_id == configuration_id)
    if state is not None:
        query = query.where(r.state == state)
    return page(conn, query, [r.configuration_id, r.seed], cursor=cursor, limit=limit)


def seed(conn: Connection, seed_run_id: int) -> Row:
    """One row of `seed_results` with its provenance.

    Returns:
        The view's columns and `run` (the run configuration), `configuration_digest`,
        `sweep_digest`, `pack_id`, `checkpoint_step`, `checkpoint_path`, `checkpoint_sha256`,
        `checkpoint_bytes` (None without a checkpoint).

    Raises:
        SeedRunNotFound: There is no such seed run.
    """
    r, c, k = seed_results.c, configurations_table.c, checkpoints.c
    query = (
        select(
            seed_results,
            c.run,
            c.digest.label("configuration_digest"),
            sweeps.c.digest.label("sweep_digest"),
            seed_runs.c.pack_id,
            *(column.label(f"checkpoint_{column.name}") for column in (k.step, k.path)),
            *(column.label(f"checkpoint_{column.name}") for column in (k.sha256, k.bytes)),
        )
        .join(seed_runs, seed_runs.c.id == r.seed_run_id)
        .join(configurations_table, c.id == r.configuration_id)
        .join(sweeps, sweeps.c.id == r.sweep_id)
        .outerjoin(checkpoints, k.seed_run_id == r.seed_run_id)
        .where(r.seed_run_id == seed_run_id)
    )
    found = conn.execute(query).mappings().first()
    if found is None:
        raise SeedRunNotFound(seed_run_id)
    return dict(found)


def curves(
    conn: Connection,
    sweep_id: str,
    *,
    configuration_id: int | None = None,
    kind: str | None = None,
    task: str | None = None,
    length: int | None = None,
) -> list[Row]:
    """The sweep's rows of `learning_curves`, one a seed and measurement.

    They are many: name a configuration, read them by `db.curve_pages`, or ask
    `db.bands.curve_bands` for medians over seeds.
    """
    return list(
        curve_rows(
            conn, sweep_id, configuration_id=configuration_id, kind=kind, task=task, length=length
        )
    )


def seed_curves(conn: Connection, seed_run_id: int) -> list[Row]:
    """The seed run's rows of `learning_curves`, by kind, task, length and step."""
    v = learning_curves.c
    query = select(learning_curves).where(v.seed_run_id == seed_run_id)
    return rows_of(conn.execute(query.order_by(v.kind, v.task, v.length, v.step)))


def evaluations_by_length(conn: Connection, seed_run_id: int) -> list[Row]:
    """The seed run's last test of each task and length, with raw counts.

    Returns:
        Rows of `task, length, step, sequences, wrong_sequences, symbols, wrong_symbols,
        sequence_error, symbol_error`, by task and length.
    """
    e = evaluations.c
    last = (
        select(e.task, e.length, func.max(e.step).label("step"))
        .where(e.seed_run_id == seed_run_id)
        .group_by(e.task, e.length)
        .subquery()
    )
    query = (
        select(
            e.task,
            e.length,
            e.step,
            e.sequences,
            e.wrong_sequences,
            e.symbols,
            e.wrong_symbols,
            (cast(e.wrong_sequences, Double) / e.sequences).label("sequence_error"),
            (cast(e.wrong_symbols, Double) / e.symbols).label("symbol_error"),
        )
        .join(last, (last.c.task == e.task) & (last.c.length == e.length) & (last.c.step == e.step))
        .where(e.seed_run_id == seed_run_id)
        .order_by(e.task, e.length)
    )
    return rows_of(conn.execute(query))


def carry_trials(conn: Connection, seed_run_id: int) -> list[Row]:
    """The seed run's last trials of each task: `task, step, carry_length, trials, wrong`."""
    t = carry_trials_table.c
    last = (
        select(t.task, func.max(t.step).label("step"))
        .where(t.seed_run_id == seed_run_id)
        .group_by(t.task)
        .subquery()
    )
    query = (
        select(t.task, t.step, t.carry_length, t.trials, t.wrong)
        .join(last, (last.c.task == t.task) & (last.c.step == t.step))
        .where(t.seed_run_id == seed_run_id)
        .order_by(t.task, t.carry_length)
    )
    return rows_of(conn.execute(query))


def thresholds(conn: Connection, sweep_id: str) -> list[Row]:
    """The sweep's rows of `carry_thresholds`, by configuration, task and seed."""
    t = carry_thresholds.c
    query = select(carry_thresholds).where(t.sweep_id == sweep_id)
    return rows_of(conn.execute(query.order_by(t.configuration_id, t.task, t.seed)))


def probes(
    conn: Connection,
    sweep_id: str,
    *,
    configuration_id: int | None = None,
    task: str | None = None,
    probe: str | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page:
    """The sweep's rows of `probe_errors`, by seed run, task, probe and point."""
    e = probe_errors.c
    query = select(probe_errors).where(e.sweep_id == sweep_id)
    for column, chosen in (
        (e.configuration_id, configuration_id),
        (e.task, task),
        (e.probe, probe),
    ):
        if chosen is not None:
            query = query.where(column == chosen)
    return page(
        conn, query, [e.seed_run_id, e.task, e.probe, e.point, e.step], cursor=cursor, limit=limit
    )


def failures(
    conn: Connection, sweep_id: str, *, cursor: str | None = None, limit: int = DEFAULT_LIMIT
) -> Page:
    """The sweep's rows of `failures`: failed before diverged before cancelled seed runs."""
    f = failures_view.c
    rank = case(
        (f.state == SeedState.FAILED, literal(0)),
        (f.state == SeedState.DIVERGED, literal(1)),
        else_=literal(2),
    )
    ranked = select(failures_view, rank.label("rank")).where(f.sweep_id == sweep_id).subquery()
    key = [ranked.c.rank, ranked.c.configuration_id, ranked.c.seed]
    found = page(conn, select(ranked), key, cursor=cursor, limit=limit)
    for row in found.items:
        del row["rank"]
    return found


def history_seconds_per_step(
    conn: Connection,
    *,
    digest: str | None = None,
    family: str | None = None,
    filters: int | None = None,
) -> float | None:
    """Measured seconds a seed-step; the seeds of a pack share its time.

    Args:
        conn: A connection.
        digest: Of configurations with exactly this digest.
        family: Else of models of this family …
        filters: … and this many filters.

    Returns:
        None: nothing like it has been trained.
    """
    s, c = seed_runs.c, configurations_table.c
    model = c.run["model"]
    by_pack = (
        select(func.max(s.wall_seconds).label("seconds"), func.sum(s.steps).label("steps"))
        .join(configurations_table, c.id == s.configuration_id)
        .where(s.steps > 0, s.wall_seconds > 0)
        .group_by(s.pack_id)
    )
    if digest is not None:
        by_pack = by_pack.where(c.digest == digest)
    if family is not None:
        by_pack = by_pack.where(model["family"].as_string() == family)
    if filters is not None:
        by_pack = by_pack.where(model["filters"].as_integer() == filters)
    packs = by_pack.subquery().c
    total = func.sum(packs.seconds) / cast(func.sum(packs.steps), Double)
    mean = conn.execute(select(total)).scalar_one()
    return None if mean is None else float(mean)
