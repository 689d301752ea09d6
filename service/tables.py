"""Rows as CSV, and which of JSON and CSV a request asks for."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Literal, TextIO, cast

from fastapi import Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

CSV_TYPE = "text/csv"
#: Bytes of a part that is kept in memory; the rest of it waits in a temporary file.
PART_BYTES = 2**20
#: Characters sent at once.
CHUNK = 2**16
#: For a route's `responses`: a list is JSON, or CSV when asked.
CSV_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {CSV_TYPE: {"schema": {"type": "string"}}}}
}


def wants_csv(
    request: Request,
    format: Annotated[
        Literal["json", "csv"] | None, Query(description="Wins over `Accept`.")
    ] = None,
) -> bool:
    """Whether the answer is to be CSV: `?format=csv`, or `Accept: text/csv`."""
    if format is not None:
        return format == "csv"
    return CSV_TYPE in request.headers.get("accept", "")


CsvDep = Annotated[bool, Depends(wants_csv)]


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header: NULL is empty, JSON is JSON, times are ISO 8601."""
    return csv_of_values(columns, ([row[column] for column in columns] for row in rows))


def csv_of_values(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same of rows without names: two columns of a query may have one."""
    out = io.StringIO()
    _write(out, [columns])
    _write(out, rows)
    return out.getvalue()


def _write(out: TextIO, rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([cell(value) for value in row] for row in rows)


def cell(value: Any) -> Any:
    """One value as CSV writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if isinstance(value, datetime) else value


def csv_response(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, next_cursor: str | None = None
) -> Response:
    """A CSV file; where a page is not the last, the `Next-Cursor` header says so."""
    headers = {"Next-Cursor": next_cursor} if next_cursor else {}
    return Response(csv_text(columns, rows), media_type=CSV_TYPE, headers=headers)


def csv_stream(
    columns: Sequence[str], parts: Iterable[Iterable[Mapping[str, Any]]]
) -> StreamingResponse:
    """A CSV file of any size: a part is read to its end before the first of it is sent.

    So memory stays small, and what a part is read from is let go whatever the reader's pace.
    """
    return StreamingResponse(_chunks(columns, parts), media_type=CSV_TYPE)


def _chunks(columns: Sequence[str], parts: Iterable[Iterable[Mapping[str, Any]]]) -> Iterator[str]:
    yield csv_of_values(columns, ())
    for rows in parts:
        with SpooledTemporaryFile(max_size=PART_BYTES, mode="w+", newline="") as file:
            part = cast(TextIO, file)
            _write(part, ([row[column] for column in columns] for row in rows))
            part.seek(0)
            while chunk := part.read(CHUNK):
                yield chunk
