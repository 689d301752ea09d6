"""One list, three shapes: a page of JSON, the whole as CSV, the same values in both."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import Response

from db.paging import MAX_LIMIT
from db.paging import Page as Rows
from service.schemas import Page, Row
from service.tables import csv_response

#: (cursor, limit) -> the rows after it
Fetch = Callable[[str | None, int], Rows]


def paged(
    model: type[Row], fetch: Fetch, *, csv: bool, cursor: str | None, limit: int
) -> Page[Any] | Response:
    """A page as JSON, or every row from the cursor on as CSV."""
    if csv:
        return as_csv(model, _all_rows(fetch, cursor))
    page = fetch(cursor, limit)
    items = [model.model_validate(row) for row in page.items]
    return Page(items=items, next_cursor=page.next_cursor)


def whole(model: type[Row], rows: Iterable[Any], *, csv: bool) -> Page[Any] | Response:
    """A list that is short enough to be one page."""
    if csv:
        return as_csv(model, rows)
    return Page(items=[model.model_validate(row) for row in rows], next_cursor=None)


def as_csv(model: type[Row], rows: Iterable[Any]) -> Response:
    """Rows as CSV, each value as JSON would write it."""
    plain = (model.model_validate(row).model_dump(mode="json") for row in rows)
    return csv_response(list(model.model_fields), plain)


def _all_rows(fetch: Fetch, cursor: str | None) -> Iterator[dict[str, Any]]:
    while True:
        page = fetch(cursor, MAX_LIMIT)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
