"""Faults done to real processes, servers and files. Each returns what proves that it fired."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

#: Parts of the command lines of the service's processes.
RUNNER = "service.control.runner"
SCHEDULER = "service.control.scheduler"
KEEPER = "service.control.keeper"
WORKER = "ray::PackTrainable"
RAYLET = "raylet/raylet"
GCS = "gcs_server"


def descendants(root: int, part: str = "") -> list[psutil.Process]:
    """The processes started from one, however deep, whose command line holds a text."""
    try:
        found = psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [one for one in found if part in command(one)]


def command(process: psutil.Process) -> str:
    """A process's command line; empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def alive(process: psutil.Process) -> bool:
    """Whether it runs; not when it only waits to be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def kill(victims: Iterable[psutil.Process], number: int = signal.SIGKILL) -> list[int]:
    """Send each a signal that ends it, wait until all have ended; the pids of those that have."""
    hit = []
    for one in victims:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(number)
            hit.append(one)
    deadline = time.monotonic() + 10
    while any(alive(one) for one in hit) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [one.pid for one in hit if not alive(one)]


def kill_worker(root: int, number: int = signal.SIGKILL) -> list[int]:
    """End every Ray worker that trains."""
    return kill(descendants(root, WORKER), number)


def kill_runner(root: int) -> list[int]:
    """SIGKILL every sweep's runner."""
    return kill(descendants(root, RUNNER))


def kill_scheduler(root: int) -> list[int]:
    """SIGKILL the scheduler under `ngpu serve`."""
    return kill(descendants(root, SCHEDULER))


def kill_ray(root: int, part: str) -> list[int]:
    """SIGKILL Ray's `KEEPER`, `RAYLET` or `GCS`; with an empty text all that Ray consists of."""
    if part:
        return kill(descendants(root, part))
    found = [below for keeper in descendants(root, KEEPER) for below in descendants(keeper.pid)]
    return kill([*descendants(root, KEEPER), *found])


def stop(victims: Iterable[psutil.Process]) -> list[psutil.Process]:
    """SIGSTOP, and wait until the kernel says so; `go_on` is the reverse."""
    stopped = list(victims)
    for one in stopped:
        one.suspend()
    for one in stopped:
        while one.status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
    return stopped


def go_on(victims: Iterable[psutil.Process]) -> None:
    """SIGCONT."""
    for one in victims:
        with suppress(psutil.NoSuchProcess):
            one.resume()


class Postgres:
    """Debian's PostgreSQL in a temporary folder: on disk like any (fsync on), and easy to kill.

    Args:
        options: Further settings, such as `max_connections=12`.
    """

    def __init__(self, *options: str) -> None:
        tool = shutil.which("pg_config")
        if tool is None:
            raise RuntimeError("there is no PostgreSQL here: install Debian's `postgresql`")
        self._binaries = Path(subprocess.check_output([tool, "--bindir"], text=True).strip())
        # A socket's path may have about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ngpu-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._settings = [
            "listen_addresses=",
            "max_connections=100",
            f"unix_socket_directories={self.folder}",
            *options,
        ]
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.start()

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's address of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A session of one's own, in autocommit."""
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname=database, autocommit=True
        )

    def create(self, database: str) -> str:
        """Make an empty database; its URL."""
        with self.connect() as admin:
            admin.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def start(self) -> None:
        """Start it, and wait until it answers."""
        flags = " ".join(f"-c {one}" + "''" * one.endswith("=") for one in self._settings)
        log = str(self.folder / "log")
        self._run("pg_ctl", "-w", "-t", "60", "-l", log, "-o", flags, "start")

    def stop(self) -> None:
        """End it in order, but at once; sessions are told."""
        self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def kill(self) -> list[int]:
        """SIGKILL the server and every process of it, as an out-of-memory killer may."""
        server = psutil.Process(self.pid)
        gone = kill([server, *server.children(recursive=True)])
        # Where process 1 does not reap, the dead look alive to the next server.
        (self.folder / "data" / "postmaster.pid").unlink()
        (self.folder / ".s.PGSQL.5432.lock").unlink()
        return gone

    def end_sessions(self, database: str) -> int:
        """Terminate every session on a database but this one; how many."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        with self.connect() as admin:
            row = admin.execute(query, [database]).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """End it for good and delete it."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root; Debian's package made the user `postgres` for it.
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = str(self.folder / "data")
        line = [*prefix, str(self._binaries / program), "-D", data, *arguments]
        subprocess.run(line, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120)


@contextmanager
def all_connections_taken(server: Postgres) -> Iterator[int]:
    """Hold every connection that a server still gives; how many that were."""
    held: list[psycopg.Connection] = []
    try:
        while True:
            try:
                held.append(server.connect())
            except psycopg.OperationalError:
                break  # "too many clients already"
        yield len(held)
    finally:
        for one in held:
            one.close()


@contextmanager
def deadlocks(server: Postgres, database: str, every: float = 0.3) -> Iterator[Callable[[], int]]:
    """Lock packs first and sweeps after them, the wrong way round, again and again.

    Yields:
        How many deadlocks the server has found in the database so far.
    """
    closed = threading.Event()

    def found() -> int:
        with server.connect(database) as asking:
            row = asking.execute(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def lock() -> None:
        while not closed.wait(every):
            with suppress(psycopg.OperationalError), server.connect(database) as session:
                # The others wait for longer, so that it is they who are refused.
                session.execute("SET deadlock_timeout = '20s'")
                with session.transaction():
                    session.execute("SELECT 1 FROM packs FOR UPDATE")
                    time.sleep(0.2)
                    session.execute("SELECT 1 FROM sweeps FOR UPDATE")

    thread = threading.Thread(target=lock, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        closed.set()
        thread.join()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own with so much room, mounted at a folder. Needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path) -> Path:
    """Write zeros until nothing more fits; the file, whose removal makes room again."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def flip_a_bit(file: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    """Cut a file to half its length."""
    os.truncate(file, file.stat().st_size // 2)


def remove(file: Path) -> None:
    """Delete a file."""
    file.unlink()
