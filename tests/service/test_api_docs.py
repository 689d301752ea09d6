"""docs/api.md: every curl line runs, and every address of the API is shown."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"
SUCCESSES = (200, 201, 204)


def curl_lines() -> list[str]:
    return [line for line in DOCUMENT.read_text().splitlines() if line.startswith("curl ")]


def parts(line: str) -> tuple[str, str, dict[str, str], str | None]:
    """Method, address, headers and body (or the file named) of a curl line."""
    words = iter(shlex.split(line.removeprefix("curl ")))
    method, url, body = "GET", "", None
    headers: dict[str, str] = {}
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word in ("-d", "--data-binary"):
            body = next(words)
        elif word == "-o":
            next(words)
        elif word != "-N":
            url = word.replace("$API", "/api/v1")
    return method, url, headers, body


def test_every_line_runs(web: TestClient, spec_text: str) -> None:
    files = {"@spec.yaml": spec_text, "@spec.json": web_json(spec_text)}
    for line in curl_lines():
        # A sweep that has ended where the line needs one: the streams come to an end then.
        sweep = web.post("/api/v1/sweeps?new=true", json=yaml_value(spec_text)).json()["id"]
        seed = web.get(f"/api/v1/sweeps/{sweep}/seeds").json()["items"][0]
        if not re.search(r"/(cancel|extend|pause|resume|stop|priority)", line):
            web.post(f"/api/v1/sweeps/{sweep}/cancel")
        if line.endswith('retry"'):
            continue
        method, url, headers, body = parts(line)
        names = {"$SWEEP": sweep, "$SEED": seed["seed_run_id"]}
        for name, value in {**names, "$CONFIGURATION": seed["configuration_id"]}.items():
            url = url.replace(name, str(value))

        content = None if body is None else files.get(body, body)
        answer = web.request(method, url, headers=headers, content=content)

        # Nothing was trained: there are no weights yet (tests/service/test_probe_commands.py).
        expected = (404,) if "/checkpoint" in url else SUCCESSES
        assert answer.status_code in expected, (line, answer.text)


def test_every_address_is_shown(web: TestClient) -> None:
    shown = set()
    for line in curl_lines():
        method, url, _, _ = parts(line)
        path = (
            url.partition("?")[0].replace("$SWEEP", "{sweep_id}").replace("$SEED", "{seed_run_id}")
        )
        shown.add(
            (
                method,
                path.replace("tasks/badd", "tasks/{name}").replace(
                    "figures/figure2", "figures/{name}"
                ),
            )
        )
    paths = web.get("/api/v1/openapi.json").json()["paths"]

    assert shown == {
        (method.upper(), path) for path, methods in paths.items() for method in methods
    }


def yaml_value(text: str) -> Any:
    spec = yaml.safe_load(text)
    spec["grid"] = {
        axis: {str(level): value for level, value in levels.items()}
        for axis, levels in spec["grid"].items()
    }
    return spec


def web_json(text: str) -> str:
    return json.dumps(yaml_value(text))
