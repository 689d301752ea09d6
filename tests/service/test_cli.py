"""The command line as a user runs it: `main()` with arguments, over the served app."""

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service import cli
from service.client import Client
from service.settings import Settings

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])

#: arguments -> (exit code, stdout, stderr)
Ngpu = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ngpu(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Ngpu:
    """Run `ngpu` with this test's settings."""
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ngpu", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def served(ngpu: Ngpu, server_url: str, monkeypatch: pytest.MonkeyPatch) -> Ngpu:
    """`ngpu` with a service at the address of its settings."""
    monkeypatch.setenv("NGPU_SERVER_URL", server_url)
    return ngpu


@pytest.fixture
def spec(tmp_path: Path, spec_text: str) -> str:
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text)
    return str(path)


def test_json_is_one_value_and_nothing_else(served: Ngpu, spec: str) -> None:
    code, out, err = served("sweep", "submit", spec, "-o", "json")
    sweep = json.loads(out)

    assert code == 0
    assert sweep["id"] in err
    for command in ("show", "cancel"):
        assert json.loads(served("sweep", command, sweep["id"], "-o", "json")[1])["id"] in err
    assert [one["id"] for one in json.loads(served("sweep", "list", "-o", "json")[1])] == [
        sweep["id"]
    ]
    assert json.loads(served("sweep", "list", "--state", "failed", "-o", "json")[1]) == []
    assert json.loads(served("version", "-o", "json")[1])["version"]


def test_submitting_twice_is_one_sweep_and_says_so(served: Ngpu, spec: str) -> None:
    first = json.loads(served("sweep", "submit", spec, "-o", "json")[1])
    code, out, err = served("sweep", "submit", spec)

    assert code == 0
    assert first["id"] in out
    assert "submitted before" in err


def test_tasks_are_listed_and_shown_without_a_service(ngpu: Ngpu) -> None:
    listed = json.loads(ngpu("task", "list", "-o", "json")[1])
    assert {"badd", "bexpra", "mulbcd", "search"} <= {row["name"] for row in listed}
    out = ngpu("task", "list")[1]
    assert all(row["example"]["input"] in out for row in listed)

    asked = ("task", "show", "badde", "--length", "7", "--count", "2", "--seed", "5")
    code, out, err = ngpu(*asked)
    shown = json.loads(ngpu(*asked, "-o", "json")[1])["examples"]
    assert (code, len(shown)) == (0, 2)
    assert "Add two numbers in base 2" in err
    blocks = [block.splitlines() for block in out.strip().split("\n\n")]
    for block, example in zip(blocks, shown, strict=True):
        assert block[0] == f"{example['input']} → {example['output']}"
        assert [[int(cell) for cell in line.split()[1:]] for line in block[1:]] == [
            *example["rows"],
            example["target"],
        ]


def test_a_task_or_length_that_is_none_is_wrong_usage(ngpu: Ngpu) -> None:
    code, _, err = ngpu("task", "show", "baddd")
    assert (code, "the nearest name is 'badd" in err) == (2, True)
    code, _, err = ngpu("task", "show", "badd", "--length", "200")
    assert (code, "is not valid for task badd" in err) == (2, True)
    code, _, err = ngpu("task", "show", "badd", "--length", "999999")
    assert (code, "at most 401" in err) == (2, True)


def test_preview_stores_nothing(served: Ngpu, spec: str, client: Client) -> None:
    code, out, _ = served("sweep", "preview", spec, "-o", "json")

    assert (code, json.loads(out)["seed_runs"]) == (0, 6)
    assert list(client.sweeps()) == []


def test_a_wrong_spec_is_refused_with_three(served: Ngpu, tmp_path: Path, spec_text: str) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(spec_text.replace("max_steps", "max_stepz"))

    code, out, err = served("sweep", "submit", str(wrong))

    assert (code, out) == (3, "")
    assert "base.training.max_stepz" in err
    assert "did you mean max_steps?" in err


def test_a_sweep_is_cancelled_extended_and_retried(served: Ngpu, client: Client, spec: str) -> None:
    sweep_id = json.loads(served("sweep", "submit", spec, "-o", "json")[1])["id"]

    assert "2 seed runs added" in served("sweep", "extend", sweep_id, "1")[2]
    assert "cancelled" in served("sweep", "cancel", sweep_id)[1]
    assert client.sweep(sweep_id)["progress"]["cancelled"] == 8
    code, _, err = served("sweep", "retry", sweep_id)
    assert code == 3
    assert "is cancelled" in err


def test_a_sweep_is_paused_resumed_and_stopped(served: Ngpu, spec: str) -> None:
    sweep_id = json.loads(served("sweep", "submit", spec, "-o", "json")[1])["id"]

    assert served("sweep", "prioritize", sweep_id, "-1")[0] == 0
    assert "paused" in served("sweep", "pause", sweep_id)[1]
    assert "queued" in served("sweep", "resume", sweep_id)[1]
    assert "finished" in served("sweep", "stop", sweep_id)[1]
    code, _, err = served("sweep", "resume", sweep_id)
    assert code == 3
    assert "is finished" in err


def test_watching_an_ended_sweep_prints_its_table(served: Ngpu, client: Client, spec: str) -> None:
    sweep_id = json.loads(served("sweep", "submit", spec, "-o", "json")[1])["id"]
    client.cancel(sweep_id)

    code, out, err = served("sweep", "watch", sweep_id)

    assert code == 1
    assert "0/0" in out
    assert "A seed succeeds if its sequence error at length 16" in out
    assert "6 of 6 seed runs ended" in err


def test_a_seed_run_is_shown(served: Ngpu, client: Client, spec: str) -> None:
    sweep_id = json.loads(served("sweep", "submit", spec, "-o", "json")[1])["id"]
    seed = next(iter(client.seeds(sweep_id)))

    code, out, _ = served("seed", "show", str(seed["seed_run_id"]), "-o", "json")

    assert code == 0
    assert seed.items() <= json.loads(out).items()


def test_sql_gives_what_the_api_gives(served: Ngpu, client: Client, spec: str) -> None:
    sweep_id = json.loads(served("sweep", "submit", spec, "-o", "json")[1])["id"]
    question = "SELECT configuration, requested, pending FROM success_fractions ORDER BY position"
    columns = ("configuration", "requested", "pending")

    as_json = json.loads(served("sql", question, "-o", "json")[1])
    as_csv = list(csv.DictReader(io.StringIO(served("sql", question, "-o", "csv")[1])))

    assert as_json == [{key: row[key] for key in columns} for row in client.success(sweep_id)]
    assert as_csv == [{key: str(value) for key, value in row.items()} for row in as_json]


def test_sql_changes_nothing(served: Ngpu, client: Client, spec: str) -> None:
    served("sweep", "submit", spec)

    code, out, err = served("sql", "DELETE FROM seed_runs")

    assert (code, out) == (1, "")
    assert err
    assert next(client.sweeps())["progress"]["requested"] == 6


def test_without_a_service_the_message_says_how_to_start_it(ngpu: Ngpu) -> None:
    code, out, err = ngpu("--server-url", "http://127.0.0.1:1", "sweep", "list")

    assert (code, out) == (1, "")
    assert err.strip() == "no service at http://127.0.0.1:1: start it with `ngpu serve`"


def test_wrong_usage_is_two(ngpu: Ngpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ngpu("sweep", "submit", str(tmp_path / "missing.yaml"))[0] == 2
    assert ngpu("sweeep")[0] == 2
    assert ngpu("--database-url", "oracle://x", "sql", "SELECT 1")[0] == 2
    monkeypatch.setenv("NGPU_PORT", "eighty")
    code, _, err = ngpu("sweep", "list")
    assert code == 2
    assert "setting port" in err


def test_a_record_is_upgraded_by_a_command(ngpu: Ngpu, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'record.sqlite'}"

    assert ngpu("--database-url", url, "sql", "SELECT 1")[0] == 1
    assert ngpu("--database-url", url, "db", "upgrade")[0] == 0
    code, out, _ = ngpu("--database-url", url, "sql", "SELECT 1 AS one", "-o", "json")
    assert (code, json.loads(out)) == (0, [{"one": 1}])


def test_one_configuration_is_trained_in_this_process(ngpu: Ngpu, spec: str) -> None:
    code, out, err = ngpu("train", spec, "--configuration", "1", "--seed", "5", "-o", "json")
    rows = json.loads(out)

    assert code == 0
    assert "seed 5 finished at step 20" in err
    assert [(row["step"], row["length"]) for row in rows][-2:] == [(20, 8), (20, 16)]
    assert ngpu("train", spec, "--configuration", "2")[0] == 2


def test_a_token_of_a_file_is_not_printed(ngpu: Ngpu, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"ngpu_{'a' * 12}_{'b' * 64}\n")
    words = ("token", "create", "root", "--role", "admin", "--from", str(file))
    for _ in range(2):
        code, out, err = ngpu(*words)
        assert (code, out) == (0, "")
        assert "bbbb" not in err
    file.write_text("a password of mine")
    assert ngpu(*words)[0] == 1


def test_tokens_are_made_listed_and_revoked(ngpu: Ngpu) -> None:
    code, token, err = ngpu("token", "create", "ada", "--role", "read")
    assert (code, token.count("_")) == (0, 2)
    assert "not shown again" in err
    assert ngpu("token", "create", "ada")[0] == 1
    assert ngpu("token", "create", "bob", "--role", "king")[0] == 2

    _, listed, _ = ngpu("token", "list", "-o", "json")
    assert [(one["name"], one["role"]) for one in json.loads(listed)] == [("ada", "read")]
    assert token.strip().split("_")[2] not in listed

    assert ngpu("token", "revoke", "ada")[0] == 0
    assert ngpu("token", "revoke", "ada")[0] == 1
    assert json.loads(ngpu("token", "list", "-o", "json")[1])[0]["revoked_at"]


def test_a_service_for_others_does_not_start_without_tokens(ngpu: Ngpu) -> None:
    code, _, err = ngpu("api", "--host", "0.0.0.0", "--port", "0")
    assert code == 1
    assert "ngpu token create NAME --role admin" in err
