"""Learning curves over seeds: the median, a 10–90 % band and the number of seeds at each step.

Quantiles are linear between order statistics (numpy's default), written so that SQLite, which has
none of its own, and PostgreSQL give the same numbers.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Double, Select, case, cast, func, null, select

from db.paging import Row, rows_of
from db.views import learning_curves

#: Columns of `learning_curves` that can be summarised.
METRICS = ("sequence_error", "symbol_error", "loss")


def curve_bands(
    conn: Connection,
    sweep_id: str,
    *,
    kind: str = "test",
    metric: str = "sequence_error",
    configuration_id: int | None = None,
    task: str | None = None,
    length: int | None = None,
    worst_task: bool = False,
) -> list[Row]:
    """Summaries over seeds, one a configuration, task, length and step.

    Training curves are not told apart by length: their seeds are at different ones.

    Args:
        conn: A connection.
        sweep_id: The sweep.
        kind: `test` or `training`.
        metric: One of `METRICS`.
        configuration_id: Only this configuration.
        task: Only this task.
        length: Only this tested length.
        worst_task: Count each seed once a step, with the task it does worst, as a success rule for
            every task does; `task` is None in the rows then.

    Returns:
        Rows of `configuration_id, configuration, task, length` (None for training), `step, median,
        low, high, seeds`. A seed that ended earlier is not among the `seeds` of a step.

    Raises:
        ValueError: There is no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}: must be one of {', '.join(METRICS)}")
    v = learning_curves.c
    query = _points(kind, v[metric], worst_task).where(v.sweep_id == sweep_id, v.kind == kind)
    wanted = {v.configuration_id: configuration_id, v.task: task, v.length: length}
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    return rows_of(conn.execute(_summary(_ranked(query))))


def _points(kind: str, value: ColumnElement[float], worst_task: bool) -> Select[Any]:
    """One value a seed, task, length and step."""
    v = learning_curves.c
    length = v.length if kind == "test" else cast(null(), v.length.type)
    task = cast(null(), v.task.type) if worst_task else v.task
    return (
        select(
            v.configuration_id,
            v.configuration,
            task.label("task"),
            length.label("length"),
            v.step,
            func.max(value).label("value"),
        )
        .where(value.is_not(None))
        .group_by(v.configuration_id, v.configuration, task, length, v.step, v.seed_run_id)
    )


def _ranked(points: Select[Any]) -> Any:
    """The points with their rank among the seeds, from 0, and the number of these."""
    p = points.subquery().c
    group = (p.configuration_id, p.task, p.length, p.step)
    place = func.row_number().over(partition_by=group, order_by=p.value) - 1
    seeds = func.count().over(partition_by=group)
    return select(*p, place.label("place"), seeds.label("seeds")).subquery().c


def _summary(p: Any) -> Select[Any]:
    key = (p.configuration_id, p.configuration, p.task, p.length, p.step)
    return (
        select(
            *key,
            _quantile(p, 0.5).label("median"),
            _quantile(p, 0.1).label("low"),
            _quantile(p, 0.9).label("high"),
            p.seeds,
        )
        .group_by(*key, p.seeds)
        .order_by(p.configuration_id, p.task, p.length, p.step)
    )


def _quantile(p: Any, level: float) -> ColumnElement[float]:
    """Each value weighs 1 minus its distance in rank from the quantile's rank, at least 0."""
    distance = func.abs(p.place - cast(level, Double) * (p.seeds - 1))
    return func.sum(case((distance < 1, p.value * (1 - distance)), else_=0.0))
