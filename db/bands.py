"""Learning curves over seeds: the median, a 10–90 % band and the number of seeds at each step.

The database counts how many seeds have each error at each step, which are few rows however many
seeds there are; quantiles, linear between order statistics (numpy's default), are worked out here,
the same for both databases.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Double, Select, Table, cast, func, null, select

from db.models import configurations, evaluations, seed_runs, training_epochs
from db.paging import Row

#: What can be summarised.
METRICS = ("sequence_error", "symbol_error", "loss")
_TABLES: dict[str, Table] = {"test": evaluations, "training": training_epochs}

T = TypeVar("T")


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
    most_steps: int | None = None,
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
        most_steps: Only so many steps, evenly spaced among those of the seed that got furthest;
            None: all.

    Returns:
        Rows of `configuration_id, configuration, task, length` (None for training), `step, median,
        low, high, seeds`. A seed that ended earlier is not among the `seeds` of a step.

    Raises:
        ValueError: There is no such metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}: must be one of {', '.join(METRICS)}")
    table = _TABLES.get(kind)
    if table is None or metric not in _values(table):
        return []
    chosen = _chosen(sweep_id, configuration_id)
    conditions = list(chosen)
    if task is not None:
        conditions.append(table.c.task == task)
    if length is not None:
        conditions.append(table.c.length == length)
    if most_steps is not None:
        steps = _steps(conn, table, chosen, length)
        conditions.append(table.c.step.in_(evenly(steps, most_steps)))
    points = _points(table, metric).where(*conditions)
    counted = conn.execute(_counts(points, worst_task)).all()
    labels = _labels(conn, {row.configuration_id for row in counted})
    return list(_summaries(counted, labels))


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    last = len(items) - 1
    return [items[place * last // (most - 1)] for place in range(most)]


def _values(table: Table) -> dict[str, Any]:
    """What each metric is, in a row of the table."""
    m = table.c
    values = {
        "sequence_error": cast(m.wrong_sequences, Double) / func.nullif(m.sequences, 0),
        "symbol_error": cast(m.wrong_symbols, Double) / func.nullif(m.symbols, 0),
    }
    return {**values, "loss": m.loss} if "loss" in m else values


def _chosen(sweep_id: str, configuration_id: int | None) -> list[Any]:
    """Which seed runs."""
    s = seed_runs.c
    both = [s.sweep_id == sweep_id]
    return both if configuration_id is None else [*both, s.configuration_id == configuration_id]


def _steps(conn: Connection, table: Table, chosen: list[Any], length: int | None) -> list[int]:
    """The steps at which the seed that got furthest was measured, ascending."""
    s = seed_runs.c
    furthest = select(s.id).where(*chosen).order_by(s.steps.desc(), s.id).limit(1)
    steps = select(table.c.step).distinct().where(table.c.seed_run_id == furthest.scalar_subquery())
    if length is not None:
        steps = steps.where(table.c.length == length)
    return list(conn.execute(steps.order_by(table.c.step)).scalars())


def _points(table: Table, metric: str) -> Select[Any]:
    """One value a seed, task, length and step."""
    m, value = table.c, _values(table)[metric]
    length: ColumnElement[Any] = m.length if table is evaluations else cast(null(), m.length.type)
    return (
        select(
            seed_runs.c.configuration_id,
            m.task,
            length.label("length"),
            m.step,
            m.seed_run_id,
            value.label("value"),
        )
        .join(seed_runs, seed_runs.c.id == m.seed_run_id)
        .where(value.is_not(None))
    )


def _counts(points: Select[Any], worst_task: bool) -> Select[Any]:
    """How many seeds have each value."""
    p = points.subquery().c
    if worst_task:
        worst = select(
            p.configuration_id,
            cast(null(), p.task.type).label("task"),
            p.length,
            p.step,
            func.max(p.value).label("value"),
        ).group_by(p.configuration_id, p.length, p.step, p.seed_run_id)
        p = worst.subquery().c
    key = (p.configuration_id, p.task, p.length, p.step, p.value)
    return select(*key, func.count().label("seeds")).group_by(*key)


def _labels(conn: Connection, ids: set[int]) -> dict[int, str]:
    c = configurations.c
    return {row.id: row.label for row in conn.execute(select(c.id, c.label).where(c.id.in_(ids)))}


def _summaries(counted: Sequence[Any], labels: dict[int, str]) -> Iterable[Row]:
    ordered = sorted((row[0], row[1] or "", row[2] or 0, *row[3:]) for row in counted)
    for (configuration, task, length, step), group in groupby(ordered, itemgetter(0, 1, 2, 3)):
        values = [(value, seeds) for *_, value, seeds in group]
        yield {
            "configuration_id": configuration,
            "configuration": labels[configuration],
            "task": task or None,
            "length": length or None,
            "step": step,
            "median": quantile(values, 0.5),
            "low": quantile(values, 0.1),
            "high": quantile(values, 0.9),
            "seeds": sum(seeds for _, seeds in values),
        }


def quantile(values: Sequence[tuple[float, int]], level: float) -> float:
    """A quantile of values given with their numbers, ascending; linear between two of them."""
    rank = level * (sum(number for _, number in values) - 1)
    below = int(rank)
    return _ranked(values, below) * (1 - (rank - below)) + _ranked(values, below + 1) * (
        rank - below
    )


def _ranked(values: Sequence[tuple[float, int]], rank: int) -> float:
    """The value with this rank, from 0; the last one beyond the end."""
    for value, number in values:
        if rank < number:
            return value
        rank -= number
    return values[-1][0]
