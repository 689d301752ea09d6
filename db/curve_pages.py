"""Learning curves a page at a time, for who wants the points themselves."""

from sqlalchemy import Connection, select

from db.paging import DEFAULT_LIMIT, Page, page
from db.views import learning_curves


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
    """The sweep's rows of `learning_curves`, in the order of `queries.curves`."""
    v = learning_curves.c
    wanted = {v.configuration_id: configuration_id, v.kind: kind, v.task: task, v.length: length}
    query = select(learning_curves).where(v.sweep_id == sweep_id)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(column == value)
    key = [v.configuration_id, v.kind, v.task, v.length, v.step, v.seed]
    return page(conn, query, key, cursor=cursor, limit=limit)
