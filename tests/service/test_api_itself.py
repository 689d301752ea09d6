"""What the API says of itself: tasks, families, health, its schema."""

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from service.settings import Settings
from tests.service.api import on_sqlite


@on_sqlite
def test_every_task_and_family_is_listed_with_examples(web: TestClient) -> None:
    tasks = web.get("/api/v1/tasks").json()["items"]
    families = web.get("/api/v1/models").json()["items"]

    assert {"badd", "bmul", "scopy"} <= {task["name"] for task in tasks}
    assert {"neural_gpu", "diagonal_neural_gpu", "lstm_attention"} == {
        family["name"] for family in families
    }
    shown = web.get("/api/v1/tasks/badd", params={"length": 11}).json()
    for example in shown["examples"]:
        first, second = example["input"].split("+")
        assert int(first, 2) + int(second, 2) == int(example["output"], 2)
    for task in tasks:
        shown = web.get(f"/api/v1/tasks/{task['name']}", params={"count": 2}).json()
        assert len(shown["examples"]) == 2
        assert shown["examples"][0] == task["example"]
        assert shown["lengths"].startswith(str(task["minimum_length"]))


@on_sqlite
def test_examples_are_fixed_by_their_seed_and_shown_as_the_network_sees_them(
    web: TestClient,
) -> None:
    def shown(seed: int, count: int) -> list[dict[str, Any]]:
        asked = {"length": 9, "seed": seed, "count": count}
        answer = web.get("/api/v1/tasks/badde", params=asked)
        return list(answer.json()["examples"])

    first = shown(1, 4)
    assert shown(1, 4) == first != shown(2, 4)
    for example in first:
        above, below = example["rows"]
        operands = [[str(cell - 1) for cell in row[3::-1]] for row in (above, below)]
        assert example["input"] == "+".join("".join(digits) for digits in operands)
        assert above[4:] == [0] * 5
        assert example["output"] == "".join(str(cell - 1) for cell in example["target"][::-1])


@on_sqlite
def test_a_length_or_name_that_is_none_is_refused_with_the_nearest(web: TestClient) -> None:
    wrong = web.get("/api/v1/tasks/badd", params={"length": 200})
    assert wrong.status_code == 422
    assert "nearest is 199 or 201" in wrong.text
    missing = web.get("/api/v1/tasks/bexpr2")
    assert missing.status_code == 404
    assert "the nearest name is 'bexpr'" in missing.json()["detail"]


@on_sqlite
def test_the_service_says_whether_it_is_ready_and_what_it_is(web: TestClient) -> None:
    assert web.get("/api/v1/healthz").json() == {"status": "ok"}
    assert web.get("/api/v1/readyz").json() == {"status": "ok"}
    assert web.get("/api/v1/version").json()["version"]


def test_a_record_without_its_schema_is_not_ready(empty_database: str, tmp_path: Path) -> None:
    """PostgreSQL says what to run; an embedded record is upgraded by the service itself."""
    from service.app import create_app

    settings = Settings(home=tmp_path / "home", database_url=empty_database)
    with TestClient(create_app(settings), base_url="http://localhost") as web:
        answer = web.get("/api/v1/readyz")

    if settings.embedded:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 503
        assert "ngpu db upgrade" in answer.json()["detail"]


@on_sqlite
def test_the_schema_describes_every_error_of_every_address(web: TestClient) -> None:
    document = web.get("/api/v1/openapi.json").json()

    for path, operations in document["paths"].items():
        for operation in operations.values():
            described = set(operation["responses"])
            if "{sweep_id}" in path or "{seed_run_id}" in path:
                assert "404" in described, path
            assert "422" in described, path
            problem = operation["responses"]["422"]["content"]
            assert list(problem) == ["application/problem+json"], path
