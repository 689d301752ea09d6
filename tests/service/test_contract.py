"""The API against its own OpenAPI document: whatever is sent, no server error and no surprise."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings

DOCUMENT = "/api/v1/openapi.json"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

#: How long sequences are tried for.
SECONDS = 600.0
READ_ONLY = "SELECT configuration, fraction, axes FROM success_fractions"


@pytest.fixture
def backend() -> str:
    """Both databases would cost twice the time; db's own tests run on both."""
    return "sqlite"


@pytest.fixture
def app(settings: Settings) -> Iterator[FastAPI]:
    """The app as a program meets it, without a limit on submits."""
    made = create_app(settings.model_copy(update={"submits_per_minute": 0}))
    with TestClient(made):
        yield made


@pytest.fixture
def known(app: FastAPI, spec_text: str) -> dict[str, Any]:
    """What is really there: most addresses answer anything else with 404."""
    web = TestClient(app)
    headers = {"Content-Type": "application/yaml"}
    sweep = web.post("/api/v1/sweeps", content=spec_text, headers=headers).json()["id"]
    seed = web.get(f"/api/v1/sweeps/{sweep}/seeds").json()["items"][0]["seed_run_id"]
    return {"sweep_id": sweep, "seed_run_id": seed, "name": "badd"}


def hold(app: FastAPI, known: dict[str, Any], examples: int) -> Counter[int]:
    """Every operation with that many requests of each kind, checked against the document."""
    seen: Counter[int] = Counter()
    schema = schemathesis.openapi.from_asgi(DOCUMENT, app)
    for found in schema.get_all_operations():
        operation = found.ok()

        def check(case: Case) -> None:
            # A stream of a sweep that goes on has no end.
            events = case.path.endswith("/events")
            answer = case.call(headers={"Accept": "application/json"} if events else None)
            seen[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        @given(case=operation.as_strategy(), real=st.booleans())
        @hypothesis_settings(
            max_examples=examples,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        def run(case: Case, real: bool) -> None:
            if real:
                case.path_parameters.update(
                    {key: known[key] for key in case.path_parameters if key in known}
                )
                _make_sense(case)
            check(case)

        run()
    return seen


def _make_sense(case: Case) -> None:
    """What a body asks for, so that it is not only refused, nor takes minutes."""
    if not isinstance(case.body, dict):
        return
    if case.path.endswith("/sql"):
        case.body["query"] = READ_ONLY
    elif case.path.endswith("/extend") and isinstance(case.body.get("count"), int):
        case.body["count"] %= 3


def test_no_request_is_a_surprise(app: FastAPI, known: dict[str, Any]) -> None:
    seen = hold(app, known, 20)
    assert {200, 404, 422} <= set(seen)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_requests_are_no_surprise(app: FastAPI, known: dict[str, Any]) -> None:
    assert sum(hold(app, known, 200).values()) > 2000


def sequences(app: FastAPI, examples: int) -> None:
    """Requests that follow from each other's answers: a sweep shown, cancelled, deleted."""
    machine = schemathesis.openapi.from_asgi(DOCUMENT, app).as_state_machine()

    class Sequence(machine):  # type: ignore[misc, valid-type]
        def before_call(self, case: Case) -> None:
            _make_sense(case)

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": {"Accept": "application/json"}}

        def validate_response(self, response: Any, case: Case, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Sequence.run(
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=8,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
    )


@pytest.mark.usefixtures("known")
def test_no_sequence_of_requests_is_a_surprise(app: FastAPI) -> None:
    sequences(app, 10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("known")
def test_ten_minutes_of_sequences_of_requests_are_no_surprise(app: FastAPI) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        sequences(app, 50)
