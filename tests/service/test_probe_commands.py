"""Stored weights, asked again: through the folder of checkpoints and through the API."""

import base64
import hashlib
import io
import json
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.client import Client, WrongDigest
from service.settings import Settings
from tests.service.test_cli import Ngpu, ngpu, served  # noqa: F401
from tests.service.training import ADDITION, submitted, train

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])
KEYS = ("task", "probe", "point", "label", "sequences", "wrong_sequences", "symbols",
        "wrong_symbols", "first_wrong", "last_wrong", "step")  # fmt: skip


@pytest.fixture
def sweep(
    web: TestClient, engine: Engine, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> str:
    """Two configurations, two seeds each, all finished."""
    trained = submitted(web, ADDITION)
    train(settings, engine, trained)
    capfd.readouterr()  # the trials' log
    return trained


@pytest.fixture
def first(client: Client, sweep: str) -> int:
    """The id of the first configuration."""
    return next(iter(client.seeds(sweep)))["configuration_id"]


@pytest.mark.parametrize("here", [True, False], ids=["from the folder", "through the API"])
def test_stored_weights_answer_as_they_did_after_training(
    here: bool,
    served: Ngpu,  # noqa: F811
    client: Client,
    sweep: str,
    tmp_path: Path,
) -> None:
    recorded = [
        [row["configuration"], row["seed"], *(row[key] for key in KEYS)]
        for row in client.probes(sweep)
    ]
    home = [] if here else ["--home", str(tmp_path / "elsewhere")]
    code, out, err = served(*home, "probe", sweep, "--probe", "lengths", "-o", "json")

    assert code == 0, err
    assert "on badd: " in err
    asked = [
        [row["configuration"], row["seed"], *(row[key] for key in KEYS)] for row in json.loads(out)
    ]
    assert sorted(asked) == sorted(recorded)
    assert len(asked) == 2 * 2 * 2


def test_wrong_answers_are_shown_as_people_read_them(
    served: Ngpu,  # noqa: F811
    sweep: str,
    first: int,
) -> None:
    flags = ("--seed", "1", "--configuration", str(first), "--length-limit", "7", "-o", "json")
    _, out, _ = served(
        "probe", sweep, "--probe", "lengths", "--sequences", "9", "--answers", *flags
    )
    rows = json.loads(out)

    assert {row["seed"] for row in rows} == {1}
    assert 1 <= len(rows) <= 9
    for row in rows:
        left, right = row["question"].split("+")
        assert int(row["right"], 2) == int(left, 2) + int(right, 2)
        wrong = [
            place
            for place in range(7)
            if row["right"][6 - place] != row["written"].rjust(7, "_")[6 - place]
        ]
        assert row["wrong_symbols"] == len(wrong)
        assert (row["first_wrong"], row["last_wrong"]) == (wrong[0], wrong[-1])


def test_probes_are_listed(ngpu: Ngpu) -> None:  # noqa: F811
    code, out, _ = ngpu("probes", "-o", "json")
    assert (code, "padded_digits" in {row["probe"] for row in json.loads(out)}) == (0, True)


def test_an_ensemble_of_one_is_that_seed_and_members_stand_beside_it(
    served: Ngpu,  # noqa: F811
    client: Client,
    sweep: str,
    first: int,
) -> None:
    flags = ("--configuration", str(first), "--probe", "lengths", "-o", "json")
    alone = json.loads(served("ensemble", sweep, "--seeds", "0", *flags)[1])
    code, out, err = served("ensemble", sweep, "--seeds", "0-1", *flags)

    assert code == 0, err
    assert "ensemble of 2: lengths on badd:" in err
    recorded = {
        row["point"]: row["wrong_sequences"]
        for row in client.probes(sweep, configuration=first)
        if row["seed"] == 0
    }
    assert {row["point"]: row["members"] for row in alone} == {
        point: {"0": wrong} for point, wrong in recorded.items()
    }
    assert [row["members"].keys() for row in json.loads(out)] == [{"0", "1"}] * 2
    code, _, err = served("ensemble", sweep, "--seeds", "0-1", "--probe", "lengths")
    assert code == 1
    assert "choose one" in err


def test_a_trace_is_a_picture_a_map_and_row(
    served: Ngpu,  # noqa: F811
    sweep: str,
    first: int,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "trace"
    flags = ("--seed", "1", "--configuration", str(first), "--length", "9", "-o", str(folder))
    code, _, err = served("trace", sweep, *flags)

    assert code == 0, err
    told = json.loads((folder / "trace.json").read_text())
    assert told["pictures"] == sorted(file.name for file in folder.glob("*.png"))
    assert (told["maps"], told["rows"], told["steps"]) == (2, 2, 10)
    assert len(told["pictures"]) == 4
    left, right = told["question"].split("+")
    assert int(told["right"], 2) == int(left, 2) + int(right, 2)
    assert served("trace", sweep, *flags[:4], "--length", "8", "-o", str(folder))[0] == 2


def test_what_cannot_be_asked_is_said(
    served: Ngpu,  # noqa: F811
    sweep: str,
    settings: Settings,
    engine: Engine,
    web: TestClient,
    capfd: pytest.CaptureFixture[str],
) -> None:
    narrow = submitted(
        web,
        ADDITION.replace("name: addition", "name: narrow").replace(
            "height: 2,", "height: 2, input_symbols: 12, output_symbols: 12,"
        ),
    )
    train(settings, engine, narrow)
    capfd.readouterr()

    def said(*arguments: str) -> tuple[int, str]:
        code, out, err = served(*arguments)
        assert out == ""
        return code, err

    code, err = said("probe", sweep, "--probe", "padded_digits")
    assert code == 2
    assert "does not fit task badd" in err
    code, err = said("probe", sweep, "--probe", "lengths", "--task", "nonesuch")
    assert (code, "no task 'nonesuch'" in err) == (2, True)
    code, err = said("probe", narrow, "--probe", "lengths", "--task", "add")
    assert (code, "task add needs at least 14" in err) == (1, True)
    code, err = said("probe", sweep, "--probe", "carrys")
    assert (code, "nearest name is" in err) == (2, True)
    code, err = said("probe", sweep, "--probe", "lengths", "--seed", "7")
    assert (code, "with seed 7: finished are 0, 1" in err) == (1, True)
    code, err = said("ensemble", sweep, "--probe", "lengths", "--seeds", "first")
    assert (code, "not a list such as" in err) == (2, True)
    waits = submitted(web, ADDITION.replace("name: addition", "name: other"))
    code, err = said("probe", waits, "--probe", "lengths")
    assert (code, "no finished seed run" in err) == (1, True)
    file = next((settings.checkpoints / sweep).rglob("*.pt"))
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    code, err = said("probe", sweep, "--probe", "lengths")
    assert (code, "not those that were recorded" in err) == (1, True)


def test_a_checkpoint_is_downloaded_with_its_recorded_digest(
    web: TestClient,
    client: Client,
    sweep: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    [seed, *_] = client.seeds(sweep)
    run = seed["seed_run_id"]
    answer = web.get(f"/api/v1/seeds/{run}/checkpoint")
    known = client.seed(run)

    digest = hashlib.sha256(answer.content)
    assert digest.hexdigest() == known["checkpoint_sha256"]
    expected = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["Repr-Digest"] == expected
    assert int(answer.headers["Content-Length"]) == known["checkpoint_bytes"]
    state = torch.load(io.BytesIO(answer.content), weights_only=True)
    assert (state["seed"], state["step"]) == (seed["seed"], 20)

    target = tmp_path / "seed.pt"
    assert client.checkpoint(run, target) == known["checkpoint_sha256"]
    assert target.read_bytes() == answer.content
    file = settings.checkpoints / known["checkpoint_path"]
    file.write_bytes(b"something else")
    with pytest.raises(WrongDigest):
        client.checkpoint(run, tmp_path / "other.pt")
    assert not (tmp_path / "other.pt").exists()
    file.unlink()
    gone = web.get(f"/api/v1/seeds/{run}/checkpoint")
    assert (gone.status_code, gone.headers["Content-Type"]) == (404, "application/problem+json")
    assert str(settings.checkpoints) not in gone.text
    assert web.get("/api/v1/seeds/999/checkpoint").status_code == 404


def test_a_result_that_was_taken_over_has_the_weights_of_its_source(
    web: TestClient, engine: Engine, settings: Settings, sweep: str, client: Client
) -> None:
    from db.engine import writing
    from db.reuse import reuse_results

    with writing(engine) as conn:
        conn.exec_driver_sql("UPDATE sweeps SET code_version = 'test'")
    again = submitted(web, ADDITION.replace("name: addition", "name: again"))
    with writing(engine) as conn:
        reuse_results(conn, again, "test")
    for one, other in zip(client.seeds(sweep), client.seeds(again), strict=True):
        assert other["reused_from"] == one["seed_run_id"]
        source, taken = (
            web.get(f"/api/v1/seeds/{each['seed_run_id']}/checkpoint") for each in (one, other)
        )
        assert taken.status_code == 200
        assert taken.content == source.content
    assert len(list(client.probes(again))) == len(list(client.probes(sweep))) == 2 * 2 * 2
