"""Figures over REST, as pages and from the command line: the same figure everywhere."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from figure_record import learned, measured
from sqlalchemy import Engine
from starlette.testclient import TestClient

from db.recording import Rows
from ngpu_core.config import RunConfig
from service import cli
from service.figures.files import MEDIA_TYPES
from service.figures.registry import FIGURES
from service.settings import Settings

pytestmark = pytest.mark.parametrize("backend", ["sqlite"])

HTML = {"Accept": "text/html"}
HOSTILE = "</script><script>alert(1)</script>"
SPEC = f"""
name: '{HOSTILE}'
base:
  training: {{tasks: [bmul], max_steps: 400}}
  evaluation: {{lengths: [201], every: 200}}
grid:
  variant: {{classical: {{}}, '{HOSTILE}': {{training.dropout: 0.0}}}}
seeds: {{count: 2}}
success: {{length: 201, below: 0.01}}
"""


def rows(run: RunConfig, seed: int) -> tuple[Rows, str]:
    return learned(run, seed, at=0.2 if seed else 1.5), "finished"


@pytest.fixture
def sweep(engine: Engine) -> str:
    """A sweep whose names are hostile; one seed of each configuration has learned."""
    return measured(engine, SPEC, rows)


def test_every_format_is_what_its_type_says(web: TestClient, sweep: str) -> None:
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "csv": b"variant,", "vega": b"{"}
    for format_, start in starts.items():
        answer = web.get(f"/api/v1/figures/figure2?sweep={sweep}&format={format_}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(MEDIA_TYPES[format_])  # type: ignore[index]
        assert answer.content.startswith(start)
        assert HOSTILE.encode() not in answer.content or format_ in ("csv", "vega")


def test_the_list_says_what_a_sweep_lacks(web: TestClient, sweep: str) -> None:
    unasked = web.get("/api/v1/figures").json()["items"]
    asked = {one["name"]: one for one in web.get(f"/api/v1/figures?sweep={sweep}").json()["items"]}

    assert [one["name"] for one in unasked] == list(FIGURES)
    assert all(one["missing"] is None for one in unasked)
    assert asked["figure2"]["missing"] is None
    assert asked["figure6-right"]["missing"] == (
        "this sweep has no carry thresholds: set evaluation.carry_limit"
    )


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("figure-2?sweep=SWEEP", 404, "figure2"),
        ("figure2?sweep=nobody", 404, "nobody"),
        ("figure2", 422, "sweep"),
        ("figure2?sweep=SWEEP&format=gif", 422, "svg"),
        ("figure6-right?sweep=SWEEP", 409, "set evaluation.carry_limit"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(
    web: TestClient, sweep: str, path: str, status: int, said: str
) -> None:
    answer = web.get(f"/api/v1/figures/{path.replace('SWEEP', sweep)}")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert said in answer.text


def test_the_pages_link_to_each_other_and_escape_everything(web: TestClient, sweep: str) -> None:
    for path in (
        "/figures", f"/figures?sweep={sweep}", f"/sweeps/{sweep}/figures", f"/sweeps/{sweep}",
        f"/sweeps/{sweep}/figures/figure2", f"/sweeps/{sweep}/figures/known-results",
    ):  # fmt: skip
        page = web.get(path, headers=HTML)
        assert page.status_code == 200
        assert "<script>alert(1)" not in page.text
    assert f'href="/sweeps/{sweep}/figures"' in web.get(f"/sweeps/{sweep}", headers=HTML).text
    listed = web.get(f"/sweeps/{sweep}/figures", headers=HTML).text
    assert f'href="/sweeps/{sweep}/figures/figure2"' in listed
    assert "this sweep has no carry thresholds" in listed


def test_a_page_shows_table_caption_and_files_of_its_figure(web: TestClient, sweep: str) -> None:
    page = web.get(f"/sweeps/{sweep}/figures/figure2", headers=HTML).text
    assert "1/2" in page
    assert "n = 4 of 4 seed runs requested" in page
    assert f"/api/v1/figures/figure2?sweep={sweep}&amp;format=pdf" in page
    lacking = web.get(f"/sweeps/{sweep}/figures/table3", headers=HTML)
    assert lacking.status_code == 200
    assert "cannot show this figure" in lacking.text
    assert web.get(f"/sweeps/{sweep}/figures/nothing", headers=HTML).status_code == 404


def ngpu(monkeypatch: pytest.MonkeyPatch, settings: Settings, url: str, *arguments: str) -> int:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("NGPU_SERVER_URL", url)
    monkeypatch.setattr(sys, "argv", ["ngpu", "figure", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_writes_the_file_its_ending_names(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    server_url: str,
    sweep: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = ngpu(monkeypatch, settings, server_url, *arguments)
        return code, *capfd.readouterr()

    starts = {"a.svg": b"<svg", "a.PNG": b"\x89PNG", "a.csv": b"variant,", "a.json": b"{"}
    for name, start in starts.items():
        file = tmp_path / name
        code, out, _ = run("figure2", "--sweep", sweep, "-o", str(file))
        assert (code, out) == (0, "")
        assert file.read_bytes().startswith(start)
    spec: Any = json.loads((tmp_path / "a.json").read_text())
    assert "vega-lite" in spec["$schema"]

    code, out, _ = run()
    assert code == 0
    assert all(name in out for name in ("figure2", "dngpu-figure9"))
    assert run("figure2", "-o", str(tmp_path / "b.svg"))[0] == 2
    assert run("figure2", "--sweep", sweep, "-o", str(tmp_path / "b.gif"))[0] == 2
    code, _, err = run("figure6-right", "--sweep", sweep, "-o", str(tmp_path / "c.svg"))
    assert code == 3
    assert "evaluation.carry_limit" in err
    assert not (tmp_path / "c.svg").exists()
