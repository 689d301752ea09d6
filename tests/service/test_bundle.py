"""A sweep in one file: every part opens, and all of them say what the record says."""

import csv
import hashlib
import io
import json
import re
import sqlite3
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pandas
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.bundle import Bundle, write_bundle
from service.settings import Settings
from sweeps.spec import load_spec, parse_spec
from tests.service.test_cli import Ngpu, ngpu  # noqa: F401
from tests.service.training import ADDITION, submitted, train

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
VIEWS = (
    "seed_results", "success_fractions", "carry_thresholds", "learning_curves", "failures",
    "probe_errors",
)  # fmt: skip


@pytest.fixture
def sweep(web: TestClient, engine: Engine, settings: Settings) -> str:
    """A trained sweep in a record that holds another one too."""
    trained = submitted(web, ADDITION)
    train(settings, engine, trained)
    submitted(web, ADDITION.replace("name: addition", "name: other"))
    return trained


@pytest.fixture
def bundle(sweep: str, engine: Engine, settings: Settings, tmp_path: Path) -> Bundle:
    return write_bundle(engine, sweep, tmp_path / "bundle.zip", settings.checkpoints)


def test_every_part_opens_and_says_what_the_record_says(
    bundle: Bundle, sweep: str, web: TestClient, tmp_path: Path
) -> None:
    with ZipFile(bundle.file) as opened:
        assert opened.testzip() is None
        assert set(opened.namelist()) == set(bundle.parts)
        opened.extractall(tmp_path / "parts")
    parts = tmp_path / "parts"
    told = web.get(f"/api/v1/sweeps/{sweep}").json()

    spec = parse_spec((parts / "spec.yaml").read_text())
    assert spec == load_spec(told["spec"])
    assert json.loads((parts / "verification.json").read_text())["holds"] is True

    with sqlite3.connect((parts / "record.sqlite").as_uri() + "?mode=ro", uri=True) as record:
        assert record.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert record.execute("PRAGMA foreign_key_check").fetchall() == []
        assert record.execute("SELECT id FROM sweeps").fetchall() == [(sweep,)]
        assert record.execute("SELECT COUNT(*) FROM seed_runs").fetchone() == (4,)
        rows = record.execute("SELECT COUNT(*) FROM evaluations").fetchone()[0]
        shown = record.execute("SELECT fraction, low, high FROM success_fractions").fetchall()
    success = web.get(f"/api/v1/sweeps/{sweep}/success").json()["items"]
    assert shown == [(row["fraction"], row["low"], row["high"]) for row in success]

    for name in (*VIEWS, "evaluations"):
        frame = pandas.read_parquet(parts / "parquet" / f"{name}.parquet")
        text = (parts / "csv" / f"{name}.csv").read_text()
        table = list(csv.DictReader(io.StringIO(text)))
        assert len(frame) == len(table), name
        assert list(frame.columns) == next(csv.reader(io.StringIO(text)))
    frame = pandas.read_parquet(parts / "parquet" / "seed_results.parquet")
    items = web.get(f"/api/v1/sweeps/{sweep}/seeds").json()["items"]
    assert list(frame["final_error"]) == [item["final_error"] for item in items]
    assert [json.loads(axes) for axes in frame["axes"]] == [item["axes"] for item in items]
    assert len(pandas.read_parquet(parts / "parquet" / "evaluations.parquet")) == rows == 4 * 2 * 2

    figures = sorted((parts / "figures").glob("*.svg"))
    assert [file.name for file in figures] == [
        "carries-0-1.svg", "carries-1-1.svg", "curve-0-1.svg", "curve-1-1.svg",
    ]  # fmt: skip
    for file in figures:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_the_papers_figures_are_those_that_the_service_draws(
    bundle: Bundle, sweep: str, web: TestClient
) -> None:
    listed = web.get(f"/api/v1/figures?sweep={sweep}").json()["items"]
    shown = {one["name"] for one in listed if one["missing"] is None}
    drawn = {name for name in bundle.parts if name.startswith("papers/")}
    assert drawn == {f"papers/{name}.{kind}" for name in shown for kind in ("svg", "csv")}
    with ZipFile(bundle.file) as opened:
        numbers = opened.read("papers/figure6-right.csv").decode()
    assert numbers == web.get(f"/api/v1/figures/figure6-right?sweep={sweep}&format=csv").text


def test_the_readme_names_the_code_the_proof_and_every_digest(
    bundle: Bundle, sweep: str, web: TestClient
) -> None:
    with ZipFile(bundle.file) as opened:
        readme = opened.read("README.md").decode()
        digests = re.findall(r"^(\w{64})  (\S+)$", readme, re.MULTILINE)
        for digest, name in digests:
            assert hashlib.sha256(opened.read(name)).hexdigest() == digest
    told = web.get(f"/api/v1/sweeps/{sweep}").json()
    assert {name for _, name in digests} == set(bundle.parts) - {"README.md"}
    assert told["digest"] in readme
    assert told["code_version"] in readme
    assert "Expected are 4 seed runs, 4 are there" in readme
    assert "A seed succeeds if" in readme


@on_sqlite
def test_a_sweep_that_waits_is_bundled_too_and_the_command_says_so(
    ngpu: Ngpu,  # noqa: F811
    web: TestClient,
    tmp_path: Path,
) -> None:
    waits = submitted(web, ADDITION)
    file = tmp_path / "waits.zip"
    code, _, err = ngpu("sweep", "bundle", waits, "-o", str(file))
    assert code == 0, err
    assert f"{file}: " in err
    with ZipFile(file) as opened:
        assert "4 pending" in opened.read("README.md").decode()
    assert ngpu("sweep", "bundle", "nonesuch", "-o", str(tmp_path / "none.zip"))[0] == 1
    assert not (tmp_path / "none.zip").exists()
