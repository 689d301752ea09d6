"""A sweep's events as they happen: server-sent events over short reads of the record.

Events are numbered without gaps, and the number is the event's id, so a client that lost its
connection goes on with `Last-Event-ID`. `progress` has no id: only the newest matters. No
connection to the database is held between two looks.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from db import queries
from db.engine import reading
from db.errors import SweepNotFound
from db.events import events_since
from db.states import ENDED_SWEEPS
from service.api.rows import progress_of
from service.schemas import SweepEvent

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
#: Counting a large sweep takes a while: it may take at most this share of the time.
PROGRESS_SHARE = 0.1
EVENTS_A_LOOK = 500


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one read of the record saw."""

    state: str
    events: list[SweepEvent]
    #: None: not looked at.
    progress: dict[str, Any] | None

    @property
    def last(self) -> bool:
        """Whether the sweep has ended and nothing is left to send."""
        return self.state in ENDED_SWEEPS and len(self.events) < EVENTS_A_LOOK


def look(engine: Engine, sweep_id: str, after: int, *, with_progress: bool) -> Look:
    """One consistent read: the state, the events since, and how far the sweep is."""
    with reading(engine) as conn:
        state = queries.sweep(conn, sweep_id)["state"]
        rows = events_since(conn, sweep_id, after, EVENTS_A_LOOK)
        ended = state in ENDED_SWEEPS
        progress = progress_of(conn, sweep_id) if with_progress or ended else None
    return Look(
        state=state,
        events=[SweepEvent.model_validate(row) for row in rows],
        progress=progress.model_dump(mode="json") if progress else None,
    )


async def stream_events(engine: Engine, sweep_id: str, after: int) -> AsyncIterator[bytes]:
    """Everything after a revision, until the sweep has ended; then `end`."""
    stream = _Stream(after=after)
    while True:
        started = time.monotonic()
        try:
            seen = await run_in_threadpool(
                look, engine, sweep_id, stream.after, with_progress=started >= stream.progress_due
            )
        except SweepNotFound:
            yield _event("end", {"state": "deleted"})
            return
        except (OperationalError, InterfaceError):
            # The client takes the stream up again where it was.
            return
        if chunk := stream.chunk(seen, started):
            yield chunk
        if seen.last:
            return
        await asyncio.sleep(POLL_SECONDS)


@dataclass(kw_only=True)
class _Stream:
    """What one client was sent."""

    after: int
    progress: Mapping[str, Any] | None = None
    progress_due: float = 0.0
    sent_at: float = field(default_factory=time.monotonic)

    def chunk(self, seen: Look, started: float) -> bytes:
        """What to send after a look that began then; often nothing."""
        chunks = [self._numbered(event) for event in seen.events]
        if seen.progress is not None:
            took = time.monotonic() - started
            self.progress_due = started + max(POLL_SECONDS, took / PROGRESS_SHARE)
            if seen.progress != self.progress:
                self.progress = seen.progress
                chunks.append(_event("progress", {"state": seen.state, **seen.progress}))
        if seen.last:
            chunks.append(_event("end", {"state": seen.state}))
        if not chunks and time.monotonic() - self.sent_at >= HEARTBEAT_SECONDS:
            chunks.append(KEEPALIVE_COMMENT)
        if chunks:
            self.sent_at = time.monotonic()
        return b"".join(chunks)

    def _numbered(self, event: SweepEvent) -> bytes:
        self.after = event.revision
        return _event(event.kind, event.model_dump(mode="json"), event.revision)


def _event(kind: str, body: Mapping[str, Any], revision: int | None = None) -> bytes:
    data = json.dumps(body, ensure_ascii=False, allow_nan=False)
    identity = None if revision is None else str(revision)
    return format_sse_event(data_str=data, event=kind, id=identity)
