"""The event stream: numbered, resumable, and over when the sweep is."""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest
from sqlalchemy import Engine

from db.engine import open_engine, writing
from db.events import append
from db.states import EventKind
from db.submission import cancel
from service.api import event_stream
from service.client import Client, StreamedEvent, parse_events

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def stream(server_url: str, sweep_id: str, **options: dict[str, str]) -> Iterator[StreamedEvent]:
    url = f"{server_url}/api/v1/sweeps/{sweep_id}/events"
    with httpx2.stream("GET", url, timeout=10, **options) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield from parse_events(response.iter_lines())


def test_the_stream_tells_what_happened_and_ends_with_the_sweep(
    client: Client, server_url: str, spec_text: str
) -> None:
    sweep_id = client.submit(spec_text)["id"]
    client.cancel(sweep_id)

    events = list(stream(server_url, sweep_id))

    assert [(each.kind, each.revision) for each in events] == [
        ("submitted", 1),
        ("cancelled", 2),
        ("progress", None),
        ("end", None),
    ]
    assert events[2].body["cancelled"] == 6
    assert events[3].body == {"state": "cancelled"}


@on_sqlite
def test_a_stream_goes_on_after_the_last_event_id(
    client: Client, server_url: str, spec_text: str
) -> None:
    sweep_id = client.submit(spec_text)["id"]
    client.extend(sweep_id, 1)
    client.cancel(sweep_id)

    by_header = list(stream(server_url, sweep_id, headers={"Last-Event-ID": "1"}))
    by_query = list(stream(server_url, sweep_id, params={"after": "1"}))

    assert [each.revision for each in by_header] == [2, 3, None, None]
    assert by_header == by_query


@on_sqlite
def test_a_browser_is_told_not_to_come_back_after_the_end(
    client: Client, server_url: str, spec_text: str
) -> None:
    sweep_id = client.submit(spec_text)["id"]
    client.cancel(sweep_id)
    url = f"{server_url}/api/v1/sweeps/{sweep_id}/events"

    assert httpx2.get(url, headers={"Last-Event-ID": "2"}).status_code == 204


def test_listeners_see_every_event_once_in_order_as_it_happens(
    client: Client, server_url: str, spec_text: str
) -> None:
    sweep_id = client.submit(spec_text)["id"]
    seen: list[list[int]] = [[] for _ in range(5)]

    def listen(place: int) -> None:
        for event in stream(server_url, sweep_id):
            if event.revision is not None:
                seen[place].append(event.revision)

    threads = [threading.Thread(target=listen, args=(place,)) for place in range(5)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        client.extend(sweep_id, 1)
        time.sleep(0.05)
    client.cancel(sweep_id)
    for thread in threads:
        thread.join(timeout=20)

    assert seen == [[1, 2, 3, 4, 5, 6, 7]] * 5


@on_sqlite
def test_the_events_are_a_json_list_when_asked(client: Client, spec_text: str) -> None:
    sweep_id = client.submit(spec_text)["id"]
    client.extend(sweep_id, 1)
    url = f"{client.server_url}/api/v1/sweeps/{sweep_id}/events"
    json_only = {"Accept": "application/json"}

    first = httpx2.get(url, params={"limit": 1}, headers=json_only).json()
    rest = httpx2.get(url, params={"cursor": first["next_cursor"]}, headers=json_only).json()

    assert [event["kind"] for event in first["items"] + rest["items"]] == ["submitted", "extended"]
    assert rest["next_cursor"] is None


@on_sqlite
def test_progress_comes_at_most_twice_a_second(
    database_url: str, client: Client, spec_text: str
) -> None:
    sweep_id = client.submit(spec_text)["id"]
    engine = open_engine(database_url)

    async def listen() -> list[float]:
        times = []
        async for chunk in event_stream.stream_events(engine, sweep_id, 0):
            if b"event: progress" in chunk:
                times.append(time.monotonic())
        return times

    def change() -> None:
        for _ in range(6):
            client.extend(sweep_id, 1)
            time.sleep(0.2)
        client.cancel(sweep_id)

    thread = threading.Thread(target=change)
    thread.start()
    times = asyncio.run(listen())
    thread.join()
    engine.dispose()

    # The last one may come early: it stands beside the end.
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)][:-1]
    assert len(times) >= 3
    assert min(gaps) > 0.45


@on_sqlite
def test_a_quiet_stream_beats_and_holds_no_connection(
    engine: Engine, client: Client, spec_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.05)
    sweep_id = client.submit(spec_text)["id"]

    async def listen() -> list[bytes]:
        chunks, held = [], []
        async for chunk in event_stream.stream_events(engine, sweep_id, 0):
            chunks.append(chunk)
            held.append(engine.pool.checkedout())  # type: ignore[attr-defined]
            if len(chunks) == 4:
                break
        assert held == [0] * 4
        return chunks

    assert asyncio.run(listen())[1:] == [b": ping\n\n"] * 3


@on_sqlite
def test_the_client_takes_a_broken_stream_up_where_it_was(
    engine: Engine, client: Client, spec_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_id = client.submit(spec_text)["id"]
    with writing(engine) as conn:
        for _ in range(5):
            append(conn, sweep_id, EventKind.STARTED)
        cancel(conn, sweep_id)
    # A server that looks at two events and then loses its record, again and again.
    looks = iter(range(1000))
    whole = event_stream.look

    def flaky(*arguments: object, **options: bool) -> event_stream.Look:
        if next(looks) % 2:
            raise event_stream.OperationalError("", {}, Exception("away"))
        return whole(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(event_stream, "EVENTS_A_LOOK", 2)
    monkeypatch.setattr(event_stream, "look", flaky)

    revisions = [event.revision for event in client.events(sweep_id) if event.revision]

    assert revisions == [1, 2, 3, 4, 5, 6, 7]
