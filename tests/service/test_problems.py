"""Whatever is wrong is said as application/problem+json, with what would be right."""

import base64
import json
import statistics
import time
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from db import models
from db.engine import open_engine, reading

YAML = {"Content-Type": "application/yaml"}
SWEEPS = "/api/v1/sweeps"
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
NOTHING = "00000000000000000000000000"


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["detail"]
    assert body["instance"] == response.request.url.path
    return body


def paths(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of the documents's own words; a grid's axes and levels may be called anything."""
    if not isinstance(value, dict):
        return []
    own = [(*at, key) for key in value if at[:1] not in (("grid",), ("labels",)) or len(at) > 2]
    return own + [path for key, item in value.items() for path in paths(item, (*at, key))]


def misspelt(spec: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    key, *rest = path
    if rest:
        return {**spec, key: misspelt(spec[key], tuple(rest))}
    return {f"{name}z" if name == key else name: value for name, value in spec.items()}


@on_sqlite
def test_a_misspelt_key_anywhere_is_named_with_the_nearest(web: TestClient, spec_text: str) -> None:
    spec = yaml.safe_load(spec_text)
    for path in paths(spec):
        body = problem(web.post(SWEEPS, json=misspelt(spec, path)), 422)
        wanted = ".".join(map(str, path)) + "z"
        found = {one["path"]: one["nearest"] for one in body["problems"]}
        assert wanted in found, (path, body["problems"])
        assert found[wanted] == path[-1]


@on_sqlite
def test_all_problems_are_said_at_once(web: TestClient, spec_text: str) -> None:
    text = spec_text.replace("max_steps", "max_stepz").replace("count: 3", "count: -3")

    body = problem(web.post(SWEEPS, content=text, headers=YAML), 422)

    assert {"base.training.max_stepz", "seeds.count"} <= {one["path"] for one in body["problems"]}


@on_sqlite
def test_a_grid_of_ten_million_runs_is_refused_at_once(web: TestClient, spec_text: str) -> None:
    axes = {"training.dropout": 100, "training.learning_rate": 100, "training.pull": 10}
    grid = {key: {str(n): {key: (n + 1) / 1000} for n in range(size)} for key, size in axes.items()}
    spec = yaml.safe_load(spec_text) | {"grid": grid, "seeds": {"count": 100}}
    taken = []
    for _ in range(7):
        started = time.perf_counter()
        body = problem(web.post(SWEEPS, json=spec), 422)
        taken.append(time.perf_counter() - started)

    assert "100000" in str(body["problems"]).replace(",", "").replace("_", "")
    # 100 ms on a quiet machine; this one may be shared.
    assert statistics.median(taken) < 0.3


@pytest.mark.parametrize("backend", ["postgresql"])
@given(text=st.text(max_size=30), number=st.integers())
def test_no_address_whatever_is_a_fault_of_ours(web: TestClient, text: str, number: int) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps([text]).encode()).decode().rstrip("=")
    for path in ("sweeps/{}", "sweeps/{}/seeds", "sweeps/{}/events", "seeds/{}", "tasks/{}"):
        for value in (text, number):
            answer = web.get(f"/api/v1/{path.format(quote(str(value), safe=''))}")
            assert answer.status_code < 500, answer.text
    for name, value in {"cursor": cursor, "state": text, "limit": number}.items():
        assert web.get(SWEEPS, params={name: value}).status_code < 500


BAD_BODIES: list[tuple[str | bytes, str | None, int]] = [
    ("{", "application/json", 422),
    ("a: [", "application/yaml", 422),
    ("", "application/yaml", 422),
    ("[]", "application/json", 422),
    ("null", "application/json", 422),
    ("a: 1\na: 2", "text/yaml", 422),
    ('{"name": "\\ud800"}', "application/json", 422),
    (b"\xff\xfe", "application/yaml", 415),
    ("name: x", "text/plain", 415),
    ("name: x", None, 415),
    ("# " + "x" * 1_000_000, "application/yaml", 413),
]


def test_bad_bodies_are_refused_and_cost_nothing(web: TestClient, engine: Engine) -> None:
    for content, media_type, status in BAD_BODIES:
        headers = {"Content-Type": media_type} if media_type else {}
        problem(web.post(SWEEPS, content=content, headers=headers), status)

    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(models.sweeps)) == 0


@on_sqlite
@given(content=st.binary(max_size=200))
def test_no_body_whatever_is_a_fault_of_ours(web: TestClient, content: bytes) -> None:
    for media_type in ("application/yaml", "application/json"):
        answer = web.post(SWEEPS, content=content, headers={"Content-Type": media_type})
        problem(answer, answer.status_code)
        assert answer.status_code in (415, 422)


REFUSALS = [
    ("GET", "/api/v1/nothing", 404),
    ("GET", f"{SWEEPS}/{NOTHING}", 404),
    ("GET", f"{SWEEPS}/{NOTHING}/success", 404),
    ("GET", f"{SWEEPS}/{NOTHING}/seeds", 404),
    ("GET", f"{SWEEPS}/{NOTHING}/curves", 404),
    ("GET", f"{SWEEPS}/{NOTHING}/thresholds", 404),
    ("GET", f"{SWEEPS}/{NOTHING}/failures", 404),
    ("GET", f"{SWEEPS}/{NOTHING}/events", 404),
    ("POST", f"{SWEEPS}/{NOTHING}/cancel", 404),
    ("POST", f"{SWEEPS}/{NOTHING}/retry", 404),
    ("DELETE", f"{SWEEPS}/{NOTHING}", 404),
    ("GET", "/api/v1/seeds/999", 404),
    ("GET", "/api/v1/seeds/999/curves", 404),
    ("GET", "/api/v1/seeds/999/evaluations", 404),
    ("GET", f"/api/v1/seeds/{2**63}", 422),
    ("GET", "/api/v1/seeds/x", 422),
    ("GET", "/api/v1/tasks/badddd", 404),
    ("GET", "/api/v1/tasks/badd?length=10", 422),
    ("PATCH", SWEEPS, 405),
    ("GET", f"{SWEEPS}?limit=0", 422),
    ("GET", f"{SWEEPS}?state=done", 422),
    ("GET", f"{SWEEPS}?cursor=x", 400),
    ("GET", f"{SWEEPS}?limmit=1", 422),
]


@on_sqlite
@pytest.mark.parametrize("content", [b"\x15\x88\xff", b'"\xd8', b"[" * 200_000])
def test_a_body_that_is_no_json_at_all_is_said_to_be_that(web: TestClient, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for verb in ("priority", "extend"):
        answer = web.post(f"{SWEEPS}/{NOTHING}/{verb}", content=content, headers=headers)
        assert problem(answer, 422)["detail"]
    assert problem(web.post("/api/v1/sql", content=content, headers=headers), 422)


def test_every_refusal_is_a_problem(web: TestClient) -> None:
    for method, path, status in REFUSALS:
        problem(web.request(method, path), status)


@on_sqlite
def test_a_method_that_is_not_possible_says_which_are(web: TestClient) -> None:
    answer = web.put(SWEEPS)

    assert answer.headers["Allow"] == "GET, POST"
    assert "GET, POST" in problem(answer, 405)["detail"]


@on_sqlite
def test_a_misspelt_parameter_does_not_submit(web: TestClient, spec_text: str) -> None:
    body = problem(web.post(f"{SWEEPS}?dryrun=true", content=spec_text, headers=YAML), 422)

    assert body["problems"][0]["path"] == "query.dryrun"
    assert body["problems"][0]["nearest"] == "dry_run"
    assert web.get(SWEEPS).json()["items"] == []


@on_sqlite
def test_a_cursor_of_another_list_is_refused(web: TestClient, spec_text: str) -> None:
    for name in ("a", "b"):
        web.post(SWEEPS, content=spec_text.replace("tiny", name), headers=YAML)
    page = web.get(SWEEPS, params={"limit": 1}).json()
    other = f"{SWEEPS}/{page['items'][0]['id']}/seeds"

    problem(web.get(other, params={"cursor": page["next_cursor"]}), 400)


@on_sqlite
def test_our_own_mistakes_leak_nothing(web: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("/secret/path")

    app: Any = web.app
    app.add_api_route("/api/v1/broken", broken)
    body = problem(web.get("/api/v1/broken"), 500)

    assert "/secret/path" not in str(body)
    incident = body["detail"].split()[-1]
    assert incident in caplog.text


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_record_that_is_away_is_said_with_when_to_ask_again(web: TestClient) -> None:
    app: Any = web.app
    app.state.engine.dispose()
    app.state.engine = open_engine("postgresql://nobody@127.0.0.1:1/none")

    answer = web.get(SWEEPS)

    assert "127.0.0.1" not in problem(answer, 503)["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    problem(web.get("/api/v1/readyz"), 503)
