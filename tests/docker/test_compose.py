"""docker-compose.yml holds together: with itself, with the Dockerfiles, with the program."""

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from db.reader import MAX_SESSIONS
from service.cli import app
from service.control.local_ray import RAY_ENVIRONMENT
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Path(__file__).with_name("compose_spec") / "compose-spec.json"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: of for name, of in SERVICES.items() if "build" in of}
RAY_NODES = ("ray-head", "scheduler", "ray-worker")
TRAINS = ("scheduler", "ray-worker")

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def interpolated(text: Any) -> str:
    """A value as Compose reads it where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def command(name: str) -> list[str]:
    return [interpolated(word) for word in SERVICES[name]["command"]]


def commands(name: str) -> list[list[str]]:
    """What a service runs: its command, or the lines of the script that is its command."""
    found = command(name)
    script = ROOT / "docker" / found[0]
    if not script.is_file():
        return [found]
    lines = script.read_text().replace("\\\n", " ").splitlines()
    return [line.rstrip(" &").split() for line in lines if line.startswith(("ngpu ", "ray "))]


def environment(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def test_it_follows_the_compose_specification() -> None:
    # This copy of the schema is older than the project's name, which keeps the names of volumes.
    rest = {key: value for key, value in COMPOSE.items() if key != "name"}
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", COMPOSE["name"])
    jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text())).validate(rest)


@pytest.mark.parametrize("kind", ["networks", "secrets"])
def test_every_network_and_secret_named_is_declared_and_used(kind: str) -> None:
    named = {one for of in SERVICES.values() for one in of.get(kind, ())}
    assert named == COMPOSE[kind].keys()


def test_every_volume_named_is_declared_and_used() -> None:
    named = {one.split(":")[0] for of in SERVICES.values() for one in of.get("volumes", ())}
    assert named == COMPOSE["volumes"].keys()


@each_service
def test_a_service_waits_for_services_that_can_satisfy_its_condition(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        match wait["condition"]:
            case "service_healthy":
                assert "healthcheck" in SERVICES[other]
            case "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no"
            case unknown:
                pytest.fail(f"{name} waits for {other} with condition {unknown}")


def test_no_service_waits_for_itself() -> None:
    left = {name: set(of.get("depends_on", ())) for name, of in SERVICES.items()}
    while left:
        ready = {name for name, waits in left.items() if not waits & left.keys()}
        assert ready, f"these wait for each other: {sorted(left)}"
        left = {name: waits for name, waits in left.items() if name not in ready}


@each_service
def test_a_service_is_limited_reaped_watched_and_restarted(name: str) -> None:
    of = SERVICES[name]
    assert of["init"] is True
    assert re.fullmatch(r"\d+[mg]", interpolated(of["mem_limit"]))
    assert of["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert ("healthcheck" in of) is (name != "migrate")


def test_the_sessions_of_queries_fit_into_the_server_s_memory() -> None:
    of = SERVICES["postgres"]
    memory = {"m": 2**20, "g": 2**30}[of["mem_limit"][-1]] * int(of["mem_limit"][:-1])
    assert MAX_SESSIONS * of["ulimits"]["data"] <= 3 / 4 * memory


@each_service
def test_a_service_writes_only_where_it_must_and_may_do_no_more_than_it_must(name: str) -> None:
    of = SERVICES[name]
    assert of["read_only"] is True
    assert of["tmpfs"][0].startswith("/tmp:")
    assert of["cap_drop"] == ["ALL"]
    assert of["security_opt"] == ["no-new-privileges:true"]
    # It becomes its own user by itself; ours are no one else from the start.
    assert ("cap_add" in of) is (name == "postgres")


@pytest.mark.parametrize("name", ["web.Dockerfile", "node.Dockerfile"])
def test_an_image_runs_as_a_user_of_its_own_and_keeps_the_password_in_memory(name: str) -> None:
    text = dockerfile(name)
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1] == "ngpu"
    assert "PGPASSFILE=/tmp/" in text


def test_only_the_web_process_has_a_way_out_and_only_this_host_may_come_in() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert [name for name, of in SERVICES.items() if of["networks"] != ["inside"]] == ["api"]
    assert {name: of["ports"] for name, of in SERVICES.items() if "ports" in of} == {
        "api": ["${PUBLISH:-127.0.0.1:8000}:8000"]
    }


@each_of_ours
def test_a_service_runs_commands_that_exist(name: str) -> None:
    for words in commands(name):
        match words:
            case ["ngpu", *rest]:
                parse_ngpu([word.replace('"$ADMIN_TOKEN_FILE"', os.devnull) for word in rest])
            case ["ray", *rest]:
                parse_ray(rest)
            case _:
                pytest.fail(f"{name} runs {words[0]}")


def parse_ngpu(words: list[str]) -> None:
    found, left = get_command(app), list(words)
    while hasattr(found, "commands"):
        found = found.commands[left.pop(0)]
    found.make_context(words[0], left)


def parse_ray(words: list[str]) -> None:
    # Here, so that only this test waits for Ray to load.
    from ray.scripts.scripts import cli

    arguments = [word.replace('"$NGPU_RAY_ADDRESS"', "head:6379") for word in words[1:]]
    cli.commands[words[0]].make_context(words[0], arguments)


def test_the_web_process_listens_where_the_port_is_published_and_its_health_is_asked() -> None:
    settings = environment("api")
    assert settings["NGPU_HOST"] == "0.0.0.0"
    assert SERVICES["api"]["ports"][0].endswith(f":{settings['NGPU_PORT']}")
    assert f"127.0.0.1:{settings['NGPU_PORT']}/" in SERVICES["api"]["healthcheck"]["test"][-1]


def test_every_variable_of_ours_is_a_setting() -> None:
    texts = [ROOT / "docker-compose.yml", ROOT / "docs/deploy.md", *(ROOT / "docker").glob("*.*")]
    named = {name for path in texts for name in re.findall(r"\bNGPU_[A-Z_]+", path.read_text())}
    settings = {f"NGPU_{field.upper()}" for field in Settings.model_fields} | {"NGPU_CONFIG"}
    assert named
    assert named <= settings


@each_of_ours
def test_its_settings_are_valid_and_hold_no_password(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in environment(name).items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    if name != "ray-head":
        assert settings.database_url == "postgresql://ngpu@postgres/ngpu"
    assert not {"POSTGRES_PASSWORD", "RAY_AUTH_TOKEN", "PGPASSWORD"} & environment(name).keys()


@each_service
def test_a_secret_read_from_a_file_is_mounted(name: str) -> None:
    values = map(str, environment(name).values())
    read = {value.split("/")[-1] for value in values if value.startswith("/run/secrets/")}
    assert read == set(SERVICES[name].get("secrets", ()))


@pytest.mark.parametrize("name", RAY_NODES)
def test_a_ray_node_has_the_settings_of_the_runners_that_use_it(name: str) -> None:
    expected = {key: value for key, value in RAY_ENVIRONMENT.items() if key.startswith("RAY_")}
    given = {key: value for key, value in environment(name).items() if key.startswith("RAY_")}
    authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/run/secrets/ray_token"}
    assert given == expected | authentication


def test_only_workers_offer_processors_and_all_join_the_one_head() -> None:
    starts = {name: words for name in RAY_NODES for words in commands(name) if words[0] == "ray"}
    idle = [name for name, words in starts.items() if "--num-cpus=0" in words]
    assert idle == ["ray-head", "scheduler"]
    address = environment("scheduler")["NGPU_RAY_ADDRESS"]
    assert f"--address={address}" in starts["ray-worker"]
    host, port = address.split(":")
    assert {"--head", f"--port={port}"} <= set(starts[host])


def test_all_that_touch_checkpoints_share_one_home() -> None:
    homes = {name: of["volumes"] for name, of in OURS.items() if "volumes" in of}
    writes = {name: ["home:/var/lib/ngpu"] for name in ("migrate", *TRAINS)}
    assert homes == writes | {"api": ["home:/var/lib/ngpu:ro"]}
    assert "NGPU_HOME=/var/lib/ngpu" in dockerfile("node.Dockerfile")


def test_what_loads_ray_or_torch_runs_in_the_image_that_has_them() -> None:
    images = {name: of["build"]["dockerfile"] for name, of in OURS.items()}
    assert images == {
        "migrate": "docker/web.Dockerfile",
        "api": "docker/web.Dockerfile",
    } | dict.fromkeys(RAY_NODES, "docker/node.Dockerfile")


def dockerfile(name: str) -> str:
    return (ROOT / "docker" / name).read_text()


@pytest.mark.parametrize("name", ["web.Dockerfile", "node.Dockerfile"])
def test_an_image_copies_only_files_that_exist_and_are_not_ignored(name: str) -> None:
    text = dockerfile(name)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    assert set(re.findall(r"^COPY --from=(\S+) ", text, re.MULTILINE)) <= stages
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert (ROOT / path).exists(), f"{name} copies {path}, which is not there"
        assert path.split("/")[0] in allowed


def test_an_image_for_gpus_is_the_one_for_processors_and_a_compiler() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", dockerfile("node.Dockerfile"), re.MULTILINE)
    assert [stage for stage in stages if stage[0] == "node"] == [("node", "cuda"), ("node", "cpu")]
    assert stages[-1] == ("node", "cpu"), "what is built when nobody chooses"
    assert {OURS[name]["build"]["target"] for name in RAY_NODES} == {"${DEVICE:-cpu}"}


@pytest.mark.parametrize("name", OURS)
def test_every_build_argument_given_is_taken(name: str) -> None:
    build = SERVICES[name]["build"]
    text = (ROOT / build["dockerfile"]).read_text()
    assert set(re.findall(r"^ARG (\w+)", text, re.MULTILINE)) == build["args"].keys()


def test_no_secret_can_enter_an_image_or_the_repository() -> None:
    files = [ROOT / secret["file"] for secret in COMPOSE["secrets"].values()]
    assert {file.parent for file in files} == {ROOT / "docker/secrets"}
    assert "docker/secrets" in (ROOT / ".dockerignore").read_text().splitlines()
    assert "secrets/" in (ROOT / "docker/.gitignore").read_text().splitlines()
