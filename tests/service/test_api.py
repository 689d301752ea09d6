"""The REST API over a real record, on SQLite and on PostgreSQL."""

import csv
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from db import models
from db.console import read_only, run_query
from db.engine import reading, writing
from db.invariants import broken
from db.views import metadata as views
from ngpu_core.config import RunConfig
from ngpu_core.engines.choice import choose
from service import schemas
from service.control.recording import SqlQueue, connect_recorder
from service.settings import Settings

YAML = {"Content-Type": "application/yaml"}
SWEEPS = "/api/v1/sweeps"
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def submitted(web: TestClient, spec_text: str) -> dict[str, Any]:
    response = web.post(SWEEPS, content=spec_text, headers=YAML)
    assert response.status_code == 201, response.text
    return response.json()


def rows(engine: Engine) -> dict[str, int]:
    with reading(engine) as conn:
        tables = models.metadata.sorted_tables
        return {each.name: conn.scalar(select(func.count()).select_from(each)) for each in tables}


def test_a_post_makes_a_sweep_and_the_same_post_finds_it(web: TestClient, spec_text: str) -> None:
    first = web.post(SWEEPS, content=spec_text, headers=YAML)
    again = web.post(SWEEPS, content=spec_text, headers=YAML)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["created"] is True
    assert again.json() == {**first.json(), "created": False}
    assert first.headers["Location"] == f"{SWEEPS}/{first.json()['id']}"
    assert web.get(first.headers["Location"]).json()["progress"]["requested"] == 6


@on_sqlite
def test_json_and_yaml_of_one_spec_are_one_sweep(web: TestClient, spec_text: str) -> None:
    made = submitted(web, spec_text)
    spec = yaml.safe_load(spec_text)
    spec["grid"] = {"filters": {"6": {"model.filters": 6}, "4": {"model": {"filters": 4}}}}

    found = web.post(SWEEPS, json=spec)

    assert found.status_code == 200
    assert found.json()["id"] == made["id"]


@on_sqlite
def test_the_stored_spec_submitted_again_is_the_same_sweep(web: TestClient, spec_text: str) -> None:
    made = submitted(web, spec_text)

    assert web.post(SWEEPS, json=made["spec"]).json()["id"] == made["id"]


def test_twenty_posts_at_once_make_one_sweep(
    web: TestClient, engine: Engine, spec_text: str
) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda _: web.post(SWEEPS, content=spec_text, headers=YAML), range(20))
        )

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert rows(engine)["seed_runs"] == 6


@on_sqlite
def test_new_makes_another_sweep(web: TestClient, spec_text: str) -> None:
    made = submitted(web, spec_text)

    another = web.post(f"{SWEEPS}?new=true", content=spec_text, headers=YAML)

    assert another.status_code == 201
    assert another.json()["id"] > made["id"]


def test_one_idempotency_key_is_one_sweep(web: TestClient, spec_text: str) -> None:
    headers = {**YAML, "Idempotency-Key": "k1"}
    first = web.post(f"{SWEEPS}?new=true", content=spec_text, headers=headers)
    again = web.post(f"{SWEEPS}?new=true", content=spec_text, headers=headers)
    other = web.post(SWEEPS, content=spec_text.replace("tiny", "other"), headers=headers)

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["id"] == again.json()["id"]
    assert first.json()["id"] in other.json()["detail"]


@on_sqlite
def test_a_dry_run_previews_and_stores_nothing(
    web: TestClient, engine: Engine, spec_text: str
) -> None:
    answer = web.post(f"{SWEEPS}?dry_run=true", content=spec_text, headers=YAML)

    assert answer.status_code == 200
    wanted = {"configurations": 2, "seed_runs": 6, "seed_steps": 120, "labels": ["4", "6"]}
    assert wanted.items() <= answer.json().items()
    assert not any(rows(engine).values())


def test_sweeps_are_listed_newest_first_and_pages_partition_them(
    web: TestClient, spec_text: str
) -> None:
    made = [submitted(web, spec_text.replace("tiny", f"s{n}"))["id"] for n in range(5)]

    seen = [sweep["id"] for sweep in all_items(web, SWEEPS, 2)]

    assert seen == made[::-1]


def test_pages_of_seeds_partition_them(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/seeds"
    whole = web.get(url).json()["items"]

    assert len({seed["seed_run_id"] for seed in whole}) == len(whole) == 6
    for limit in (1, 2, 4, 6, 7):
        assert all_items(web, url, limit) == whole


def all_items(web: TestClient, url: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = web.get(url, params=params).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        params["cursor"] = page["next_cursor"]


def test_seeds_are_filtered_by_state_and_configuration(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/seeds"
    one = web.get(url).json()["items"][0]["configuration_id"]

    assert len(web.get(url, params={"state": "pending"}).json()["items"]) == 6
    assert web.get(url, params={"state": "failed"}).json()["items"] == []
    assert len(web.get(url, params={"configuration": one}).json()["items"]) == 3


def test_cancel_ends_a_sweep_and_a_retry_takes_it_up_again(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}"

    cancelled = web.post(f"{url}/cancel").json()
    refused = web.post(f"{url}/retry")
    taken_up = web.post(f"{url}/retry?cancelled=true").json()

    assert (cancelled["state"], cancelled["progress"]["cancelled"]) == ("cancelled", 6)
    assert refused.status_code == 409
    assert (taken_up["state"], taken_up["queued"]) == ("queued", 6)
    assert taken_up["progress"]["pending"] == 6


@on_sqlite
def test_cancelling_twice_changes_nothing(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/cancel"

    assert web.post(url).json() == web.post(url).json()


def test_a_sweep_is_paused_resumed_and_stopped(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}"

    paused = web.post(f"{url}/pause").json()
    listed = web.get(f"{SWEEPS}?state=paused").json()["items"]
    resumed = web.post(f"{url}/resume").json()
    stopped = web.post(f"{url}/stop").json()
    refused = web.post(f"{url}/pause")

    assert (paused["state"], paused["desired"]) == ("paused", "pause")
    assert [one["id"] for one in listed] == [paused["id"]]
    assert (resumed["state"], resumed["desired"]) == ("queued", "run")
    assert (stopped["state"], stopped["progress"]["cancelled"]) == ("finished", 6)
    assert refused.status_code == 409
    assert "is finished" in refused.json()["detail"]
    assert "extend it" in refused.json()["detail"]


def test_a_sweep_is_prioritized_unless_it_has_ended(web: TestClient, spec_text: str) -> None:
    text = f"{spec_text}schedule: {{priority: 3, max_concurrent_trials: 2}}\n"
    sweep = submitted(web, text)
    url = f"{SWEEPS}/{sweep['id']}"

    assert sweep["priority"] == 3
    assert submitted_again(web, spec_text)["id"] == sweep["id"], "a schedule makes no other sweep"
    assert web.post(f"{url}/priority", json={"priority": -5}).json()["priority"] == -5
    assert web.post(f"{url}/priority", json={"priority": 5000}).status_code == 422
    web.post(f"{url}/cancel")
    assert web.post(f"{url}/priority", json={"priority": 1}).status_code == 409


def submitted_again(web: TestClient, spec_text: str) -> dict[str, Any]:
    response = web.post(SWEEPS, content=spec_text, headers=YAML)
    assert response.status_code == 200, response.text
    return response.json()


def test_extend_adds_the_next_seeds(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}"

    extended = web.post(f"{url}/extend", json={"count": 2}).json()

    assert extended["queued"] == 4
    assert extended["spec"]["seeds"] == {"first": 0, "count": 5}
    seeds = web.get(f"{url}/seeds").json()["items"]
    assert [seed["seed"] for seed in seeds] == [0, 1, 2, 3, 4] * 2
    assert web.post(SWEEPS, content=spec_text, headers=YAML).json()["id"] == extended["id"]


def test_extensions_at_once_add_different_seeds(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/extend"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: web.post(url, json={"count": 1}), range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    assert max(answer.json()["progress"]["requested"] for answer in answers) == 14


@on_sqlite
def test_an_extension_beyond_the_limit_is_refused(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/extend"

    refused = web.post(url, json={"count": 60_000})

    assert refused.status_code == 422
    assert "100000" in refused.json()["detail"].replace(",", "").replace("_", "")


def test_only_an_ended_sweep_is_deleted(web: TestClient, engine: Engine, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}"

    assert web.delete(url).status_code == 409
    web.post(f"{url}/cancel")
    assert web.delete(url).status_code == 204
    assert web.get(url).status_code == 404
    assert not any(rows(engine).values())


LISTS: dict[str, tuple[str, type[schemas.Row]]] = {
    "success": ("success_fractions", schemas.SuccessFraction),
    "seeds": ("seed_results", schemas.SeedResult),
    "curves": ("learning_curves", schemas.CurvePoint),
    "thresholds": ("carry_thresholds", schemas.CarryThreshold),
    "failures": ("failures", schemas.Failure),
}

ADDITION = """
name: addition
base:
  model: {family: diagonal_neural_gpu, filters: 4}
  training: {max_steps: 20, tasks: [badd], bins: [9], steps_per_epoch: 10, batch_size: 2}
  evaluation: {tasks: [badd], lengths: [7, 15], sequences: 4, every: 10, carry_limit: 2}
seeds: {count: 2}
success: {length: 15, below: 0.5}
"""


@pytest.fixture
def trained(web: TestClient, engine: Engine, settings: Settings) -> str:
    """A sweep of two seed runs that were really trained, and one that was cancelled after."""
    from sweeps.local_runner import run_locally

    sweep = submitted(web, ADDITION)
    queue = SqlQueue(engine, sweep["id"], 1, "test")
    run_locally(queue, lambda work: connect_recorder(settings.database_url, work), settings.home)
    web.post(f"{SWEEPS}/{sweep['id']}/extend", json={"count": 1})
    web.post(f"{SWEEPS}/{sweep['id']}/cancel")
    return sweep["id"]


def test_json_csv_and_sql_give_the_same_values(
    web: TestClient, settings: Settings, trained: str
) -> None:
    for name, (view, model) in LISTS.items():
        url = f"{SWEEPS}/{trained}/{name}"
        items = web.get(url).json()["items"]
        text = web.get(url, params={"format": "csv"}).text
        from_csv = list(csv.DictReader(io.StringIO(text)))
        from_sql = run_query(read_only(settings.database_url), f"SELECT * FROM {view}").items

        assert items, name
        assert [{key: as_csv(value) for key, value in item.items()} for item in items] == from_csv
        assert comparable(model, items) == comparable(model, from_sql), name


def as_csv(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(value)


def parsed(item: dict[str, Any]) -> dict[str, Any]:
    axes = item.get("axes")
    return {**item, "axes": json.loads(axes)} if isinstance(axes, str) else item


def comparable(model: type[schemas.Row], items: list[dict[str, Any]]) -> list[str]:
    """Rows in one order and form; SQLite keeps JSON and times as text."""
    dumped = [model.model_validate(parsed(item)).model_dump(mode="json") for item in items]
    return sorted(
        json.dumps({key: value for key, value in row.items() if not key.endswith("_at")})
        for row in dumped
    )


@on_sqlite
def test_accept_chooses_csv(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/success"

    asked = web.get(url, headers={"Accept": "text/csv"})

    assert asked.headers["Content-Type"].startswith("text/csv")
    assert asked.text == web.get(url, params={"format": "csv"}).text


@on_sqlite
def test_what_was_trained_before_is_previewed_and_taken_over(
    web: TestClient, engine: Engine, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = web.get(f"{SWEEPS}/{trained}/seeds").json()["items"][0]["code_version"]
    for user in ("service.submission", "service.api.rows"):
        monkeypatch.setattr(f"{user}.code_version", lambda: version)
    ended = web.get(f"{SWEEPS}/{trained}").json()["progress"]
    results = ended["finished"] + ended["diverged"]
    renamed = re.sub("name: .*", "name: again", ADDITION, count=1)

    preview = web.post(f"{SWEEPS}?dry_run=true", content=renamed, headers=YAML).json()
    again = submitted(web, renamed)
    anew = web.post(f"{SWEEPS}?new=true", content=renamed, headers=YAML).json()

    assert results > 0
    assert preview["reused"] == results
    assert again["progress"]["finished"] + again["progress"]["diverged"] == results
    assert anew["progress"]["pending"] == anew["progress"]["requested"]
    # Its checkpoints are the other sweep's, and nothing is missing.
    proof = web.get(f"{SWEEPS}/{again['id']}/verify").json()
    assert (proof["findings"], proof["checkpoints"]) == ([], 0)
    with reading(engine) as conn:
        assert broken(conn) == []


def test_a_trained_seed_shows_its_provenance(web: TestClient, trained: str) -> None:
    items = web.get(f"{SWEEPS}/{trained}/seeds", params={"state": "finished"}).json()["items"]

    seed = web.get(f"/api/v1/seeds/{items[0]['seed_run_id']}").json()
    evaluations = web.get(f"/api/v1/seeds/{seed['seed_run_id']}/evaluations").json()["items"]
    curves = web.get(f"/api/v1/seeds/{seed['seed_run_id']}/curves").json()["items"]

    assert items[0].items() <= seed.items()
    assert seed["run"]["model"]["filters"] == 4
    assert seed["host"]
    assert seed["code_version"]
    engine = choose(RunConfig.from_mapping(seed["run"]))
    assert (seed["engine"], seed["instruction_set"]) == (engine.name, engine.instruction_set)
    assert [(each["length"], each["step"]) for each in evaluations] == [(7, 20), (15, 20)]
    assert {point["kind"] for point in curves} == {"training", "test"}
    assert [seed["succeeded"] for seed in items] != [None, None]


def test_the_models_of_rows_are_the_views() -> None:
    for view, model in LISTS.values():
        assert list(views.tables[view].columns.keys()) == list(model.model_fields), view


@on_sqlite
def test_every_task_and_family_is_listed_with_examples(web: TestClient) -> None:
    tasks = web.get("/api/v1/tasks").json()["items"]
    families = web.get("/api/v1/models").json()["items"]

    assert {"badd", "bmul", "scopy"} <= {task["name"] for task in tasks}
    assert {"neural_gpu", "diagonal_neural_gpu"} == {family["name"] for family in families}
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


@on_sqlite
def test_numbers_that_are_not_finite_are_null(
    web: TestClient, engine: Engine, trained: str
) -> None:
    with writing(engine) as conn:
        conn.execute(models.training_epochs.update().values(loss=None))

    curves = web.get(f"{SWEEPS}/{trained}/curves", params={"kind": "training"})

    assert {point["loss"] for point in curves.json()["items"]} == {None}
