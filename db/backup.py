"""Backup and restore of the record: a consistent copy while sweeps run, and the way back.

SQLite is copied by its own online backup, in one step and so from one snapshot; PostgreSQL by
pg_dump and pg_restore. A copy of the record knows leases of workers that may live no more:
restoring gives their packs back, and training goes on from the checkpoints that are there.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL, Connection, delete, func, inspect, select

from db.clock import now
from db.engine import current_revision, database_url, open_engine, reading, upgrade, writing
from db.errors import RecordError
from db.giving_back import release_pack
from db.guards import GUARD
from db.models import leases, metadata, packs, runners, sweeps
from db.states import PackState

#: How a file of each kind begins.
_SQLITE_MAGIC, _DUMP_MAGIC = b"SQLite format 3\0", b"PGDMP"


class BackupRefused(RecordError):
    """A backup or a restore that would do harm, or cannot be done here."""


def backup(url: str, file: Path) -> int:
    """Copy the record into a file; sweeps may be running.

    Args:
        url: Of the record.
        file: Where to; an existing file is replaced once the copy is complete.

    Returns:
        The bytes written.

    Raises:
        BackupRefused: There is no such record, or PostgreSQL's programs are not there.
    """
    file = file.absolute()
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    parsed = database_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            _copy_out(Path(str(parsed.database)), beside)
        else:
            options = ["--format=custom", f"--file={beside}"]
            _run_program("pg_dump", parsed, options)
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)
    return file.stat().st_size


def restore(url: str, file: Path, *, overwrite: bool = False) -> int:
    """Make the record what it was when the file was written, at the newest schema.

    Args:
        url: Of the record; an SQLite file is made if there is none.
        file: A backup of the same kind of database.
        overwrite: Even if the record holds sweeps, which are lost.

    Returns:
        The number of sweeps restored.

    Raises:
        BackupRefused: The file is no backup for this kind of database; the record holds sweeps; or
            a scheduler or runner is at work on it.
    """
    parsed = database_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    _require_kind(file, _SQLITE_MAGIC if sqlite else _DUMP_MAGIC, parsed.get_backend_name())
    _require_replaceable(url, overwrite)
    if sqlite:
        _copy_in(file, Path(str(parsed.database)))
    else:
        _run_dump(file, parsed)
    engine = open_engine(url)
    try:
        upgrade(engine)
        with writing(engine) as conn:
            _forget_processes(conn)
            return conn.execute(select(func.count()).select_from(sweeps)).scalar_one()
    finally:
        engine.dispose()


def _copy_out(path: Path, target: Path) -> None:
    if not path.is_file():
        raise BackupRefused(f"there is no record at {path}")
    source_uri = f"{path.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(source_uri, uri=True, timeout=30)) as source,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        # In one step it reads one snapshot and no writer waits; in several it would start again
        # with every write of another process.
        source.backup(copy, pages=-1)
        # One file that opens on read-only media too.
        copy.execute("PRAGMA journal_mode = DELETE")
        _require_sound(copy)


def _copy_in(file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source_uri = f"{file.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(source_uri, uri=True)) as source,
        closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as target,
    ):
        _require_sound(source)
        # One transaction of the target: who has it open sees the old record or the new one.
        source.backup(target, pages=-1)
        target.execute("PRAGMA journal_mode = WAL")


def _run_dump(file: Path, url: URL) -> None:
    """Replace the record by a dump's in one transaction.

    `pg_restore --clean` drops what the dump knows, which is too little where the record is younger.
    """
    with TemporaryDirectory(prefix="ngpu-restore-") as folder:
        drop, script = Path(folder) / "drop.sql", Path(folder) / "restore.sql"
        tables = ", ".join([*metadata.tables, "alembic_version"])
        drop.write_text(
            f"DROP TABLE IF EXISTS {tables} CASCADE;\nDROP FUNCTION IF EXISTS {GUARD}() CASCADE;\n"
        )
        options = ["--no-owner", "--no-privileges", f"--file={script}", str(file)]
        _run_program("pg_restore", None, options)
        options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        _run_program("psql", url, [*options, f"--file={drop}", f"--file={script}"])


def _require_sound(connection: sqlite3.Connection) -> None:
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise BackupRefused(f"the database is damaged: {verdict}")


def _require_kind(file: Path, magic: bytes, kind: str) -> None:
    with file.open("rb") as opened:
        if opened.read(len(magic)) != magic:
            raise BackupRefused(f"{file} is no backup of a {kind} record")


def _require_replaceable(url: str, overwrite: bool) -> None:
    """Refuse a record with sweeps in it, or with processes at work on it."""
    parsed = database_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).is_file():
        return
    engine = open_engine(url)
    try:
        if current_revision(engine) is None:
            if inspect(engine).get_table_names() and not overwrite:
                raise BackupRefused(
                    f"{engine.url.render_as_string()} holds tables that are not a record's"
                )
            return
        with reading(engine) as conn:
            if found := _at_work(conn):
                raise BackupRefused(f"{found} is at work on the record: stop the service first")
            number = conn.execute(select(func.count()).select_from(sweeps)).scalar_one()
    finally:
        engine.dispose()
    if number and not overwrite:
        raise BackupRefused(f"the record holds {number} sweeps: --overwrite loses them")


def _at_work(conn: Connection) -> str | None:
    """A process that would write to the record while, or after, it is replaced."""
    leader = select(leases.c.owner).where(leases.c.until >= now())
    if owner := conn.execute(leader).scalars().first():
        return f"a scheduler ({owner})"
    runner = select(runners.c.sweep_id).where(runners.c.lease_until >= now())
    if sweep_id := conn.execute(runner).scalars().first():
        return f"the runner of sweep {sweep_id}"
    worker = select(packs.c.owner).where(
        packs.c.state == PackState.LEASED, packs.c.lease_until >= now()
    )
    if owner := conn.execute(worker).scalars().first():
        return f"a worker ({owner})"
    return None


def _forget_processes(conn: Connection) -> None:
    """Processes of the time of the backup hold nothing any more."""
    conn.execute(delete(runners))
    conn.execute(delete(leases))
    held = select(packs.c.id, packs.c.fence).where(packs.c.state == PackState.LEASED)
    for pack in conn.execute(held.order_by(packs.c.sweep_id, packs.c.id)).all():
        release_pack(conn, pack.id, pack.fence, None)


def _run_program(name: str, url: URL | None, options: Sequence[str]) -> None:
    """One of PostgreSQL's programs; a password never stands in its command line."""
    command, environment = [_program(name), *options], dict(os.environ)
    if url is not None:
        target = url.set(drivername="postgresql", password=None)
        command.append(f"--dbname={target.render_as_string(hide_password=False)}")
        command.append("--no-password")
        if url.password is not None:
            environment["PGPASSWORD"] = str(url.password)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupRefused(f"{name} ended with {done.returncode}: {done.stderr.strip()}")


def _program(name: str) -> str:
    """PostgreSQL's program: on the PATH, or where Debian's `pg_config` says."""
    if found := shutil.which(name):
        return found
    if config := shutil.which("pg_config"):
        folder = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        beside = Path(folder.stdout.strip()) / name
        if beside.is_file():
            return str(beside)
    raise BackupRefused(
        f"{name} is not there: install PostgreSQL's client programs (Debian: postgresql-client), "
        f"or run {name} on the database's own machine as docs/operations.md shows"
    )
