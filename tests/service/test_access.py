"""Who may ask what: tokens, roles and the login page; and when none are needed."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError
from sqlalchemy import Engine
from starlette.testclient import TestClient

from db.engine import writing
from db.states import Role
from db.tokens import NoToken, create_token, revoke_token
from service.access import NEEDS, authorize
from service.app import create_app
from service.client import Client, ServiceRefused
from service.control.supervisor import check_tokens
from service.settings import Settings

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
HTML = {"Accept": "text/html"}
NOTHING = "00000000000000000000000000"
NO_DEPENDANT = Dependant()


@pytest.fixture
def guarded(settings: Settings) -> Iterator[TestClient]:
    """The app as it is where others can ask."""
    app = create_app(settings.model_copy(update={"require_tokens": True}))
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.fixture
def tokens(engine: Engine) -> dict[Role, str]:
    """A token of each role."""
    with writing(engine) as conn:
        return {role: create_token(conn, f"{role} token", role) for role in Role}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_nobody_is_let_in_without_a_right_token(
    guarded: TestClient, tokens: dict[Role, str], engine: Engine
) -> None:
    admin = tokens[Role.ADMIN]
    wrong = [{}, bearer(""), bearer("x"), bearer(admin[:-1]), {"Authorization": f"Basic {admin}"}]
    for headers in wrong:
        answer = guarded.get("/api/v1/sweeps", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "ngpu token create" in answer.json()["detail"]
    assert guarded.get("/api/v1/sweeps", headers=bearer(admin)).status_code == 200

    with writing(engine) as conn:
        revoke_token(conn, "admin token")
    assert guarded.get("/api/v1/sweeps", headers=bearer(admin)).status_code == 401


LEAST: list[tuple[str, str, Role, dict[str, Any]]] = [
    ("GET", "/api/v1/sweeps", Role.READ, {}),
    ("GET", f"/api/v1/sweeps/{NOTHING}/events", Role.READ, {}),
    ("GET", "/api/v1/tasks", Role.READ, {}),
    ("GET", "/", Role.READ, {}),
    ("POST", "/api/v1/sql", Role.READ, {"json": {"query": "SELECT 1"}}),
    ("POST", "/api/v1/sweeps", Role.SUBMIT, {"json": {}}),
    ("POST", f"/api/v1/sweeps/{NOTHING}/cancel", Role.SUBMIT, {}),
    ("POST", f"/api/v1/sweeps/{NOTHING}/retry", Role.SUBMIT, {}),
    ("POST", f"/api/v1/sweeps/{NOTHING}/extend", Role.SUBMIT, {"json": {"count": 1}}),
    ("DELETE", f"/api/v1/sweeps/{NOTHING}", Role.ADMIN, {}),
]


def test_each_role_may_what_it_says_and_no_more(
    guarded: TestClient, tokens: dict[Role, str]
) -> None:
    for method, path, least, body in LEAST:
        assert guarded.request(method, path, **body).status_code == 401, path
        for role, token in tokens.items():
            answer = guarded.request(method, path, headers=bearer(token), **body)
            if role.rank < least.rank:
                assert answer.status_code == 403, (method, path, role)
                assert f"--role {least}" in answer.json()["detail"]
            else:
                assert answer.status_code in (200, 404, 422), (method, path, role, answer.text)


OPEN = {"openapi", "healthz", "readyz", "login_page", "login", "logout"}


@on_sqlite
def test_every_address_asks_but_the_few_that_are_open(settings: Settings) -> None:
    routes = [route for route in iter_route_contexts(create_app(settings).routes) if route.endpoint]
    asking = {
        route.endpoint.__name__
        for route in routes
        if any(
            one.call is authorize for one in getattr(route, "dependant", NO_DEPENDANT).dependencies
        )
    }
    names = {route.endpoint.__name__ for route in routes}

    assert len(routes) > 30
    assert names - asking <= OPEN
    assert {name for name, role in NEEDS.items() if role is None} <= OPEN
    assert set(NEEDS) <= names


@on_sqlite
def test_health_is_everybody_s(guarded: TestClient) -> None:
    for path in ("/api/v1/healthz", "/api/v1/readyz", "/static/style.css", "/login"):
        assert guarded.get(path).status_code == 200, path


@on_sqlite
def test_a_reader_logs_in_and_out_and_comes_back(
    guarded: TestClient, tokens: dict[Role, str]
) -> None:
    sent = guarded.get("/help?a=1", headers=HTML)
    assert (sent.status_code, sent.headers["Location"]) == (303, "/login?after=%2Fhelp%3Fa%3D1")
    wrong = guarded.post(sent.headers["Location"], data={"token": "x"}, headers=HTML)
    assert wrong.status_code == 401
    assert "wrong, or was revoked" in wrong.text

    right = guarded.post(sent.headers["Location"], data={"token": tokens[Role.READ]})
    assert (right.status_code, right.headers["Location"]) == (303, "/help?a=1")
    assert {"HttpOnly", "SameSite=strict"} <= set(right.headers["Set-Cookie"].split("; "))
    assert guarded.get("/help", headers=HTML).status_code == 200
    assert guarded.get("/api/v1/sweeps").status_code == 200
    assert guarded.post(f"/api/v1/sweeps/{NOTHING}/cancel").status_code == 403

    guarded.post("/logout")
    assert guarded.get("/help", headers=HTML).status_code == 303


@on_sqlite
def test_the_login_page_sends_nobody_elsewhere(
    guarded: TestClient, tokens: dict[Role, str]
) -> None:
    for after in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/a\r\nSet-Cookie: b",
    ):
        answer = guarded.post("/login", params={"after": after}, data={"token": tokens[Role.READ]})
        assert answer.headers["Location"] == "/", after


@on_sqlite
def test_a_page_of_another_site_changes_nothing(web: TestClient) -> None:
    path = f"/api/v1/sweeps/{NOTHING}/cancel"
    assert web.post(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert web.post(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 404
    assert web.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


OWN_NAMES = ("localhost", "localhost:8000", "LOCALHOST.", "127.0.0.1:1", "127.8.8.8", "[::1]:8000")
#: Names a page can have resolved to this machine, and what is not a name at all.
FOREIGN_NAMES = (
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "10.0.0.1",
    "[::1",
    "",
)


@on_sqlite
def test_without_tokens_it_answers_to_its_own_name_only(
    web: TestClient, guarded: TestClient
) -> None:
    for host in (*OWN_NAMES, "testserver", "testserver:80"):
        assert web.get("/api/v1/sweeps", headers={"Host": host}).status_code == 200, host
    for path in ("/api/v1/sweeps", "/api/v1/healthz", "/", "/metrics"):
        for host in FOREIGN_NAMES:
            assert web.get(path, headers={"Host": host}).status_code == 403, (path, host)
    answer = web.post("/api/v1/sql", json={"query": "SELECT 1"}, headers={"Host": "evil.example"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:ngpu:foreign-host"
    assert "NGPU_SERVER_URL" in answer.json()["detail"]
    # A token is not sent by a browser to another name.
    assert guarded.get("/api/v1/sweeps", headers={"Host": "evil.example"}).status_code == 401


@on_sqlite
def test_tokens_are_off_only_on_loopback(settings: Settings) -> None:
    def required(**changes: Any) -> bool:
        return Settings(home=settings.home, **changes).tokens_required

    assert [required(host=host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [
        False
    ] * 4
    assert all(required(host=host) for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"))
    assert required(require_tokens=True)
    with pytest.raises(ValidationError, match="tokens can be off only"):
        required(host="0.0.0.0", require_tokens=False)


@on_sqlite
def test_it_does_not_listen_elsewhere_while_nobody_has_a_token(
    settings: Settings, engine: Engine
) -> None:
    outside = settings.model_copy(update={"host": "0.0.0.0"})
    check_tokens(settings)
    with pytest.raises(NoToken, match="ngpu token create NAME --role admin"):
        check_tokens(outside)
    with writing(engine) as conn:
        create_token(conn, "ada", Role.ADMIN)
    check_tokens(outside)


@on_sqlite
def test_the_client_sends_its_token(guarded: TestClient, tokens: dict[Role, str]) -> None:
    with pytest.raises(ServiceRefused, match="asks for a token"):
        Client("http://testserver", http=guarded).version()
    assert Client("http://testserver", token=tokens[Role.READ], http=guarded).version()


@on_sqlite
def test_a_child_process_is_not_given_the_token(settings: Settings) -> None:
    own = settings.model_copy(update={"token": "ngpu_a_b"})
    assert "ngpu_a_b" not in str(own.environment())
    assert "ngpu_a_b" not in repr(own)
