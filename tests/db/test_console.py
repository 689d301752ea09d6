"""Users' SQL: what it answers, and every attack on it that we know of."""

import json
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from record import submitted
from sqlalchemy import Engine, make_url

from db.console import MAX_BYTES, RELATIONS, Console, read_only, run_query
from db.engine import reading
from db.errors import QueryImpossible, QueryRefused, QueryStopped
from db.models import metadata

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"])
ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
#: A busy machine starts a process late; the limit itself is half a second.
PROMPT_SECONDS = 4.0


@pytest.fixture
def console(engine: Engine, database_url: str) -> Console:
    """A console with little patience on a record of one sweep."""
    submitted(engine)
    return read_only(database_url, seconds=0.5)


def test_parameters_are_numbered_and_typed(console: Console) -> None:
    question = "SELECT seed FROM seed_results WHERE seed >= $1 AND state = $2 ORDER BY seed"
    assert run_query(console, question, parameters=[1, "pending"]).rows == [(1,)]
    # What is not text of the query is never read as SQL.
    hostile = "' OR 1 = 1; DROP TABLE sweeps --"
    assert run_query(console, question, parameters=[0, hostile]).rows == []
    with pytest.raises(QueryRefused, match=r"\$2|parameter"):
        run_query(console, question, parameters=[1])


def test_columns_have_the_types_of_the_cookbook(console: Console) -> None:
    result = run_query(console, "SELECT seed, state, 0.5 * seed AS half FROM seed_results LIMIT 2")
    assert result.types[:2] == ["integer", "text"]
    assert result.types[2] in ("double", "numeric")
    assert result.seconds > 0
    twice = run_query(console, "SELECT 1 AS a, 2 AS a")
    assert (twice.columns, twice.rows) == (["a", "a"], [(1, 2)])


@pytest.mark.parametrize("relation", RELATIONS)
@on_sqlite
def test_views_and_raw_counts_are_there(console: Console, relation: str) -> None:
    assert run_query(console, f"SELECT * FROM {relation}").columns


@on_postgresql
def test_views_and_raw_counts_are_there_on_postgresql(console: Console) -> None:
    for relation in RELATIONS:
        assert run_query(console, f"SELECT * FROM {relation}").columns


def test_rows_and_bytes_are_capped(console: Console) -> None:
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) "
    assert run_query(console, many + "SELECT n FROM c", max_rows=7).truncated
    filled = run_query(console, many + f"SELECT n, '{'x' * 10_000}' FROM c")
    assert filled.truncated
    assert 0.9 * MAX_BYTES < len(json.dumps(filled.rows)) <= 1.01 * MAX_BYTES


def test_what_is_not_text_is_refused(console: Console) -> None:
    for text in ("SELECT '\ud800'", "SELECT 1\0, 2"):
        with pytest.raises(QueryRefused, match="query"):
            run_query(console, text)
    for value in ("\ud800", "\0", float("nan")):
        with pytest.raises(QueryRefused, match="parameter"):
            run_query(console, "SELECT $1", parameters=[value])


HIDDEN = [*sorted(set(metadata.tables) - set(RELATIONS)), "alembic_version"]


def test_the_service_s_own_tables_are_hidden(console: Console) -> None:
    assert {"secrets", "runners", "leases"} <= set(HIDDEN)
    for table in HIDDEN:
        with pytest.raises(QueryRefused, match=r"prohibited|denied"):
            run_query(console, f"SELECT * FROM {table}")


BOTH = [
    "INSERT INTO sweeps (id) VALUES ('x')",
    "UPDATE sweeps SET name = 'x'",
    "DELETE FROM sweeps",
    "WITH gone AS (DELETE FROM sweeps RETURNING id) SELECT * FROM gone",
    "CREATE TABLE t (a integer)",
    "CREATE TEMP TABLE t (a integer)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "DROP TABLE sweeps",
    "BEGIN",
    "COMMIT",
    "SELECT 1; SELECT 2",
    "SELECT 1; DELETE FROM sweeps",
    "COMMIT; DELETE FROM sweeps",
    "VACUUM",
    "REINDEX",
    "/* nothing */",
]
SQLITE = [
    "ATTACH 'x' AS y",
    "ATTACH ':memory:' AS y",
    "DETACH main",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = ON",
    "PRAGMA table_info(sweeps)",
    "SELECT * FROM pragma_table_info('sweeps')",
    "SELECT * FROM pragma_database_list",
    "SELECT load_extension('x')",
    "SELECT zeroblob(900000000)",
    "SELECT randomblob(900000000)",
    "SELECT readfile('x')",
    "SELECT writefile('x', 'y')",
    "SELECT fts3_tokenizer('simple')",
    "VACUUM INTO 'x'",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM dbstat",
    "CREATE VIRTUAL TABLE t USING fts5(a)",
    "CREATE TRIGGER t AFTER INSERT ON sweeps BEGIN SELECT 1; END",
    "SAVEPOINT a",
    "ANALYZE",
]
POSTGRESQL = [
    "COPY sweeps TO PROGRAM 'cat'",
    "COPY sweeps FROM PROGRAM 'echo'",
    "COPY sweeps TO STDOUT",
    "COPY (SELECT 1) TO 'x'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_read_binary_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('PG_VERSION')",
    "SELECT * FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
    "SELECT lo_import('PG_VERSION')",
    "SELECT lo_export(1, 'x')",
    "SELECT lo_create(7)",
    "DO $$ BEGIN LOOP END LOOP; END $$",
    "SET statement_timeout = 0",
    "SET ROLE postgres",
    "RESET SESSION AUTHORIZATION",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('temp_file_limit', '-1', false)",
    "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_switch_wal()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "SELECT pg_logical_emit_message(false, 'x', 'y')",
    "SELECT pg_logical_emit_message(true, 'x', 'y'::bytea)",
    "SELECT query_to_xml('SELECT pg_logical_' || 'emit_message(false, ''x'', ''y'')', "
    "true, false, '')",
    "SELECT nextval('seed_runs_id_seq')",
    "SELECT setval('seed_runs_id_seq', 1)",
    "SELECT query_to_xml('SELECT * FROM secrets', true, false, '')",
    "SELECT query_to_xml('DELETE FROM sweeps', true, false, '')",
    "CREATE EXTENSION dblink",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE ROLE somebody SUPERUSER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "GRANT postgres TO CURRENT_USER",
    "LOCK TABLE sweeps",
    "LISTEN x",
    "PREPARE p AS SELECT 1",
    "CALL f()",
    "EXPLAIN ANALYZE DELETE FROM sweeps",
    "SELECT * FROM sweeps FOR UPDATE",
]


def _contents(engine: Engine) -> list[Any]:
    with reading(engine) as conn:
        return [conn.execute(table.select()).all() for table in metadata.tables.values()]


def _refused(console: Console, engine: Engine, statements: list[str]) -> None:
    before = None
    for statement in statements:
        # The first query makes the role, whose password is a row.
        before = before or (run_query(console, "SELECT 1"), _contents(engine))
        try:
            answer = run_query(console, statement).rows
        except QueryRefused:
            pass
        else:
            # Permitted where it can do nothing: none of it lasts.
            assert "lo_create" in statement, (statement, answer)
    assert before is not None
    assert _contents(engine) == before[1]


def test_nothing_is_changed(console: Console, engine: Engine) -> None:
    _refused(console, engine, BOTH)


@on_sqlite
def test_no_way_out_of_sqlite(
    console: Console, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(console, engine, SQLITE)
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"record.sqlite"}


@on_postgresql
def test_no_way_out_of_postgresql(console: Console, engine: Engine) -> None:
    _refused(console, engine, POSTGRESQL)
    with reading(engine) as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM pg_largeobject_metadata").scalar() == 0
    everything = str(run_query(console, "SELECT database_to_xml(true, false, '')").rows)
    assert "<seed_runs>" in everything
    assert "secrets" not in everything


CROSS_JOIN = "SELECT count(*) FROM {0} a, {0} b, {0} c, {0} d"
LONG = {
    "sqlite": [
        ENDLESS,
        CROSS_JOIN.format("json_each('[" + ",".join(["1"] * 1000) + "]')"),
        # SQLite counts these digits in one operation, at which it never looks at the clock.
        "SELECT printf('%.900000000c', 'a')",
    ],
    "postgresql": [
        ENDLESS,
        CROSS_JOIN.format("generate_series(1, 1000)"),
        "SELECT pg_sleep(30)",
        "SELECT set_config('statement_timeout', '0', false), pg_sleep(30)",
        "SELECT set_config('client_connection_check_interval', '0', false), "
        "set_config('statement_timeout', '0', false), pg_sleep(30)",
        "SELECT query_to_xml('SELECT pg_sleep(30)', true, false, '')",
    ],
}


def test_whatever_takes_too_long_is_stopped(console: Console, backend: str) -> None:
    run_query(console, "SELECT 1")
    for query in LONG[backend]:
        started = time.monotonic()
        with pytest.raises(QueryStopped, match="timeout"):
            run_query(console, query)
        assert time.monotonic() - started < PROMPT_SECONDS, query


LARGE = {
    "sqlite": [
        "SELECT replace(printf('%.4000000c', 'a'), 'a', 'aaaa')",
        "SELECT group_concat(printf('%.1000000c', 'a')) FROM json_each('[1,2,3,4,5,6]')",
        "SELECT " + ", ".join(["printf('%.4900000c', 'a')"] * 100),
    ],
    "postgresql": ["SELECT repeat('x', 900000000)", "SELECT repeat('x', 20000000)"],
}


def test_whatever_is_too_large_is_stopped(database_url: str, backend: str) -> None:
    console = read_only(database_url, seconds=10)
    for query in LARGE[backend]:
        with pytest.raises(QueryRefused, match=r"larger|memory|too big|timeout"):
            run_query(console, query)
    assert run_query(console, "SELECT 1").rows == [(1,)]


#: Each takes more memory than `docker-compose.yml` lets one of the server's processes have.
HUNGRY = [
    "SELECT length(repeat('x', 900000000))",
    "SELECT length(string_agg(repeat('x', 1000000), '')) FROM generate_series(1, 400)",
    "SELECT set_config('work_mem', '4GB', false), "
    "cardinality(array_agg(repeat(i::text, 5000))) FROM generate_series(1, 50000) i",
]


@pytest.fixture
def limited_server(engine: Engine) -> None:
    """The server has the memory that it has in Docker; one that tests cannot limit has not."""
    with reading(engine) as conn:
        backend = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    limits = Path(f"/proc/{backend}/limits").read_text()
    if "Max data size             unlimited" in limits:
        pytest.skip("the wheel's PostgreSQL is started without a limit")


@on_postgresql
@pytest.mark.parametrize("query", HUNGRY)
def test_a_query_that_wants_too_much_of_the_server_harms_nobody(
    database_url: str, engine: Engine, limited_server: None, query: str
) -> None:
    console = read_only(database_url, seconds=30)
    with engine.connect() as other:
        other.exec_driver_sql("CREATE TEMPORARY TABLE kept AS SELECT 1")
        with pytest.raises(QueryStopped, match="memory"):
            run_query(console, query)
        assert run_query(console, "SELECT 1").rows == [(1,)]
        assert other.exec_driver_sql("SELECT count(*) FROM kept").scalar() == 1


@on_postgresql
def test_a_stopped_query_leaves_no_session(console: Console, engine: Engine) -> None:
    with pytest.raises(QueryStopped):
        run_query(console, "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)")
    role = f"{make_url(str(console.url)).database}_sql"
    deadline = time.monotonic() + 5
    sessions = None
    while sessions != 0 and time.monotonic() < deadline:
        with reading(engine) as conn:
            sessions = conn.exec_driver_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = %s", (role,)
            ).scalar()
    assert sessions == 0


@on_postgresql
def test_a_view_made_anew_can_be_read(console: Console, engine: Engine) -> None:
    run_query(console, "SELECT * FROM failures")
    with engine.begin() as conn:
        text = conn.exec_driver_sql("SELECT pg_get_viewdef('failures')").scalar()
        conn.exec_driver_sql("DROP VIEW failures")
        conn.exec_driver_sql(f"CREATE VIEW failures AS {text}".replace("%", "%%"))
    assert run_query(console, "SELECT * FROM failures").columns


@pytest.fixture
def modest_owner(engine: Engine, database_url: str, postgres_admin: psycopg.Connection) -> str:
    """The record's URL with an owner who may not create roles."""
    role = f"modest_{make_url(database_url).database}"
    postgres_admin.execute(f"CREATE ROLE {role} LOGIN")
    with engine.begin() as conn:
        for kind in ("TABLES", "SEQUENCES"):
            conn.exec_driver_sql(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}")
    return make_url(database_url).set(username=role).render_as_string(hide_password=False)


@on_postgresql
def test_an_owner_who_may_create_no_role_is_told_what_to_do(
    modest_owner: str, console: Console, database_url: str
) -> None:
    with pytest.raises(QueryImpossible, match="NGPU_SQL_DATABASE_URL"):
        run_query(read_only(modest_owner), "SELECT 1")
    # Who holds the owner's URL may ask by it.
    assert run_query(read_only(modest_owner, as_owner=True), "SELECT 1").rows == [(1,)]
    with pytest.raises(QueryRefused):
        run_query(read_only(modest_owner, as_owner=True), "DELETE FROM sweeps")
    # The role the administrator made.
    run_query(console, "SELECT 1")
    name = f"{make_url(database_url).database}_sql"
    made = make_url(database_url).set(username=name).render_as_string(hide_password=False)
    assert run_query(read_only(modest_owner, reader=made), "SELECT 1").rows == [(1,)]


def test_a_database_that_is_away_is_said_without_its_address(tmp_path: Path) -> None:
    away = ("postgresql://somebody:hunter2@127.0.0.1:1/x", f"sqlite:///{tmp_path / 'none.sqlite'}")
    for url in away:
        with pytest.raises(QueryImpossible) as caught:
            run_query(read_only(url), "SELECT 1")
        for word in ("somebody", "hunter2", "127.0.0.1", "none.sqlite"):
            assert word not in str(caught.value)
