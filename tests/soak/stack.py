"""PostgreSQL, API and scheduler as they run in production, each restarted when it dies."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import make_url

from service.control.processes import end, spawn
from service.settings import Settings
from tests.service.live import alive, command, with_pid_gone

RUNNER = "service.control.runner"
KEEPER = "service.control.keeper"
ACTOR = "ray::PackTrainable"
#: Docker's policy `unless-stopped`: seconds before the first restart, doubled for each that
#: follows a life of less than `STEADY_SECONDS`.
RESTART_SECONDS = 0.1
LONGEST_RESTART_SECONDS = 60.0
STEADY_SECONDS = 10.0


class Postgres:
    """A server of the machine's own PostgreSQL in a temporary folder, with its defaults."""

    def __init__(self) -> None:
        tool = shutil.which("pg_config")
        if tool is None:
            raise RuntimeError("there is no PostgreSQL here: name a server with --database-url")
        self._binaries = Path(subprocess.check_output([tool, "--bindir"], text=True).strip())
        # A socket's path may have about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ngpu-soak-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._data = self.folder / "data"
        self.url = f"postgresql+psycopg://postgres@/postgres?host={self.folder}"
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c listen_addresses='' -c max_connections=200 -k {self.folder}"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def crash(self) -> None:
        """End it as a crash would: no session ends in order, no page is written."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        """End it for good."""
        if (self._data / "postmaster.pid").exists():
            self.crash()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        line = [*prefix, str(self._binaries / program), "-D", str(self._data), *arguments]
        subprocess.run(line, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120)


class ForeignDatabase:
    """A server somebody else runs: its sessions may be ended, the server may not."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        """It runs."""

    def crash(self) -> None:
        """End every other session on the database."""
        ours = make_url(self.url).set(drivername="postgresql")
        with psycopg.connect(ours.render_as_string(hide_password=False)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def close(self) -> None:
        """It goes on."""


class Restarted:
    """A process of the service that is started again whenever it has ended."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        self._settings = settings
        self._arguments = arguments
        self._wait = RESTART_SECONDS
        self._due: float | None = None
        self.restarts = 0
        self._spawn()

    def look(self) -> None:
        """Start it again if it has ended and its pause is over."""
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if self._due is None:
            steady = now - self._started > STEADY_SECONDS
            doubled = min(2 * self._wait, LONGEST_RESTART_SECONDS)
            self._wait = RESTART_SECONDS if steady else doubled
            self._due = now + self._wait
        elif now >= self._due:
            self.restarts += 1
            self._spawn()

    def close(self) -> int:
        """End it in order; its exit status."""
        return end(self.process, grace_seconds=90)

    def _spawn(self) -> None:
        self._due = None
        self._started = time.monotonic()
        self.process = spawn(
            "service.cli",
            self._arguments,
            environment=self._settings.environment(),
            log=self._settings.logs / f"{self._arguments[0]}.log",
        )


class Stack:
    """The whole service on one machine."""

    def __init__(self, home: Path, database: Postgres | ForeignDatabase, cpus: int) -> None:
        self.database = database
        self.settings = Settings(
            home=home, database_url=database.url, cpus=cpus, port=_free_port(), submits_per_minute=0
        )
        self.settings.make_home()
        self.api = Restarted(self.settings, "api")
        self.scheduler = Restarted(self.settings, "scheduler")

    def look(self) -> None:
        """Restart what has died."""
        self.api.look()
        self.scheduler.look()

    def named(self, part: str) -> list[psutil.Process]:
        """Descendants of the scheduler whose command line holds a text, the oldest first."""
        try:
            found = psutil.Process(self.scheduler.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return sorted((one for one in found if part in command(one)), key=lambda one: one.pid)

    def close(self) -> list[int]:
        """End API and scheduler in order; their exit statuses."""
        return [self.api.close(), self.scheduler.close()]

    def leftovers(self) -> list[psutil.Process]:
        """Every process of this service's home that still runs."""
        return [one for one in psutil.process_iter() if alive(one) and self.owns(one)]

    def owns(self, process: psutil.Process) -> bool:
        """Whether a process was started by this service."""
        try:
            return process.environ().get("NGPU_HOME") == str(self.settings.home)
        except psutil.Error:
            return False

    def kill(self) -> None:
        """End everything at once."""
        for one in self.leftovers():
            with_pid_gone(lambda one=one: one.send_signal(signal.SIGKILL))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
