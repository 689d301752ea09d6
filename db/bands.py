"""Learning curves over seeds: the median, a 10–90 % band and the number of seeds at each step.

The database counts how many seeds have each error at each step, which are few rows however many
seeds there are; quantiles, linear between order statistics (numpy's default), are worked out here,
the same for both databases.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
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
    configuration_ids: Collection[int] | None = None,
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
        configuration_ids: Only these configurations.
        task: Only this task.
        length: Only this tested length.
        worst_task: Count each seed once a step, with the task it does worst, as a success rule for
            every task does; `task` is None in the rows then.
        most_steps: Only so many steps of a configuration, evenly spaced among those of its seed
            that got furthest; None: all.

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
    labels = _labels(conn, sweep_id, configuration_ids)
    points = _points(table, metric)
    if task is not None:
        points = points.where(table.c.task == task)
    if length is not None:
        points = points.where(table.c.length == length)
    counted: list[Any] = []
    for steps, ids in _alike(conn, table, list(labels), length, most_steps).items():
        of_these = points.where(seed_runs.c.configuration_id.in_(ids))
        if steps is not None:
            of_these = of_these.where(table.c.step.in_(steps))
        counted += conn.execute(_counts(of_these, worst_task)).all()
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
        "sequence_error": _share(m.wrong_sequences, m.sequences),
        "symbol_error": _share(m.wrong_symbols, m.symbols),
    }
    return {**values, "loss": m.loss} if "loss" in m else values


def _share(part: ColumnElement[int], whole: ColumnElement[int]) -> ColumnElement[Any]:
    # Both as doubles: PostgreSQL would divide by way of its slow decimals.
    return cast(part, Double) / cast(func.nullif(whole, 0), Double)


def _alike(
    conn: Connection, table: Table, ids: Sequence[int], length: int | None, most: int | None
) -> dict[tuple[int, ...] | None, list[int]]:
    """Configurations by the steps that are read of them (None: all): one statement for each."""
    if most is None:
        return {None: list(ids)} if ids else {}
    alike: dict[tuple[int, ...] | None, list[int]] = defaultdict(list)
    for one, steps in _steps(conn, table, ids, length).items():
        alike[tuple(evenly(steps, most))].append(one)
    return alike


def _steps(
    conn: Connection, table: Table, ids: Sequence[int], length: int | None
) -> dict[int, list[int]]:
    """By configuration, the steps at which its furthest seed was measured, ascending."""
    s, m = seed_runs.c, table.c
    place = func.row_number().over(partition_by=s.configuration_id, order_by=(s.steps.desc(), s.id))
    ranked = select(s.id, place.label("place")).where(s.configuration_id.in_(ids)).subquery()
    furthest = select(ranked.c.id).where(ranked.c.place == 1)
    steps = (
        select(s.configuration_id, m.step)
        .distinct()
        .join(seed_runs, s.id == m.seed_run_id)
        .where(m.seed_run_id.in_(conn.execute(furthest).scalars().all()))
        .order_by(s.configuration_id, m.step)
    )
    if length is not None:
        steps = steps.where(m.length == length)
    found: dict[int, list[int]] = defaultdict(list)
    for one, step in conn.execute(steps):
        found[one].append(step)
    return found


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


def _labels(
    conn: Connection, sweep_id: str, configuration_ids: Collection[int] | None
) -> dict[int, str]:
    """The sweep's configurations that are asked for."""
    c = configurations.c
    query = select(c.id, c.label).where(c.sweep_id == sweep_id)
    if configuration_ids is not None:
        query = query.where(c.id.in_(configuration_ids))
    return {row.id: row.label for row in conn.execute(query)}


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
