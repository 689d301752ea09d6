"""Opening the record: URLs, transactions, the database's clock, the read-only console."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from record import new_sweep, number, submitted
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import StatementError

from db.clock import in_seconds, now
from db.console import read_only, run_query
from db.engine import database_url, open_engine, reading, upgrade, writing
from db.errors import QueryRefused
from db.identifiers import new_id
from db.models import leases, sweeps
from db.submission import submit


def test_ids_have_26_characters_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for milliseconds in (1, 2, 1_700_000_000_000, 1_700_000_000_001):
        monkeypatch.setattr("time.time_ns", lambda: milliseconds * 1_000_000)  # noqa: B023
        ids.append(new_id())
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {26}
    assert len({new_id() for _ in range(1000)}) == 1000


def test_a_postgresql_url_means_psycopg() -> None:
    assert database_url("postgresql://u@h/d").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://u@h/d"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///FILE"):
        open_engine(url)


def test_upgrade_makes_the_folder_of_a_new_record(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'var' / 'ngpu.sqlite'}")
    upgrade(engine)
    engine.dispose()
    assert (tmp_path / "var" / "ngpu.sqlite").exists()


def test_processes_may_upgrade_at_once(empty_database: str) -> None:
    errors: list[Exception] = []

    def act() -> None:
        engine = open_engine(empty_database)
        try:
            upgrade(engine)
        except Exception as error:
            errors.append(error)
        engine.dispose()

    threads = [threading.Thread(target=act) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_the_databases_clock_is_utc_and_counts_seconds(engine: Engine) -> None:
    with reading(engine) as conn:
        current, later = conn.execute(select(now(), in_seconds(90.5))).one()
    assert abs(current - datetime.now(UTC)) < timedelta(minutes=5)
    assert current.utcoffset() == timedelta(0)
    assert abs((later - current).total_seconds() - 90.5) < 1


def test_on_postgresql_a_writer_may_not_rest_on_its_locks_and_a_reader_holds_none(
    engine: Engine,
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite's locks end with their process")
    rest = "SHOW idle_in_transaction_session_timeout"
    for _ in range(2):  # sessions are used again
        with reading(engine) as conn:
            assert conn.exec_driver_sql(rest).scalar() == "0"
        with writing(engine) as conn:
            assert conn.exec_driver_sql(rest).scalar() == "30s"


def test_times_are_stored_with_their_zone_or_not_at_all(engine: Engine) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    with writing(engine) as conn:
        conn.execute(insert(leases).values(name="a", owner="b", until=moment))
        assert conn.execute(select(leases.c.until)).scalar_one() == moment
    naive = moment.replace(tzinfo=None)
    with pytest.raises(StatementError, match="has no time zone"), writing(engine) as conn:
        conn.execute(insert(leases).values(name="c", owner="b", until=naive))


def test_an_exception_undoes_the_whole_transaction(engine: Engine) -> None:
    spec = new_sweep()

    def submit_and_fail(conn: Connection) -> None:
        submit(conn, spec)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), writing(engine) as conn:
        submit_and_fail(conn)
    with reading(engine) as conn:
        assert number(conn, sweeps) == 0


def test_a_reader_sees_one_snapshot_and_blocks_nobody(engine: Engine) -> None:
    with reading(engine) as conn:
        assert number(conn, sweeps) == 0
        submitted(engine)
        assert number(conn, sweeps) == 0
    with reading(engine) as conn:
        assert number(conn, sweeps) == 1


def test_the_console_answers_with_columns_and_rows(engine: Engine, database_url: str) -> None:
    submitted(engine, seeds=3)
    console = read_only(database_url)
    result = run_query(console, "SELECT seed, state FROM seed_results ORDER BY seed", max_rows=2)
    assert (result.columns, result.truncated) == (["seed", "state"], True)
    assert result.items == [{"seed": 0, "state": "pending"}, {"seed": 1, "state": "pending"}]
    # Neither a percent sign nor a colon is a parameter here.
    odd = run_query(console, "SELECT 1 AS a WHERE 'x%s :y' LIKE '%s :y'")
    assert odd.rows == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM sweeps",
        "UPDATE sweeps SET name = 'x'",
        "CREATE TABLE t (a integer)",
        "DROP VIEW failures",
        "SELECT 1; SELECT 2",
        "COMMIT; DELETE FROM events",
        "SELEC 1",
        "",
    ],
)
def test_the_console_changes_nothing_and_says_why(
    engine: Engine, database_url: str, statement: str
) -> None:
    submitted(engine)
    with pytest.raises(QueryRefused, match=r"\S"):
        run_query(read_only(database_url), statement)
    with reading(engine) as conn:
        assert number(conn, sweeps) == 1


def test_the_console_stops_a_query_that_does_not_end(database_url: str) -> None:
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    with pytest.raises(QueryRefused, match=r"interrupted|timeout"):
        run_query(read_only(database_url, seconds=0.3), endless)
