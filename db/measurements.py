"""What figures ask beyond the named queries: a row a seed run and task, or a seed run and step.

Rows are plain dictionaries, each with `seed_run_id`, ordered by it.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    select,
)

from db.models import evaluations, probe_results, seed_runs, training_epochs
from db.paging import Row, rows_of

#: Ids named in one query: databases limit how many parameters one may have.
_IDS = 500


def task_summaries(
    conn: Connection,
    sweep_id: str,
    *,
    length: int,
    below: float,
    metric: str = "sequence_error",
    worst_task: bool = False,
) -> list[Row]:
    """How each seed run did over all its tests of one length, a row a task.

    Args:
        conn: A connection.
        sweep_id: The sweep.
        length: The tested length.
        below: The bound an error must be below to count.
        metric: `sequence_error` or `symbol_error`.
        worst_task: One row a seed run instead, with the task that does worst at each step; `task`
            is None then.

    Returns:
        Rows of `seed_run_id, task, tests, best, first_below, tests_after_below`: how many tests
        there were, the smallest error, the first step with an error below the bound, and how many
        tests came after the last such one (0: the last test itself). The last two are None where no
        test was below.
    """
    points = _tests(sweep_id, length, metric, worst_task)
    p = points.c
    hits = (
        select(
            p.seed_run_id,
            p.task,
            func.min(p.step).label("first_below"),
            func.max(p.step).label("last_below"),
        )
        .where(p.value < below)
        .group_by(p.seed_run_id, p.task)
        .subquery()
    )
    same = and_(
        hits.c.seed_run_id == p.seed_run_id,
        func.coalesce(hits.c.task, "") == func.coalesce(p.task, ""),
    )
    after = func.count(case((p.step > hits.c.last_below, 1)))
    query = (
        select(
            p.seed_run_id,
            p.task,
            func.count().label("tests"),
            func.min(p.value).label("best"),
            hits.c.first_below,
            case((hits.c.first_below.is_not(None), after)).label("tests_after_below"),
        )
        .select_from(points.outerjoin(hits, same))
        .group_by(p.seed_run_id, p.task, hits.c.first_below)
        .order_by(p.seed_run_id, p.task)
    )
    return rows_of(conn.execute(query))


def training_summaries(conn: Connection, sweep_id: str, *, below: float) -> list[Row]:
    """The smallest training error of each seed run, a row a task trained.

    Returns:
        Rows of `seed_run_id, task, epochs, best, first_below`: of the sequence error that the
        batches of an epoch had, at whatever length the curriculum was.
    """
    t = training_epochs.c
    value = _share(t.wrong_sequences, t.sequences)
    query = (
        select(
            t.seed_run_id,
            t.task,
            func.count().label("epochs"),
            func.min(value).label("best"),
            func.min(case((value < below, t.step))).label("first_below"),
        )
        .join(seed_runs, seed_runs.c.id == t.seed_run_id)
        .where(seed_runs.c.sweep_id == sweep_id)
        .group_by(t.seed_run_id, t.task)
        .order_by(t.seed_run_id, t.task)
    )
    return rows_of(conn.execute(query))


def seed_points(
    conn: Connection,
    configuration_ids: Collection[int],
    *,
    kind: str,
    task: str,
    metric: str = "sequence_error",
    length: int | None = None,
) -> list[Row]:
    """The learning curves of some configurations on one task, seed run by seed run.

    Args:
        conn: A connection.
        configuration_ids: The configurations.
        kind: `test` or `training`.
        task: The task.
        metric: `sequence_error` or `symbol_error`.
        length: Only this tested length; training curves have the curriculum's.

    Returns:
        Rows of `configuration_id, seed_run_id, step, value`, by seed run and step.
    """
    table = evaluations if kind == "test" else training_epochs
    m = table.c
    query = (
        select(
            seed_runs.c.configuration_id,
            m.seed_run_id,
            m.step,
            _value(table, metric).label("value"),
        )
        .join(seed_runs, seed_runs.c.id == m.seed_run_id)
        .where(m.task == task, m.sequences > 0)
        .order_by(m.seed_run_id, m.step)
    )
    if kind == "test" and length is not None:
        query = query.where(m.length == length)
    ids = list(configuration_ids)
    found: list[Row] = []
    for start in range(0, len(ids), _IDS):
        chosen = seed_runs.c.configuration_id.in_(ids[start : start + _IDS])
        found += rows_of(conn.execute(query.where(chosen)))
    return found


def last_tests(conn: Connection, sweep_id: str) -> list[Row]:
    """Every seed run's last test of each task and length, with raw counts.

    Returns:
        Rows of `seed_run_id, task, length, step, sequences, wrong_sequences, symbols,
        wrong_symbols`.
    """
    e = evaluations.c
    last = (
        select(e.seed_run_id, e.length, e.task, func.max(e.step).label("step"))
        .join(seed_runs, seed_runs.c.id == e.seed_run_id)
        .where(seed_runs.c.sweep_id == sweep_id)
        .group_by(e.seed_run_id, e.length, e.task)
        .subquery()
    )
    same = and_(*(e[name] == last.c[name] for name in ("seed_run_id", "length", "task", "step")))
    columns = [e[name] for name in ("seed_run_id", "task", "length", "step")]
    counts = [e[name] for name in ("sequences", "wrong_sequences", "symbols", "wrong_symbols")]
    query = select(*columns, *counts).join(last, same)
    return rows_of(conn.execute(query.order_by(e.seed_run_id, e.task, e.length)))


def probes(conn: Connection, sweep_id: str, probe: str) -> list[Row]:
    """What every seed run did at each point of a probe: rows of the table, with raw counts."""
    p = probe_results.c
    query = (
        select(probe_results)
        .join(seed_runs, seed_runs.c.id == p.seed_run_id)
        .where(seed_runs.c.sweep_id == sweep_id, p.probe == probe)
        .order_by(*probe_results.primary_key)
    )
    return rows_of(conn.execute(query))


def _share(wrong: ColumnElement[Any], of: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(wrong, Double) / func.nullif(of, 0)


def _value(table: Any, metric: str) -> ColumnElement[Any]:
    m = table.c
    if metric == "symbol_error":
        return _share(m.wrong_symbols, m.symbols)
    return _share(m.wrong_sequences, m.sequences)


def _tests(sweep_id: str, length: int, metric: str, worst_task: bool) -> Subquery:
    """One error a seed run, step and task."""
    e = evaluations.c
    value: ColumnElement[Any] = _value(evaluations, metric)
    task: ColumnElement[Any] = cast(null(), e.task.type) if worst_task else e.task
    query: Select[Any] = (
        select(
            e.seed_run_id,
            task.label("task"),
            e.step,
            (func.max(value) if worst_task else value).label("value"),
        )
        .join(seed_runs, seed_runs.c.id == e.seed_run_id)
        .where(seed_runs.c.sweep_id == literal(sweep_id), e.length == length)
    )
    if worst_task:
        query = query.group_by(e.seed_run_id, e.step)
    return query.subquery()
