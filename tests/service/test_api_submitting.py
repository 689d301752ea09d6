"""Submitting over REST: what makes a sweep, and what finds the one that is there."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from sqlalchemy import Engine
from starlette.testclient import TestClient

from db.engine import reading
from db.invariants import broken
from tests.service.api import ADDITION, SWEEPS, YAML, on_sqlite, rows, submitted


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


@on_sqlite
def test_what_was_trained_before_is_previewed_and_taken_over(
    web: TestClient, engine: Engine, trained_sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = web.get(f"{SWEEPS}/{trained_sweep}/seeds").json()["items"][0]["code_version"]
    for user in ("service.submission", "service.api.rows"):
        monkeypatch.setattr(f"{user}.code_version", lambda: version)
    ended = web.get(f"{SWEEPS}/{trained_sweep}").json()["progress"]
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
