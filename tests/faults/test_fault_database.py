"""The database dies, is away, refuses, or ends sessions while a sweep trains."""

import sqlite3
import time
from pathlib import Path

import httpx2
import pytest

from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.injections import Postgres
from tests.faults.ledger import Entry
from tests.faults.record import spec
from tests.faults.stand import Stand

#: Seconds from the server's return to the first row.
GOAL = 10.0


def database_of(stand: Stand) -> str:
    name = stand.engine.url.database
    assert name is not None
    return name


@pytest.mark.case(15, "SIGKILL to all processes of PostgreSQL, 5 times, 1 to 5 s away each")
@pytest.mark.timeout(600)
def test_postgresql_crashes_again_and_again(build: Build, entry: Entry, postgres: Postgres) -> None:
    stand = build(pace=0.6)
    stand.submit(spec())
    stand.start(web=True)
    stand.wait_for_training(packs=2)
    gone: list[int] = []
    refused: set[int] = set()
    for seconds in range(1, 6):
        gone += postgres.kill()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answer = httpx2.get(f"{stand.service.settings.server_url}/api/v1/sweeps", timeout=30)
            refused.add(answer.status_code)
            assert answer.status_code < 500 or int(answer.headers["Retry-After"]) > 0
            time.sleep(0.2)
        postgres.start()
        entry.recovered(stand.wait_for_rows(), GOAL, since="the server's return")
    entry.fired(f"{len(gone)} of the server's pids gone")
    entry.fired(f"the API answered {sorted(refused)}", 503 in refused and 500 not in refused)
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"no attempt used up: fences {fences}", fences == [1, 1])
    stand.settle()
    stand.end()


@pytest.mark.case(16, "PostgreSQL stopped for 5 minutes")
@pytest.mark.timeout(900)
def test_postgresql_is_away_for_minutes(build: Build, entry: Entry, postgres: Postgres) -> None:
    stand = build(pace=0.8)
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    before = stand.service.rows(stand.sweep)
    workers = stand.workers()
    postgres.stop()
    time.sleep(300)
    assert len(workers) == 2
    entry.fired("both workers live", all(map(injections.alive, workers)))
    postgres.start()
    entry.recovered(stand.wait_for_rows(), GOAL, since="the server's return")
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"no attempt used up: fences {fences}", fences == [1, 1])
    assert stand.service.rows(stand.sweep) > before
    stand.settle(seconds=300)
    stand.end()


@pytest.mark.case(17, "pg_terminate_backend to every session, 20 times")
def test_sessions_are_ended(build: Build, entry: Entry, postgres: Postgres) -> None:
    stand = build()
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    ended = 0
    for _ in range(20):
        ended += postgres.end_sessions(database_of(stand))
        time.sleep(0.3)
    entry.fired(f"{ended} sessions ended", ended >= 20)
    entry.recovered(stand.wait_for_rows(), GOAL, since="the last session's end")
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"no attempt used up: fences {fences}", fences == [1, 1])
    stand.settle()
    stand.end()


@pytest.mark.case(17, "A session that locks packs before sweeps, while a worker is killed")
def test_a_deadlock(build: Build, entry: Entry, postgres: Postgres) -> None:
    stand = build(pace=0.4)
    injections.patient_sessions(postgres, database_of(stand))
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    held = stand.held()
    found = injections.deadlock(
        postgres, database_of(stand), lambda: injections.kill_worker(stand.pid)
    )
    entry.fired(f"the server found {found} deadlocks", found >= 1)
    entry.recovered(stand.wait_for_new_fences(held), GOAL, since="the deadlock")
    stand.settle()
    stand.end()


@pytest.mark.case(18, "Every connection that PostgreSQL gives taken for 20 s")
def test_connections_run_out(build: Build, entry: Entry) -> None:
    server = Postgres("max_connections=12")
    try:
        stand = build(pace=0.6, database=server.create("narrow"))
        stand.submit(spec())
        stand.start()
        stand.wait_for_training(packs=2)
        with injections.all_connections_taken(server, "narrow") as taken:
            entry.fired(f"{taken} of 12 connections taken", taken >= 10)
            time.sleep(20)
        entry.recovered(stand.wait_for_rows(), GOAL, since="the connections' return")
        fences = stand.service.fences(stand.sweep)
        entry.fired(f"no attempt used up: fences {fences}", fences == [1, 1])
        stand.settle()
        stand.end()
    finally:
        server.close()


@pytest.mark.case(19, "SQLite's write lock held for 20 s")
@pytest.mark.parametrize("backend", ["sqlite"])
def test_sqlite_is_locked(build: Build, entry: Entry) -> None:
    stand = build(pace=0.6)
    stand.submit(spec())
    stand.start()
    stand.wait_for_training(packs=2)
    path = stand.engine.url.database
    assert path is not None
    with sqlite3.connect(Path(path), isolation_level=None) as holder:
        holder.execute("BEGIN IMMEDIATE")
        before = stand.service.rows(stand.sweep)
        time.sleep(20)
        entry.fired("no row in 20 s", stand.service.rows(stand.sweep) == before)
        holder.execute("ROLLBACK")
    entry.recovered(stand.wait_for_rows(), GOAL, since="the lock's end")
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"no attempt used up: fences {fences}", fences == [1, 1])
    stand.settle()
    stand.end()


@pytest.mark.case(28, "The clock of scheduler, runner and workers set ahead and back by an hour")
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_the_clock_jumps(
    build: Build,
    entry: Entry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seconds: int,
) -> None:
    clock = injections.Clock(tmp_path)
    stand = build()
    stand.submit(spec())
    with monkeypatch.context() as inside:
        for name, value in clock.variables().items():
            inside.setenv(name, value)
        stand.start()
    stand.wait_for_training(packs=2)
    clock.jump(seconds)
    shown = clock.shown() - time.time()
    entry.fired(f"a process there is {shown:+.0f} s off", abs(shown - seconds) < 60)
    entry.recovered(stand.wait_for_rows(), GOAL)
    time.sleep(5)
    fences = stand.service.fences(stand.sweep)
    entry.fired(f"no lease lost: fences {fences}", fences == [1, 1])
    stand.settle()
    stand.end()
