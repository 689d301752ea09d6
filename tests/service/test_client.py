"""The client: what the API says, as values and exceptions."""

import json
import socket

import pytest
import yaml
from starlette.testclient import TestClient

from service.client import Client, ServiceRefused, ServiceUnreachable, parse_events

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@on_sqlite
def test_a_client_works_over_an_app_in_this_process(web: TestClient, spec_text: str) -> None:
    client = Client("http://testserver", http=web)

    made = client.submit(spec_text)
    found = client.submit(yaml.safe_load(spec_text.replace("4:", '"4":').replace("6:", '"6":')))

    assert (made["created"], found["created"]) == (True, False)
    assert found["id"] == made["id"]
    assert client.preview(spec_text)["seed_runs"] == 6
    assert [sweep["id"] for sweep in client.sweeps(state="queued")] == [made["id"]]
    assert list(client.sweeps(state="finished")) == []
    assert len(list(client.seeds(made["id"]))) == 6
    assert [row["requested"] for row in client.success(made["id"])] == [3, 3]
    assert list(client.curves(made["id"])) == client.thresholds(made["id"]) == []
    assert client.seed(next(iter(client.seeds(made["id"])))["seed_run_id"])["state"] == "pending"
    assert client.extend(made["id"], 1)["queued"] == 2
    assert client.cancel(made["id"])["state"] == "cancelled"
    assert len(client.failures(made["id"])) == 8
    client.delete(made["id"])
    assert list(client.sweeps()) == []


@on_sqlite
def test_the_catalog_is_read(web: TestClient) -> None:
    client = Client("http://testserver", http=web)

    assert {"badd"} < {task["name"] for task in client.tasks()}
    assert len(client.task("badd", length=9, count=2, seed=1)["examples"]) == 2
    assert len(client.models()) >= 2
    assert client.schema()["type"] == "object"
    assert client.version()["version"]
    assert client.ready()


@on_sqlite
def test_pages_are_followed_to_the_end(
    web: TestClient, spec_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client("http://testserver", http=web)
    sweep_id = client.submit(spec_text.replace("count: 3", "count: 130"))["id"]

    seeds = [(seed["configuration_id"], seed["seed"]) for seed in client.seeds(sweep_id)]

    assert len(seeds) == len(set(seeds)) == 260
    assert seeds == sorted(seeds)


@on_sqlite
def test_a_refusal_carries_every_problem(web: TestClient, spec_text: str) -> None:
    client = Client("http://testserver", http=web)

    with pytest.raises(ServiceRefused) as refused:
        client.submit(spec_text.replace("max_steps", "max_stepz"))

    assert refused.value.status == 422
    assert refused.value.problems[0]["nearest"] == "max_steps"


def test_nobody_at_the_address_is_said_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    with Client(url) as client:
        with pytest.raises(ServiceUnreachable, match="start it with `ngpu serve`") as error:
            client.version()
        assert error.value.url == url
        assert not client.ready()


def test_events_are_read_from_their_lines() -> None:
    body = json.dumps({"a": 1})
    lines = [": ping", "", "event: progress", f"data: {body}", "", f"data: {body}", "id: 7", ""]

    progress, numbered = parse_events(iter(lines))

    assert (progress.kind, progress.body, progress.revision) == ("progress", {"a": 1}, None)
    assert (numbered.kind, numbered.revision) == ("message", 7)
