"""docker-compose.yml as Compose would run it: each service with its defaults and its image's."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


@dataclass(frozen=True, kw_only=True)
class Service:
    """What containers of one service are made from."""

    name: str
    #: The image's entry point and the service's command, as one command line.
    command: list[str]
    #: Of the image, then of the service.
    environment: dict[str, str]
    #: Names of the project's secrets, mounted at /run/secrets.
    secrets: list[str]
    #: Where each named volume is mounted, and those mounted for reading only.
    volumes: dict[str, str]
    read_only_volumes: list[str]
    tmpfs: list[str]
    networks: list[str]
    depends_on: dict[str, str]
    healthcheck: list[str] | None
    restart: bool
    read_only: bool
    cap_add: list[str]
    cap_drop: list[str]
    no_new_privileges: bool
    shm_size: str
    #: Bytes of its own that a process may have; None: as many as there are.
    data_limit: int | None
    #: Number of the user; None for root.
    user: int | None
    workdir: str
    published: list[str] = field(default_factory=list)


def read_services(variables: Mapping[str, str]) -> dict[str, Service]:
    """The services by name, with the variables of `docker compose` filled in."""
    compose = _filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), variables)
    return {name: _service(name, facts) for name, facts in compose["services"].items()}


def secret_files() -> dict[str, str]:
    """The file each secret is read from, relative to the project."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return {name: facts["file"] for name, facts in compose["secrets"].items()}


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, variables) for one in value]
    if isinstance(value, str):
        return _VARIABLE.sub(
            lambda m: variables.get(m[1] or m[3]) or m[2] or "", value.replace("$$", "\0")
        ).replace("\0", "$")
    return value


def _service(name: str, facts: dict[str, Any]) -> Service:
    image = _image(facts["build"]["dockerfile"]) if "build" in facts else _POSTGRES
    return Service(
        name=name,
        command=[*image["entrypoint"], *map(str, facts["command"])],
        environment=image["environment"] | facts.get("environment", {}),
        secrets=facts.get("secrets", []),
        volumes=dict(one.split(":")[:2] for one in facts.get("volumes", [])),
        read_only_volumes=[
            one.split(":")[0] for one in facts.get("volumes", []) if one.endswith(":ro")
        ],
        tmpfs=facts.get("tmpfs", []),
        networks=facts["networks"],
        depends_on={k: v["condition"] for k, v in facts.get("depends_on", {}).items()},
        healthcheck=facts["healthcheck"]["test"][1:] if "healthcheck" in facts else None,
        restart=facts["restart"] != "no",
        read_only=facts.get("read_only", False),
        cap_add=facts.get("cap_add", []),
        cap_drop=facts.get("cap_drop", []),
        no_new_privileges="no-new-privileges:true" in facts.get("security_opt", []),
        shm_size=facts.get("shm_size", "64m"),
        data_limit=facts.get("ulimits", {}).get("data"),
        user=image["user"],
        workdir=image["workdir"],
        published=facts.get("ports", []),
    )


#: Stands in for the image `postgres`: what its entry point does, over Debian's server.
_POSTGRES: dict[str, Any] = {
    "entrypoint": ["postgres-entrypoint.sh"],
    "environment": {"PGDATA": "/var/lib/postgresql/data"},
    "user": None,
    "workdir": "/",
}


def _image(dockerfile: str) -> dict[str, Any]:
    """What an image says of its own about the containers made from it."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    environment = dict(
        pair.split("=", 1)
        for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE)
        for pair in line.split()
    )
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    (uid,) = re.findall(r"useradd --uid (\d+)", text)
    workdir = re.findall(r"^WORKDIR (.+)$", text, re.MULTILINE)[-1]
    return {
        "entrypoint": json.loads(entrypoint),
        "environment": environment,
        "user": int(uid)
        if re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1:] == ["ngpu"]
        else None,
        "workdir": workdir,
    }
