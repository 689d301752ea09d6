"""Disks fill up, checkpoints are damaged, and processes die between a file and its row."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec
from tests.faults.stand import Stand
from tests.sweeps.tiny import checkpoint_paths

#: Seconds from the return of space to the first row: both sides look again every few seconds.
GOAL = 15.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")
both_databases = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])


def files(stand: Stand) -> set[str]:
    """The checkpoint files there are."""
    root = stand.service.settings.checkpoints
    return {str(file.relative_to(root)) for file in root.rglob("*.pt")}


@needs_root
@pytest.mark.case(19, "The disk of the home (SQLite: the record's too) filled for 45 s")
@both_databases
@pytest.mark.timeout(600)
def test_the_disk_is_full(build: Build, entry: Entry, tmp_path: Path) -> None:
    with injections.small_disk(tmp_path / "disk", megabytes=64) as disk:
        # The database's own files of PostgreSQL are elsewhere.
        stand = build("local", pace=0.8, home=disk / "home")
        stand.submit(spec(seeds=2))
        stand.start()
        stand.wait_for_training()
        filler = injections.fill_disk(disk)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        entry.fired(f"{free} bytes free", free < 4096)
        time.sleep(40)  # a checkpoint is due within 30
        rows = stand.service.rows(stand.sweep)
        time.sleep(5)
        entry.fired("the training waits", stand.service.rows(stand.sweep) == rows)
        filler.unlink()
        entry.recovered(stand.wait_for_rows(), GOAL, since="the return of space")
        assert not any(row.user_attempts for row in stand.service.packs(stand.sweep))
        stand.settle(seconds=300)
        stand.end()


@pytest.mark.case(20, "A checkpoint flipped by a bit, cut or deleted while its worker is dead")
@pytest.mark.parametrize("damage", [injections.flip_a_bit, injections.truncate, injections.remove])
def test_a_checkpoint_is_damaged(
    build: Build, entry: Entry, damage: Callable[[Path], None]
) -> None:
    stand = build("local")
    stand.submit(spec())
    stand.start()
    stand.wait_for_training()
    stand.wait(lambda: bool(checkpoint_paths(stand.engine, stand.sweep)), 60)
    stand.end()
    name = checkpoint_paths(stand.engine, stand.sweep)[0]
    damage(stand.service.settings.checkpoints / name)
    stand.start()
    stand.wait(lambda: "CorruptCheckpoint" in stand.service.log(), 60)
    entry.fired(f"{Path(name).name} was refused")
    stand.settle()
    packs = stand.service.packs(stand.sweep)
    assert not any(row.user_attempts for row in packs)
    stand.end()


@pytest.mark.case(21, "SIGKILL to the worker between the file's rename and the row's commit")
@pytest.mark.timeout(600)
def test_a_worker_dies_between_file_and_row(build: Build, entry: Entry) -> None:
    def unpointed() -> set[str]:
        return files(stand) - set(checkpoint_paths(stand.engine, stand.sweep))

    stand = build("local", pace=0.8)
    stand.submit(spec(seeds=2))
    stand.start()
    stand.wait(lambda: bool(stand.held()), 60)
    with stand.engine.connect() as holder, holder.begin():
        # The pointers wait for this lock, the files do not.
        holder.exec_driver_sql("LOCK TABLE checkpoints IN EXCLUSIVE MODE")
        stand.wait(lambda: bool(unpointed()), 90)
        held = stand.held()
        gone = injections.kill_runner(stand.pid)
        entry.fired(
            f"{len(gone)} pid gone, {len(unpointed())} files that no row points to",
            bool(gone and unpointed()),
        )
        _end_waiting_sessions(holder)
    entry.recovered(stand.wait_for_new_fences(held), 10.0)
    stand.settle()
    stand.end()


def _end_waiting_sessions(holder: object) -> None:
    """The dead worker's statement still waits in the server, and could yet be carried out."""
    holder.exec_driver_sql(  # type: ignore[attr-defined]
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )


@pytest.mark.case(21, "SIGKILL to the worker right after the row's commit, 5 times")
@both_databases
@pytest.mark.timeout(600)
def test_a_worker_dies_right_after_its_checkpoint(build: Build, entry: Entry) -> None:
    moments = random.Random(21)
    stand = build("local")
    stand.submit(spec())
    stand.start()
    gone: set[int] = set()
    for _ in range(5):
        before = set(checkpoint_paths(stand.engine, stand.sweep))
        stand.wait(
            lambda before=before: bool(  # type: ignore[misc]
                set(checkpoint_paths(stand.engine, stand.sweep)) - before
            ),
            60,
        )
        time.sleep(moments.uniform(0, 0.02))
        gone.update(injections.kill_runner(stand.pid))
    entry.fired(f"{len(gone)} pids gone, each after a new pointer", len(gone) >= 4)
    entry.fired(f"fences {stand.service.fences(stand.sweep)}")
    stand.settle()
    stand.end()
