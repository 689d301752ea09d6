"""Limits on what is sent, headers on what is answered, and errors that give nothing away."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from db.engine import open_engine
from service.app import create_app
from service.headers import SECURE
from service.rate import MOST_CALLERS, Rate
from service.settings import Settings
from sweeps.text import MAX_BYTES

SWEEPS = "/api/v1/sweeps"
YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json"}
NOTHING = "00000000000000000000000000"
HTML = {"Accept": "text/html"}
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture
def slow(settings: Settings) -> Iterator[TestClient]:
    """The app that takes three submits a minute."""
    limited = settings.model_copy(update={"submits_per_minute": 3})
    with TestClient(create_app(limited), raise_server_exceptions=False) as client:
        yield client


@on_sqlite
def test_submits_are_limited_and_nothing_else(slow: TestClient, spec_text: str) -> None:
    answers = [slow.post(SWEEPS, content=spec_text, headers=YAML) for _ in range(3)]
    sweep = answers[0].json()["id"]
    again = [
        slow.post(SWEEPS, content=spec_text, headers=YAML),
        slow.post(f"{SWEEPS}/{sweep}/extend", json={"count": 1}),
        slow.post(f"{SWEEPS}/{sweep}/retry"),
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 200]
    for answer in again:
        assert answer.status_code == 429
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
    assert slow.get(SWEEPS).status_code == 200
    assert slow.post(f"{SWEEPS}/{sweep}/cancel").status_code == 200


@given(
    per_minute=st.integers(1, 100),
    steps=st.lists(st.tuples(st.floats(0, 30), st.sampled_from("ab")), max_size=200),
)
def test_no_caller_is_let_through_more_often_than_said(
    per_minute: int, steps: list[tuple[float, str]]
) -> None:
    rate, now = Rate(per_minute), 0.0
    let: dict[str, list[float]] = {"a": [], "b": []}
    for pause, caller in steps:
        now += pause
        wait = rate.wait(caller, now)
        if not wait:
            let[caller].append(now)
        else:
            assert 0 < wait <= 60 / per_minute + 1e-6
    for times in let.values():
        for first, start in enumerate(times):
            for calls, end in enumerate(times[first:], 1):
                assert calls <= per_minute + (end - start) * per_minute / 60 + 1e-6


def test_callers_at_once_share_one_count_and_few_are_remembered() -> None:
    rate, let = Rate(50), []
    threads = [
        threading.Thread(target=lambda: let.extend(not rate.wait("a", 0.0) for _ in range(40)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(let) == 50
    for caller in range(MOST_CALLERS + 10):
        rate.wait(str(caller), 1.0)
    assert len(rate._left) == MOST_CALLERS
    assert not any(Rate(0).wait("a", 0.0) for _ in range(1000))


@on_sqlite
def test_a_body_that_is_too_large_is_refused_wherever_it_goes(web: TestClient) -> None:
    large = b"[" + b" " * MAX_BYTES + b"]"

    def chunks() -> Iterator[bytes]:
        yield from (large[at : at + 65_536] for at in range(0, len(large), 65_536))

    for path in (SWEEPS, f"{SWEEPS}/{NOTHING}/extend", "/api/v1/sql", "/login"):
        for content in (large, chunks()):
            answer = web.post(path, content=content, headers=JSON)
            assert answer.status_code == 413, path
            assert answer.headers["Content-Type"] == "application/problem+json"
    assert web.post("/api/v1/sql", json={"query": "SELECT 1"}).status_code == 200


@on_sqlite
def test_a_sweep_does_not_grow_beyond_its_limit(web: TestClient, spec_text: str) -> None:
    sweep = web.post(SWEEPS, content=spec_text, headers=YAML).json()["id"]
    answer = web.post(f"{SWEEPS}/{sweep}/extend", json={"count": 60_000})

    assert answer.status_code == 422
    assert "100" in answer.json()["detail"]
    assert web.get(f"{SWEEPS}/{sweep}").json()["progress"]["requested"] == 6


ADDRESSES = [
    "/",
    "/help",
    "/sql",
    "/login",
    "/nothing",
    "/static/style.css",
    "/static/nothing",
    "/api/v1/sweeps",
    "/api/v1/nothing",
    "/api/v1/openapi.json",
    "/api/v1/healthz",
    "/api/v1/broken",
]


@on_sqlite
def test_every_response_carries_the_headers(web: TestClient) -> None:
    break_at(web, "/api/v1/broken", RuntimeError("x"))
    for path in ADDRESSES:
        for headers in ({}, HTML):
            answer = web.get(path, headers=headers)
            assert set(map(str.lower, SECURE)) <= set(answer.headers), (path, headers)
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy
            assert "unsafe-inline" not in policy.replace("style-src-attr 'unsafe-inline'", "")
            assert "unsafe-eval" not in policy


def break_at(web: TestClient, path: str, error: Exception) -> None:
    def broken() -> None:
        raise error

    app: Any = web.app
    app.add_api_route(path, broken)
    # Before the addresses that take any word.
    app.router.routes.insert(0, app.router.routes.pop())


def telling(text: str, home: Path) -> list[str]:
    """What of ours stands in a text that a stranger reads."""
    ours = ("hunter2", "Traceback", "site-packages", ".py", "/tmp", "sqlite3.", "psycopg")
    return [word for word in (*ours, str(home)) if word in text]


@on_sqlite
def test_no_error_of_ours_tells_a_path_or_a_secret(web: TestClient, tmp_path: Path) -> None:
    errors = [
        FileNotFoundError(2, "No such file or directory", f"{tmp_path}/checkpoint"),
        PermissionError(13, "Permission denied", f"{tmp_path}/checkpoint"),
        RuntimeError("postgresql://ngpu:hunter2@db/ngpu"),
        KeyError("/tmp/x.py"),
        ExceptionGroup("several", [RuntimeError("hunter2")]),
    ]
    for number, error in enumerate(errors):
        break_at(web, f"/api/v1/broken{number}", error)
        for headers in ({}, HTML):
            answer = web.get(f"/api/v1/broken{number}", headers=headers)
            assert answer.status_code == 500
            assert telling(answer.text + str(answer.headers), tmp_path) == []


GETS = ["/", SWEEPS, f"{SWEEPS}/{NOTHING}", "/api/v1/seeds/1", "/api/v1/readyz", "/seeds/1"]


def gets_tell_nothing(web: TestClient, tmp_path: Path) -> None:
    answers = [web.get(path, headers=headers) for path in GETS for headers in ({}, HTML)]
    answers.append(web.post("/api/v1/sql", json={"query": "SELECT 1 FROM sweeps"}))
    for answer in answers:
        assert answer.status_code >= 400, answer.request.url
        assert telling(answer.text + str(answer.headers), tmp_path) == []


@on_sqlite
def test_a_database_that_is_away_tells_nothing(web: TestClient, tmp_path: Path) -> None:
    app: Any = web.app
    url = "postgresql://somebody:hunter2@127.0.0.1:1/none"
    app.state.engine.dispose()
    app.state.engine = open_engine(url)
    app.state.settings = app.state.settings.model_copy(update={"database_url": url})
    gets_tell_nothing(web, tmp_path)


@on_sqlite
@pytest.mark.parametrize("damage", ["none", "no database", "a folder"])
def test_a_file_that_is_no_record_tells_nothing(
    web: TestClient, settings: Settings, tmp_path: Path, damage: str
) -> None:
    app: Any = web.app
    app.state.engine.dispose()
    for path in tmp_path.glob("record.sqlite*"):
        path.unlink()
    record = tmp_path / "record.sqlite"
    if damage == "no database":
        record.write_bytes(b"this is no database" * 1000)
    elif damage == "a folder":
        record.mkdir()
    gets_tell_nothing(web, tmp_path)
    shutil.rmtree(record, ignore_errors=True)


@on_sqlite
def test_no_file_but_the_static_ones_is_served(web: TestClient) -> None:
    for path in ("/static/../settings.py", "/static/%2e%2e/settings.py", "/static//etc/passwd"):
        answer = web.get(path)
        assert answer.status_code in (404, 405), path
        assert "class Settings" not in answer.text
