"""Learning curves point by point: a page at a time, or one after another for a whole file.

They are read seed by seed, as the tables lie: whatever a sweep's size, a page reads the rows of a
few seeds, and nothing is sorted but those.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

from db.models import configurations, seed_runs
from db.paging import DEFAULT_LIMIT, Page, Row, checked, decoded, page_of
from db.views import learning_curves

#: Seeds read at first, and at most, at a time; more while those read have few rows of the kind
#: that is asked for.
_SEEDS = (4, 512)
_FEW_ROWS = 1000


def curve_page(
    conn: Connection,
    sweep_id: str,
    *,
    configuration_id: int | None = None,
    kind: str | None = None,
    task: str | None = None,
    length: int | None = None,
    cursor: str | None = None,
    limit: int = DEFAULT_LIMIT,
) -> Page:
    """The sweep's rows of `learning_curves`, by configuration, seed, kind, task, length, step.

    Raises:
        BadCursor: The cursor is not of this list.
        ValueError: The limit is out of range.
    """
    checked(limit)
    after = None if cursor is None else decoded(cursor, _order())
    points = _points(conn, sweep_id, configuration_id, kind, task, length, after)
    return page_of(list(islice(points, limit + 1)), _order(), limit)


def curve_rows(
    conn: Connection,
    sweep_id: str,
    *,
    configuration_id: int | None = None,
    kind: str | None = None,
    task: str | None = None,
    length: int | None = None,
) -> Iterator[Row]:
    """The same rows in the same order, as they are read: never all in memory.

    The connection's transaction is in use until the last one.
    """
    return _points(conn, sweep_id, configuration_id, kind, task, length, None)


def _points(
    conn: Connection,
    sweep_id: str,
    configuration_id: int | None,
    kind: str | None,
    task: str | None,
    length: int | None,
    after: Sequence[Any] | None,
) -> Iterator[Row]:
    """The rows beyond a place, some seeds' at a time."""
    v = learning_curves.c
    query = select(learning_curves).order_by(*_order())
    for column, value in {v.kind: kind, v.task: task, v.length: length}.items():
        if value is not None:
            query = query.where(column == value)
    if after is not None:
        query = query.where(tuple_(*_order()) > tuple_(*after))
    waiting = _seeds(conn, sweep_id, configuration_id, after)
    at_a_time, most = _SEEDS
    while True:
        ids = list(islice(waiting, at_a_time))
        if not ids:
            return
        rows = conn.execute(query.where(v.seed_run_id.in_(ids))).mappings().all()
        yield from map(dict, rows)
        if len(rows) < _FEW_ROWS:
            at_a_time = min(most, 2 * at_a_time)


def _seeds(
    conn: Connection,
    sweep_id: str,
    configuration_id: int | None,
    after: Sequence[Any] | None,
) -> Iterator[int]:
    """Seed runs by configuration and seed, from the one that a place is in."""
    s = seed_runs.c
    # Where the sweep lies in the index that has this order.
    first, last = conn.execute(_bounds(sweep_id, configuration_id)).one()
    if first is None:
        return
    key = tuple_(s.configuration_id, s.seed)
    query = (
        select(s.id, s.configuration_id, s.seed)
        .where(s.sweep_id == sweep_id, s.configuration_id.between(first, last))
        .order_by(s.configuration_id, s.seed)
        .limit(_SEEDS[1])
    )
    beyond = key >= tuple_(*(after[:2] if after is not None else (first, 0)))
    while found := conn.execute(query.where(beyond)).all():
        yield from (row.id for row in found)
        beyond = key > tuple_(found[-1].configuration_id, found[-1].seed)


def _bounds(sweep_id: str, configuration_id: int | None) -> Select[Any]:
    c = configurations.c
    query = select(func.min(c.id), func.max(c.id)).where(c.sweep_id == sweep_id)
    return query if configuration_id is None else query.where(c.id == configuration_id)


def _order() -> list[ColumnElement[Any]]:
    v = learning_curves.c
    return [v.configuration_id, v.seed, v.kind, v.task, v.length, v.step]
