"""Webhooks: each end of a sweep is told, signed, until it is taken, and not again."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, select, text
from starlette.testclient import TestClient

from db.deliveries import MOST_ATTEMPTS, due_deliveries
from db.engine import reading, writing
from db.models import deliveries
from service.control.webhooks import Webhooks, signature
from service.settings import Settings
from tests.service.live import wait_until
from tests.service.training import ADDITION, submitted, train

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
SECRET = "a secret"


class Listener:
    """A server that keeps what it is told, and answers as it is told to."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.told.append((dict(self.headers), body))
                self.send_response(listener.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    opened = Listener()
    yield opened
    opened.close()


def hooks(engine: Engine, settings: Settings, url: str) -> Webhooks:
    named = settings.model_copy(update={"webhook_url": url, "webhook_secret": SECRET})
    return Webhooks(engine, named, seconds=0.0)


def tell_due(engine: Engine, webhooks: Webhooks) -> int:
    with reading(engine) as conn:
        due = due_deliveries(conn)
    for end in due:
        webhooks.tell(end)
    return len(due)


def test_an_end_is_told_once_signed_and_with_its_numbers(
    web: TestClient, engine: Engine, settings: Settings, listener: Listener
) -> None:
    sweep = submitted(web, ADDITION)
    webhooks = hooks(engine, settings, listener.url)
    assert tell_due(engine, webhooks) == 0
    train(settings, engine, sweep)

    assert tell_due(engine, webhooks) == 1
    assert tell_due(engine, webhooks) == 0

    [(headers, body)] = listener.told
    signed = headers["X-Ngpu-Timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["X-Ngpu-Signature"] == f"sha256={expected}"
    assert headers["X-Ngpu-Event"] == "finished"
    told = json.loads(body)
    assert headers["X-Ngpu-Delivery"] == f"{sweep}-{told['revision']}"
    assert (told["event"], told["sweep"]["id"]) == ("finished", sweep)
    assert told["seed_runs"]["finished"] == 4
    success = web.get(f"/api/v1/sweeps/{sweep}/success").json()["items"]
    assert [row["fraction"] for row in told["success"]] == [row["fraction"] for row in success]


def test_an_end_that_is_not_taken_is_told_again_after_a_pause_and_given_up_at_last(
    web: TestClient, engine: Engine, settings: Settings, listener: Listener
) -> None:
    sweep = submitted(web, ADDITION)
    web.post(f"/api/v1/sweeps/{sweep}/cancel")
    webhooks, listener.status = hooks(engine, settings, listener.url), 503
    past = "UPDATE deliveries SET not_before = '2020-01-01 00:00:00.000'"

    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert tell_due(engine, webhooks) == 1, attempt
        assert tell_due(engine, webhooks) == 0, "it waits"
        with writing(engine) as conn:
            [row] = conn.execute(select(deliveries)).all()
            assert (row.attempts, row.delivered_at) == (attempt, None)
            assert "503" in row.error
            if attempt < MOST_ATTEMPTS:
                conn.execute(text(past))
    with writing(engine) as conn:
        conn.execute(text(past))
    assert tell_due(engine, webhooks) == 0
    assert len(listener.told) == MOST_ATTEMPTS


@on_sqlite
def test_a_listener_that_comes_back_is_told(
    web: TestClient, engine: Engine, settings: Settings, listener: Listener
) -> None:
    web.post(f"/api/v1/sweeps/{submitted(web, ADDITION)}/cancel")
    assert tell_due(engine, hooks(engine, settings, "http://127.0.0.1:1/nobody")) == 1
    with writing(engine) as conn:
        [row] = conn.execute(select(deliveries)).all()
        assert "Connect" in row.error
        conn.execute(text("UPDATE deliveries SET not_before = '2020-01-01 00:00:00.000'"))
    webhooks = hooks(engine, settings, listener.url)
    webhooks.look()
    wait_until(lambda: bool(listener.told), 10, lambda: "nothing was told")
    wait_until(lambda: tell_due(engine, webhooks) == 0, 10, lambda: "told for ever")
    assert json.loads(listener.told[0][1])["event"] == "cancelled"


def test_old_ends_are_no_news_and_a_deleted_sweep_takes_its_deliveries_along(
    web: TestClient, engine: Engine, settings: Settings, listener: Listener
) -> None:
    old, new = (submitted(web, ADDITION.replace("addition", name)) for name in ("old", "new"))
    for sweep in (old, new):
        web.post(f"/api/v1/sweeps/{sweep}/cancel")
    with writing(engine) as conn:
        past = "'2020-01-01 00:00:00.000'"
        conn.execute(text(f"UPDATE events SET created_at = {past} WHERE sweep_id = '{old}'"))
    assert tell_due(engine, hooks(engine, settings, listener.url)) == 1
    assert json.loads(listener.told[0][1])["sweep"]["id"] == new
    assert web.delete(f"/api/v1/sweeps/{new}").status_code == 204
    with reading(engine) as conn:
        assert conn.execute(select(deliveries)).all() == []


@on_sqlite
def test_without_an_address_nothing_is_told(
    web: TestClient, engine: Engine, settings: Settings
) -> None:
    web.post(f"/api/v1/sweeps/{submitted(web, ADDITION)}/cancel")
    Webhooks(engine, settings, seconds=0.0).look()
    with reading(engine) as conn:
        assert len(due_deliveries(conn)) == 1


def test_an_address_needs_a_secret() -> None:
    with pytest.raises(ValidationError, match="secret"):
        Settings(webhook_url="https://example.org/hook")
    settings = Settings(webhook_url="https://example.org/hook", webhook_secret=SECRET)
    assert SECRET not in repr(settings)
    assert signature(SECRET, "1", b"{}") != signature(SECRET, "2", b"{}")
