"""`POST /sql` and its page: answers as JSON and CSV, refusals as problems."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from db.console import RELATIONS
from service.api import sql
from service.client import Client
from service.dashboard.examples import EXAMPLES

SQL = "/api/v1/sql"
JSON = {"Content-Type": "application/json"}
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
COUNTS = "SELECT configuration, requested, fraction FROM success_fractions ORDER BY position"


@pytest.fixture
def filled(web: TestClient, spec_text: str) -> TestClient:
    """The app with a sweep in it."""
    web.post("/api/v1/sweeps", content=spec_text, headers={"Content-Type": "application/yaml"})
    return web


def asked(web: TestClient, query: str, **more: Any) -> Any:
    return web.post(SQL, json={"query": query, **more})


def test_an_answer_says_columns_rows_and_whether_there_are_more(filled: TestClient) -> None:
    answer = asked(filled, COUNTS, limit=1).json()

    assert [column["name"] for column in answer["columns"]] == [
        "configuration",
        "requested",
        "fraction",
    ]
    assert answer["columns"][1]["type"] == "integer"
    assert (answer["row_count"], answer["truncated"]) == (1, True)
    assert answer["rows"] == [["4", 3, None]]
    assert 0 < answer["elapsed_seconds"] < 60


def test_csv_has_the_same_values(filled: TestClient) -> None:
    by_accept = filled.post(SQL, json={"query": COUNTS}, headers={"Accept": "text/csv"})
    by_format = filled.post(SQL, params={"format": "csv"}, json={"query": COUNTS})

    assert by_accept.text == by_format.text
    assert by_accept.headers["Content-Type"].startswith("text/csv")
    assert (by_accept.headers["Row-Count"], by_accept.headers["Truncated"]) == ("2", "false")
    rows = list(csv.reader(io.StringIO(by_accept.text)))
    assert rows == [["configuration", "requested", "fraction"], ["4", "3", ""], ["6", "3", ""]]


def test_parameters_are_values(filled: TestClient) -> None:
    query = "SELECT count(*) AS n FROM seed_results WHERE seed = $1 AND sweep = $2"
    assert asked(filled, query, parameters=[1, "tiny"]).json()["rows"] == [[2]]
    assert asked(filled, query, parameters=[1, "' OR ''='"]).json()["rows"] == [[0]]


REFUSED = [
    ({"query": "DELETE FROM sweeps"}, 422),
    ({"query": "SELEC 1"}, 422),
    ({"query": "SELECT 1; SELECT 2"}, 422),
    ({"query": "SELECT * FROM secrets"}, 422),
    ({"query": ""}, 422),
    ({"query": "SELECT 1", "limit": 0}, 422),
    ({"query": "SELECT 1", "limit": 10_001}, 422),
    ({"query": "SELECT 1", "parameters": [[1]]}, 422),
    ({"query": "SELECT 1", "quary": 1}, 422),
    ({"query": "SELECT '\ud800'"}, 422),
    ({"query": "SELECT '\0'"}, 422),
    ({}, 422),
]


def test_every_refusal_is_a_problem_that_says_why(filled: TestClient) -> None:
    for body, status in REFUSED:
        answer = filled.post(SQL, content=json.dumps(body), headers=JSON)
        assert answer.status_code == status, (body, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]
    misspelt = asked(filled, "SELECT nothing FROM seed_results").json()
    assert (misspelt["type"], "nothing" in misspelt["detail"]) == ("urn:ngpu:query-refused", True)


def test_what_is_not_finite_is_null(filled: TestClient, backend: str) -> None:
    infinite = "9e999" if backend == "sqlite" else "CAST('Infinity' AS double precision)"
    assert asked(filled, f"SELECT {infinite} AS x").json()["rows"] == [[None]]


@on_sqlite
def test_only_so_many_queries_run_at_once(
    filled: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "PATIENCE_SECONDS", 0.01)
    for _ in range(sql.AT_ONCE):
        sql._TURNS.acquire()
    try:
        answer = asked(filled, "SELECT 1")
    finally:
        for _ in range(sql.AT_ONCE):
            sql._TURNS.release()

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert asked(filled, "SELECT 1").status_code == 200


@on_sqlite
def test_the_client_asks_too(client: Client) -> None:
    assert client.sql("SELECT $1 AS a", [7], limit=5)["rows"] == [[7]]


@on_sqlite
def test_the_page_names_what_there_is(web: TestClient) -> None:
    page = web.get("/sql", headers={"Accept": "text/html"}).text

    assert all(f"<code>{name}</code>" in page for name in RELATIONS)
    assert 'href="/sql" aria-current="page"' in page


def test_the_examples_run_and_are_the_cookbook_s(filled: TestClient) -> None:
    cookbook = (Path(__file__).parents[2] / "docs" / "sql.md").read_text().split()
    for title, query in EXAMPLES:
        assert asked(filled, query).status_code == 200, title
        assert " ".join(query.split()) in " ".join(cookbook), title
