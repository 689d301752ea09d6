"""What docs/deploy.md tells to type for Compose, typed: up to a sweep that has finished."""

import json
import time

import pytest

from tests.cluster.lab import Lab, spec_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 1600


def test_every_service_runs_and_says_that_it_is_well(lab: Lab) -> None:
    migrate = lab.project.containers["migrate"]
    assert migrate.status() == 0
    for container in lab.project.containers.values():
        if container is not migrate:
            lab.until(container.healthy, 120)


def test_a_sweep_is_submitted_trained_and_read_with_the_token_of_the_secret(lab: Lab) -> None:
    sweep = lab.submit(STEPS)
    lab.await_end(sweep)
    lab.assert_whole(sweep, STEPS)
    rows = lab.ngpu("sweep", "show", sweep)
    assert rows["state"] == "finished"
    log = lab.api.run("ngpu", "seed", "logs", str(seed_run(lab, sweep)), NGPU_TOKEN=lab.token)
    assert "seed ended" in log.stdout


def seed_run(lab: Lab, sweep: str) -> int:
    """Id of one of its seed runs, asked for in SQL over HTTP as users do."""
    asked = f"SELECT seed_run_id FROM seed_results WHERE sweep_id = '{sweep}' ORDER BY 1 LIMIT 1"
    script = _POST.format(path="/api/v1/sql", body=json.dumps({"query": asked}))
    answer = json.loads(lab.api.run("python", "-c", script, NGPU_TOKEN=lab.token).stdout)
    return answer["rows"][0][0]


_POST = """
import os, urllib.request as u
headers = {{"Authorization": "Bearer " + os.environ["NGPU_TOKEN"],
           "Content-Type": "application/json"}}
request = u.Request("http://127.0.0.1:8000{path}", {body!r}.encode(), headers)
print(u.urlopen(request, timeout=30).read().decode())
"""


def test_nobody_is_let_in_without_a_token(lab: Lab) -> None:
    for token in ("", "ngpu_0_0", lab.token[:-1] + "x"):
        refused = lab.api.run("ngpu", "sweep", "list", check=False, NGPU_TOKEN=token)
        assert refused.returncode == 3, refused.stdout
        assert "token" in refused.stderr


def test_migrating_again_changes_nothing(lab: Lab) -> None:
    before = lab.tokens()
    migrate = lab.project.containers["migrate"]
    migrate.start()
    lab.until(migrate.ended, 120)
    assert migrate.status() == 0, migrate.log()
    assert [(one["name"], one["created_at"]) for one in lab.tokens()] == [
        (one["name"], one["created_at"]) for one in before
    ]


def test_a_node_without_the_token_cannot_join_and_cannot_run_anything(lab: Lab) -> None:
    node = lab.workers[0]
    script = "import ray; ray.init('ray-head:6379', logging_level='error'); print('in')"
    assert node.run("python", "-c", script).stdout.strip() == "in"
    stranger = node.run("sh", "-c", "echo wrong-token-0123456789 > /tmp/wrong", check=False)
    assert stranger.returncode == 0
    refused = node.run("python", "-c", script, check=False, RAY_AUTH_TOKEN_PATH="/tmp/wrong")
    assert refused.returncode != 0
    assert "in" not in refused.stdout.split()


def test_no_container_writes_outside_its_volumes_and_memory(lab: Lab) -> None:
    for container in lab.project.containers.values():
        if container.init() is None or container.service.user is None:
            continue
        for place in ("/usr/local/x", "/etc/x", "/home/ngpu/x", "/run/secrets/x"):
            assert container.run("touch", place, check=False).returncode != 0, place
        assert container.run("touch", "/tmp/x").returncode == 0
        status = container.run("grep", "-E", "^(CapBnd|NoNewPrivs):", "/proc/1/status").stdout
        assert status
    web = lab.api.run("touch", "/var/lib/ngpu/x", check=False)
    assert web.returncode != 0, "the web process reads checkpoints, it does not write them"


def test_no_secret_is_in_a_command_line_an_environment_or_a_log(lab: Lab) -> None:
    values = [one.strip() for one in lab.project.secrets.values()]
    shown = lab.project.logs()
    for container in lab.project.containers.values():
        for process in container.processes(""):
            shown += " ".join(process.cmdline()) + json.dumps(process.environ())
    assert "NGPU_DATABASE_URL" in shown
    assert [one for one in values if one in shown] == []


def test_a_service_that_is_killed_is_started_again(lab: Lab) -> None:
    began = time.monotonic()
    lab.api.kill()
    lab.until(lab.api.healthy, 120)
    print({"api back": round(time.monotonic() - began, 1)})
    assert lab.ngpu("sweep", "list")


def test_an_upgrade_migrates_first_while_runners_go_on(lab: Lab) -> None:
    sweep = lab.ngpu("sweep", "submit", "-", "--new", text=spec_of(10_000))["id"]
    lab.await_rows(sweep)
    migrate = lab.project.containers["migrate"]
    migrate.start()
    lab.until(migrate.ended, 120)
    assert migrate.status() == 0, migrate.log()
    lab.await_rows(sweep, more=2)
    assert lab.fences(sweep) == [1, 1, 1, 1]
    # Asked to end, as by `docker compose up` with a new image, the scheduler gives its packs back.
    lab.scheduler.ask_to_end()
    lab.await_end(sweep)
    lab.assert_whole(sweep, 10_000)
