"""Backup while seeds train, restore elsewhere: nothing is lost, and training goes on to its end."""

import shutil
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from db import backup as db_backup
from db.backup import BackupRefused, backup, restore
from db.engine import head_revision, open_engine, reading, upgrade, writing
from db.models import metadata, packs, seed_runs
from db.runners import acquire_lease
from service.control.recording import connect_queue, connect_recorder
from service.settings import Settings
from service.verification import Verification, verify
from sweeps.trial import trial_steps
from tests.service.test_cli import Ngpu, ngpu  # noqa: F401
from tests.service.training import ADDITION, submitted, train

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture(autouse=True)
def _programs(backend: str) -> None:
    if backend == "postgresql":
        try:
            db_backup._program("pg_restore")
        except BackupRefused as error:
            pytest.skip(str(error))


@pytest.fixture
def elsewhere(empty_database: str) -> str:
    """URL of an empty database of the same kind, without a record in it."""
    return empty_database


def proof(url: str, sweep: str, folder: Path) -> Verification:
    engine = open_engine(url)
    with reading(engine) as conn:
        found = verify(conn, sweep, folder)
    engine.dispose()
    return found


def counts(engine: Engine) -> dict[str, int]:
    with reading(engine) as conn:
        return {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def test_a_backup_taken_while_a_sweep_trains_is_whole_and_goes_on_to_its_end(
    web: TestClient, engine: Engine, settings: Settings, elsewhere: str, tmp_path: Path
) -> None:
    sweep = submitted(web, ADDITION)
    url = settings.database_url
    queue = connect_queue(url, sweep, 1, "test")
    work = queue.claim()
    assert work is not None
    steps = trial_steps(
        work,
        connect_recorder(url, work),
        checkpoints=settings.checkpoints,
        flush_seconds=0.0,
        checkpoint_seconds=0.0,
    )
    reached = next(step for step in steps if step >= 10)
    assert reached < 20

    size = backup(url, tmp_path / "record.backup")
    copied = shutil.copytree(settings.checkpoints, tmp_path / "copied" / "checkpoints")
    for _ in steps:  # the original goes on meanwhile
        pass
    assert size == (tmp_path / "record.backup").stat().st_size > 0
    assert restore(elsewhere, tmp_path / "record.backup") == 1

    found = proof(elsewhere, sweep, copied)
    assert found.holds, found.findings
    assert (found.expected, found.finished, found.pending) == (4, 0, 4)
    restored = open_engine(elsewhere)
    with reading(restored) as conn:
        assert conn.execute(select(packs.c.state).distinct()).scalars().all() == ["pending"]
        assert conn.execute(select(func.max(seed_runs.c.steps))).scalar_one() >= 10
    there = Settings(home=tmp_path / "copied", database_url=elsewhere, runner="local")
    train(there, restored, sweep)
    found = proof(elsewhere, sweep, copied)
    assert found.holds, found.findings
    assert found.finished == 4
    restored.dispose()


def test_a_backup_is_of_one_moment_while_others_write(
    engine: Engine, web: TestClient, settings: Settings, elsewhere: str, tmp_path: Path
) -> None:
    stop = threading.Event()
    number = iter(range(1000))

    def submit_on() -> None:
        while not stop.is_set():
            submitted(web, ADDITION.replace("name: addition", f"name: a{next(number)}"))

    thread = threading.Thread(target=submit_on)
    thread.start()
    try:
        files = [tmp_path / f"{place}.backup" for place in range(3)]
        for file in files:
            backup(settings.database_url, file)
    finally:
        stop.set()
        thread.join()
    for file in files:
        sweeps = restore(elsewhere, file, overwrite=True)
        restored = open_engine(elsewhere)
        found = counts(restored)
        restored.dispose()
        assert found["sweeps"] == sweeps
        assert found["seed_runs"] == 4 * sweeps
        assert found["events"] == sweeps


def test_restoring_refuses_to_lose_sweeps_and_to_work_beside_a_scheduler(
    engine: Engine, web: TestClient, settings: Settings, tmp_path: Path
) -> None:
    url, file = settings.database_url, tmp_path / "record.backup"
    kept = submitted(web, ADDITION)
    backup(url, file)
    lost = submitted(web, ADDITION.replace("name: addition", "name: later"))

    with pytest.raises(BackupRefused, match="holds 2 sweeps: --overwrite"):
        restore(url, file)
    with writing(engine) as conn:
        acquire_lease(conn, "scheduler", "somebody 1 1", 30)
    with pytest.raises(BackupRefused, match=r"a scheduler \(somebody 1 1\) is at work"):
        restore(url, file, overwrite=True)
    with writing(engine) as conn:
        conn.exec_driver_sql("DELETE FROM leases")
    assert connect_queue(url, kept, 1, "test").claim() is not None
    with pytest.raises(BackupRefused, match="a worker"):
        restore(url, file, overwrite=True)
    with writing(engine) as conn:
        conn.exec_driver_sql("UPDATE packs SET lease_until = '2020-01-01 00:00:00.000'"
                             " WHERE state = 'leased'")  # fmt: skip
    engine.dispose()

    assert restore(url, file, overwrite=True) == 1
    assert web.get(f"/api/v1/sweeps/{kept}").status_code == 200
    assert web.get(f"/api/v1/sweeps/{lost}").status_code == 404


def test_a_file_that_is_no_backup_is_refused(
    settings: Settings, elsewhere: str, backend: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"PGDMP" if backend == "sqlite" else b"SQLite format 3\0")
    with pytest.raises(BackupRefused, match=f"no backup of a {backend} record"):
        restore(elsewhere, other)


def test_an_old_backup_is_restored_at_the_newest_schema(
    empty_database: str, database_url: str, tmp_path: Path
) -> None:
    old = open_engine(empty_database)
    upgrade(old, "0001")
    old.dispose()
    backup(empty_database, tmp_path / "old.backup")
    restore(database_url, tmp_path / "old.backup")
    restored = open_engine(database_url)
    from db.engine import current_revision

    assert current_revision(restored) == head_revision()
    restored.dispose()


@on_sqlite
def test_a_damaged_backup_is_refused_and_the_record_stays(
    engine: Engine, web: TestClient, settings: Settings, tmp_path: Path
) -> None:
    submitted(web, ADDITION)
    file = tmp_path / "record.backup"
    backup(settings.database_url, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    before = counts(engine)
    with pytest.raises(BackupRefused, match="damaged"):
        restore(settings.database_url, file, overwrite=True)
    assert counts(engine) == before


@on_sqlite
def test_without_postgresql_s_programs_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(db_backup.shutil, "which", lambda name: None)
    with pytest.raises(BackupRefused, match="pg_dump is not there: install PostgreSQL's client"):
        backup("postgresql://nobody@127.0.0.1/none", tmp_path / "file")


@on_sqlite
def test_a_record_is_backed_up_and_restored_by_commands(
    ngpu: Ngpu,  # noqa: F811
    web: TestClient,
    tmp_path: Path,
) -> None:
    submitted(web, ADDITION)
    file, url = str(tmp_path / "backup"), f"sqlite:///{tmp_path / 'restored.sqlite'}"
    assert ngpu("db", "backup", file)[0] == 0
    code, _, err = ngpu("--database-url", url, "db", "restore", file)
    assert (code, "1 sweeps restored" in err) == (0, True)
    code, _, err = ngpu("--database-url", url, "db", "restore", file)
    assert (code, "--overwrite" in err) == (1, True)
    assert ngpu("--database-url", url, "db", "restore", file, "--overwrite")[0] == 0
