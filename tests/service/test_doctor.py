"""`ngpu doctor`: quiet about an installation in order; every fault has its finding and advice."""

import json
import socket
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from db import invariants
from db.engine import reading, writing
from db.runners import acquire_lease
from service import doctor
from service.doctor import Verdict, examine
from service.settings import Settings
from tests.db.record import claimed
from tests.service.test_cli import Ngpu, ngpu  # noqa: F401
from tests.service.training import ADDITION, submitted, train

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture
def trained(web: TestClient, engine: Engine, settings: Settings) -> str:
    """A sweep that has ended, with its checkpoints."""
    sweep = submitted(web, ADDITION)
    train(settings, engine, sweep)
    return sweep


def findings(settings: Settings) -> dict[str, Verdict]:
    return {one.check: one for one in examine(settings) if one.ok is False}


def test_an_installation_in_order_has_no_finding(settings: Settings, trained: str) -> None:
    verdicts = examine(settings)

    assert [one for one in verdicts if not one.ok] == []
    assert {one.check for one in verdicts} == {
        "checkpoint folder", "native engine", "Ray", "database", "schema",
        "clock", "scheduler", "leases", "states", "checkpoints",
    }  # fmt: skip


def test_waiting_sweeps_want_a_scheduler(
    web: TestClient, engine: Engine, settings: Settings
) -> None:
    submitted(web, ADDITION)
    assert "1 sweeps wait" in findings(settings)["scheduler"].says
    with writing(engine) as conn:
        acquire_lease(conn, doctor.LEADERSHIP, "somebody", 30)
    assert "scheduler" not in findings(settings)


def test_a_lease_that_ran_out_is_named(web: TestClient, engine: Engine, settings: Settings) -> None:
    pack = claimed(engine, submitted(web, ADDITION))
    assert "leases" not in findings(settings)
    past = "'2020-01-01 00:00:00.000'"
    with writing(engine) as conn:
        conn.execute(text(f"UPDATE packs SET lease_until = {past} WHERE id = {pack.pack_id}"))
    found = findings(settings)["leases"]
    assert str(pack.pack_id) in found.says
    assert "start a scheduler" in found.advice


#: What somebody might write, and a word of the invariant it breaks.
IMPOSSIBLE = {
    "UPDATE seed_runs SET state = 'running' WHERE id = {open}": "of a pack somebody holds",
    "UPDATE sweeps SET state = 'finished'": "a sweep that has ended has no seed run",
    "UPDATE packs SET state = 'done'": "a pack that has ended",
    "UPDATE packs SET configuration_id = (SELECT MAX(id) FROM configurations)": "and its pack",
    "UPDATE seed_runs SET finished_at = started_at, steps = 21": "more steps than it may",
    "UPDATE seed_runs SET finished_at = '2026-01-01 00:00:00.000'": "exactly when it has ended",
}


@pytest.mark.parametrize("statement", IMPOSSIBLE)
def test_impossible_states_are_named(
    statement: str, web: TestClient, engine: Engine, settings: Settings
) -> None:
    submitted(web, ADDITION)
    with writing(engine) as conn:
        assert invariants.broken(conn) == []
        run = conn.execute(text("SELECT MIN(id) FROM seed_runs")).scalar_one()
        conn.execute(text(statement.format(open=run)))
    with reading(engine) as conn:
        broken = invariants.broken(conn)
    assert any(IMPOSSIBLE[statement] in one.invariant for one in broken), broken
    assert "verify" in findings(settings)["states"].advice


@on_sqlite
def test_a_finished_seed_run_without_its_checkpoint_is_named(
    engine: Engine, settings: Settings, trained: str
) -> None:
    with writing(engine) as conn:
        conn.execute(text("DELETE FROM checkpoints"))
    assert (
        "a finished seed run that was trained here has its checkpoint"
        in findings(settings)["states"].says
    )


@on_sqlite
def test_missing_and_superfluous_checkpoints_are_named(settings: Settings, trained: str) -> None:
    kept, other = sorted(settings.checkpoints.rglob("*.pt"))[:2]
    kept.with_name("4-999-1.pt").write_bytes(b"xyz")
    assert "1 files of 3 bytes" in findings(settings)["checkpoints"].says
    kept.with_name("4-999-1.pt").unlink()
    (settings.checkpoints / "01NONESUCH").mkdir()
    assert "01NONESUCH" in findings(settings)["checkpoints"].says
    (settings.checkpoints / "01NONESUCH").rmdir()
    other.unlink()
    assert "1 of 4 files are missing" in findings(settings)["checkpoints"].says


def test_a_record_of_an_older_schema_is_to_be_upgraded(empty_database: str, tmp_path: Path) -> None:
    from db.engine import open_engine, upgrade

    engine = open_engine(empty_database)
    upgrade(engine, "0001")
    engine.dispose()
    found = examine(Settings(home=tmp_path / "home", database_url=empty_database))
    schema = next(one for one in found if one.check == "schema")
    assert (schema.ok, schema.advice) == (False, "run `ngpu db upgrade`")
    assert {one.check for one in found if one.ok is None} >= {"scheduler", "states"}


def test_a_record_that_is_away_and_a_cluster_that_is_away(tmp_path: Path) -> None:
    missing = Settings(home=tmp_path / "home", ray_address="127.0.0.1:1")
    found = findings(missing)
    assert "there is no record" in found["database"].says
    assert "nothing answers at 127.0.0.1:1" in found["Ray"].says
    away = Settings(home=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none")
    assert "does not answer" in findings(away)["database"].says
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = Settings(home=tmp_path, ray_address=f"127.0.0.1:{server.getsockname()[1]}")
        assert "Ray" not in findings(there)


@on_sqlite
@pytest.mark.parametrize(
    ("patched", "check", "words"),
    [
        ("service.doctor.LEAST_FREE_BYTES", "checkpoint folder", "free disk space"),
        ("service.doctor.MOST_SKEW_SECONDS", "clock", "synchronize"),
    ],
)
def test_little_space_and_a_skewed_clock_are_findings(
    patched: str,
    check: str,
    words: str,
    settings: Settings,
    trained: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patched, 2**70 if check != "clock" else -1.0)
    assert words in findings(settings)[check].advice


@on_sqlite
def test_without_a_compiled_engine_the_advice_is_a_compiler(
    settings: Settings, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngpu_core.engines.native_build.usable", tuple)
    assert "C++ compiler" in findings(settings)["native engine"].advice


@on_sqlite
def test_the_command_prints_verdicts_and_advice_and_exits_with_one_on_findings(
    ngpu: Ngpu,  # noqa: F811
    settings: Settings,
    trained: str,
) -> None:
    ngpu("version")  # takes what the training wrote off the output
    code, out, err = ngpu("doctor", "-o", "json")
    assert code == 0
    assert all(one["ok"] for one in json.loads(out))
    assert "nothing to do" in err
    next(settings.checkpoints.rglob("*.pt")).unlink()
    code, out, err = ngpu("doctor")
    assert code == 1
    assert "→ if" in err
    assert "1 findings" in err
