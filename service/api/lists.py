"""One list, three shapes: a page of JSON, the whole as CSV, the same values in both."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import Response
from sqlalchemy import Connection, Engine

from db.engine import reading
from db.paging import MAX_LIMIT
from db.paging import Page as Rows
from service.schemas import Page, Row
from service.tables import csv_response, csv_stream

#: (connection, cursor, limit) -> the rows after it
Fetch = Callable[[Connection, str | None, int], Rows]


def paged(
    model: type[Row],
    fetch: Fetch,
    conn: Connection,
    *,
    csv: bool,
    cursor: str | None,
    limit: int,
) -> Page[Any] | Response:
    """A page as JSON, or every row from the cursor on as CSV, read while it is sent."""
    if csv:
        # The first page is read here: what is wrong with the request has an answer of its own.
        first = fetch(conn, cursor, MAX_LIMIT)
        return streamed(model, _pages(fetch, conn.engine, first))
    page = fetch(conn, cursor, limit)
    items = [model.model_validate(row) for row in page.items]
    return Page(items=items, next_cursor=page.next_cursor)


def whole(model: type[Row], rows: Iterable[Any], *, csv: bool) -> Page[Any] | Response:
    """A list that is short enough to be one page."""
    if csv:
        return as_csv(model, rows)
    return Page(items=[model.model_validate(row) for row in rows], next_cursor=None)


def as_csv(model: type[Row], rows: Iterable[Any]) -> Response:
    """Rows as CSV, each value as JSON would write it."""
    return csv_response(list(model.model_fields), _plain(model, rows))


def streamed(model: type[Row], parts: Iterable[Iterable[Any]]) -> Response:
    """The same of rows that come in parts; one part is read at a time, whole, then sent."""
    return csv_stream(list(model.model_fields), (_plain(model, rows) for rows in parts))


def _plain(model: type[Row], rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (model.model_validate(row).model_dump(mode="json") for row in rows)


def _pages(fetch: Fetch, engine: Engine, page: Rows) -> Iterator[Iterable[Any]]:
    """Page after page, each in a transaction of its own: a slow reader holds none."""
    yield page.items
    while page.next_cursor is not None:
        with reading(engine) as conn:
            page = fetch(conn, page.next_cursor, MAX_LIMIT)
        if not page.items:
            # An answer that breaks off is not taken for the whole list.
            raise RuntimeError("the list was deleted while it was read")
        yield page.items
