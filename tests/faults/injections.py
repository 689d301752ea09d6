"""Faults done to real processes, servers and files. Each returns what proves that it fired."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import psycopg

#: Parts of the command lines of the service's processes.
RUNNER = "service.control.runner"
SCHEDULER = "service.control.scheduler"
KEEPER = "service.control.keeper"
WORKER = "ray::PackTrainable"
RAYLET = "raylet/raylet"
GCS = "gcs_server"
_END_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = %s AND pid <> pg_backend_pid()"
)


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
        with self.connect() as admin:
            row = admin.execute(_END_SESSIONS, [database]).fetchone()
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
def all_connections_taken(server: Postgres, database: str) -> Iterator[int]:
    """End a database's sessions and take every connection the server gives; how many that were."""
    held = [server.connect()]
    try:
        for _ in range(3):  # others may be quicker
            held[0].execute(_END_SESSIONS, [database])
            with suppress(psycopg.OperationalError):  # "too many clients already"
                while True:
                    held.append(server.connect())
        yield len(held)
    finally:
        for one in held:
            one.close()


def deadlock(server: Postgres, database: str, provoke: Callable[[], object]) -> int:
    """Lock packs, then sweeps: the wrong way round. The service is refused, not this session.

    Args:
        server: The server.
        database: Of the service.
        provoke: Makes the service lock a sweep and, after it, one of its packs. Its sessions must
            wait for longer than a second before they look for a deadlock (`patient_sessions`).

    Returns:
        How many deadlocks the server has found in the database by then.
    """
    with server.connect(database) as session, server.connect(database) as probe:
        session.execute("SET deadlock_timeout = '60s'")
        with session.transaction():
            session.execute("SELECT 1 FROM packs FOR UPDATE")
            provoke()
            while not _is_locked(probe, "sweeps"):
                time.sleep(0.05)
            session.execute("SELECT 1 FROM sweeps FOR UPDATE")
        probe.execute("SELECT pg_stat_clear_snapshot()")
        time.sleep(2)  # a session tells its statistics at most once a second
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        row = probe.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def patient_sessions(server: Postgres, database: str) -> None:
    """Sessions opened from here on wait 5 s before they look whether they are in a deadlock."""
    with server.connect() as admin:
        admin.execute(f"ALTER DATABASE \"{database}\" SET deadlock_timeout = '5s'")


def _is_locked(probe: psycopg.Connection, table: Literal["sweeps"]) -> bool:
    try:
        with probe.transaction():
            probe.execute(f"SELECT 1 FROM {table} FOR UPDATE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return True
    return False


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


class WorkerFault:
    """What every worker of a service does to a seed, from inside its training.

    Args:
        file: Read by `in_worker/sitecustomize.py` at every epoch.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._fired = file.with_name(file.name + ".fired")

    def poison(self, seed: int) -> None:
        """Whatever trains the seed raises."""
        self._tell("raise", seed)

    def freeze(self, seed: int) -> None:
        """Whatever trains the seed sleeps for an hour and holds the interpreter."""
        self._tell("freeze", seed)

    def heal(self) -> None:
        """Nothing happens to it from here on."""
        self._file.unlink()

    def wait_until_fired(self, seconds: float = 60) -> int:
        """Wait for the first process that it happened to; its pid."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._fired.exists() and (text := self._fired.read_text()):
                return int(text)
            time.sleep(0.02)
        raise AssertionError(f"no worker was struck in {seconds:g} s")

    def _tell(self, kind: str, seed: int) -> None:
        beside = self._file.with_suffix(".tmp")
        beside.write_text(json.dumps({"kind": kind, "seed": seed}))
        beside.replace(self._file)


def in_every_worker(
    set_variable: Callable[[str, str], None], folder: Path, *, pace: float
) -> WorkerFault:
    """Make processes started from here on open to faults in their trainings, and slow.

    Args:
        set_variable: Sets a variable of this process's environment, such as monkeypatch's.
        folder: For the file that tells them.
        pace: Seconds that each epoch pauses.
    """
    file = folder / "fault.json"
    set_variable("NGPU_FAULT", str(file))
    set_variable("NGPU_FAULT_PACE", str(pace))
    set_variable("PYTHONPATH", str(Path(__file__).with_name("in_worker")))
    return WorkerFault(file)


class Clock:
    """A clock of the service's processes that can be set while they run.

    A library loaded before the C library adds an offset, kept in a shared file, to the time of day;
    the clocks that only count are left alone, as when an operator sets a machine's clock.
    """

    def __init__(self, folder: Path) -> None:
        self.library = folder / "clock.so"
        self._offset = folder / "clock.offset"
        self._offset.write_bytes(bytes(8))
        source = Path(__file__).with_name("clock.c")
        line = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self.library), str(source)]
        subprocess.run(line, check=True)

    def variables(self) -> dict[str, str]:
        """What a process's environment needs."""
        return {"LD_PRELOAD": str(self.library), "NGPU_CLOCK_OFFSET": str(self._offset)}

    def jump(self, seconds: int) -> None:
        """Set the clock so far ahead of the true time."""
        with self._offset.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    def shown(self) -> float:
        """The time of day that a process under this clock sees."""
        program = "import time; print(time.time())"
        variables = {**os.environ, **self.variables()}
        return float(subprocess.check_output([sys.executable, "-S", "-c", program], env=variables))
