"""Pages of rows: a cursor names the last row seen, so pages stay right while rows are added."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Select, asc, desc, tuple_

from db.errors import BadCursor

Row = dict[str, Any]

#: Rows of a page when the caller names no number, and the most it may name.
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some rows of a list."""

    items: list[Row]
    #: Opaque; hand it back for the rows after these. None: there are no more.
    next_cursor: str | None


def rows_of(result: CursorResult[Any]) -> list[Row]:
    """All rows as plain dictionaries."""
    return [dict(row) for row in result.mappings()]


def _encode(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def decoded(cursor: str, key: Sequence[ColumnElement[Any]]) -> list[Any]:
    """The key that a cursor names.

    Raises:
        BadCursor: It is not of a list with these key columns.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, ValueError) as error:
        raise BadCursor(cursor) from error
    wanted = [column.type.python_type for column in key]
    if not isinstance(values, list) or [type(value) for value in values] != wanted:
        raise BadCursor(cursor)
    if any(type(value) is int and not 0 <= value < 2**63 for value in values):
        raise BadCursor(cursor)
    # PostgreSQL's texts hold neither NUL nor half a surrogate pair.
    if any(type(value) is str and not value.isprintable() for value in values):
        raise BadCursor(cursor)
    return values


def page(
    conn: Connection,
    query: Select[Any],
    key: Sequence[ColumnElement[Any]],
    *,
    cursor: str | None,
    limit: int = DEFAULT_LIMIT,
    descending: bool = False,
) -> Page:
    """One page of a query that selects its key columns, ordered by them.

    Args:
        conn: A connection.
        query: Without order and limit.
        key: Columns that together are unique.
        cursor: The former page's `next_cursor`; None for the first page.
        limit: Rows at most, between 1 and `MAX_LIMIT`.
        descending: Largest key first.

    Raises:
        BadCursor: The cursor is not of this list.
        ValueError: The limit is out of range.
    """
    checked(limit)
    if cursor is not None:
        last, columns = tuple_(*decoded(cursor, key)), tuple_(*key)
        query = query.where(columns < last if descending else columns > last)
    order = [desc(column) if descending else asc(column) for column in key]
    return page_of(rows_of(conn.execute(query.order_by(*order).limit(limit + 1))), key, limit)


def checked(limit: int) -> None:
    """Refuse a number of rows that no page may have.

    Raises:
        ValueError: The limit is out of range.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"limit is {limit}: must be between 1 and {MAX_LIMIT}")


def page_of(rows: list[Row], key: Sequence[ColumnElement[Any]], limit: int) -> Page:
    """The page that begins a list, of which one row more was read if there is one."""
    items = rows[:limit]
    more = len(rows) > limit
    next_cursor = _encode([items[-1][column.name] for column in key]) if more else None
    return Page(items=items, next_cursor=next_cursor)
