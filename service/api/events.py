"""`/sweeps/{id}/events`: live as server-sent events, or what has happened as a JSON list."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse

from db import queries
from db.engine import reading
from db.errors import BadCursor
from db.events import events_since
from db.states import ENDED_SWEEPS
from service.api.event_stream import stream_events
from service.api.parameters import BigId, Cursor, Limit, SweepId
from service.dependencies import EngineDep
from service.problems import responses
from service.schemas import Page, SweepEvent

router = APIRouter(prefix="/sweeps/{sweep_id}", tags=["events"])

STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}},
    204: {"description": "The sweep has ended and everything was sent: do not reconnect"},
}


@router.get(
    "/events",
    response_model=Page[SweepEvent],
    responses={**STREAM, **responses(400, 404, 422)},
)
def events(
    request: Request,
    sweep_id: SweepId,
    engine: EngineDep,
    after: Annotated[BigId, Query(description="Only events with a greater revision.")] = 0,
    cursor: Cursor = None,
    limit: Limit = 500,
    last_event_id: Annotated[BigId | None, Header()] = None,
) -> Page[SweepEvent] | Response:
    """What happens to a sweep, as server-sent events until it has ended.

    An event's id is its revision, to be given as `Last-Event-ID` to go on after a break. `progress`
    has none, and comes at most twice a second; `end` is the last. With `Accept: application/json`
    the answer is a page of what has happened so far.
    """
    since = _revision(cursor) if cursor else max(after, last_event_id or 0)
    accept = request.headers.get("accept", "")
    as_list = "application/json" in accept and "text/event-stream" not in accept
    with reading(engine) as conn:
        sweep = queries.sweep(conn, sweep_id)
        rows = events_since(conn, sweep_id, since, limit)
    if as_list:
        cursor = str(rows[-1]["revision"]) if len(rows) == limit else None
        items = [SweepEvent.model_validate(row) for row in rows]
        return Page(items=items, next_cursor=cursor)
    if not rows and since and sweep["state"] in ENDED_SWEEPS:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return EventSourceResponse(stream_events(engine, sweep_id, since), headers=headers)


def _revision(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
        raise BadCursor(cursor)
    return int(cursor)
