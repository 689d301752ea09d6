"""Learning curves point by point: a page at a time, or one after another for a whole file."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from db.paging import DEFAULT_LIMIT, Page, Row, page
from db.views import learning_curves

#: Rows fetched at a time of a list that is read once and kept nowhere.
_FETCHED = 1000


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
    """The sweep's rows of `learning_curves`, by configuration, kind, task, length, step, seed."""
    query = _curves(sweep_id, configuration_id, kind, task, length)
    return page(conn, query, _order(), cursor=cursor, limit=limit)


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
    query = _curves(sweep_id, configuration_id, kind, task, length).order_by(*_order())
    reading = conn.execution_options(yield_per=_FETCHED)
    for row in reading.execute(query).mappings():
        yield dict(row)


def _curves(
    sweep_id: str,
    configuration_id: int | None,
    kind: str | None,
    task: str | None,
    length: int | None,
) -> Select[Any]:
    v = learning_curves.c
    wanted = {v.configuration_id: configuration_id, v.kind: kind, v.task: task, v.length: length}
    query = select(learning_curves).where(v.sweep_id == sweep_id)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    return query


def _order() -> list[ColumnElement[Any]]:
    v = learning_curves.c
    return [v.configuration_id, v.kind, v.task, v.length, v.step, v.seed]
