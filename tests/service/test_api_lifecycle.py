"""Cancel, pause, resume, stop, prioritize, retry, extend and delete over REST."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests.service.api import SWEEPS, YAML, on_sqlite, rows, submitted


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
