"""The service's real processes under test: start, watch the record, kill, look for leftovers."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from sqlalchemy import Engine, func, select

from db.engine import reading
from db.events import events_since
from db.models import packs, seed_runs, sweeps, training_epochs
from ngpu_core.config import RunConfig
from service.control.processes import spawn
from service.settings import Settings
from sweeps.local_runner import run_locally
from tests.sweeps.tiny import REVERSE, open_record, queue_of, recorders, results, submit_sweep

#: Trains for seconds, so that there is a middle to kill something in.
LONG = replace(
    REVERSE,
    training=replace(REVERSE.training, max_steps=2560, steps_per_epoch=160),
    evaluation=replace(REVERSE.evaluation, every=320),
)
PACKS = [[0, 1], [2]]


@cache
def undisturbed(run: RunConfig = LONG) -> dict[str, list[tuple[Any, ...]]]:
    """What the sweep of a configuration over `PACKS` measures when nothing happens to it."""
    with TemporaryDirectory() as folder:
        url, engine = open_record(Path(folder))
        sweep = submit_sweep(engine, [run], PACKS)
        run_locally(queue_of(url, engine, sweep), recorders(url), Path(folder))
        found = results(engine, sweep)
        engine.dispose()
        return found


class Service:
    """A home, its record, and the processes started on it."""

    def __init__(self, home: Path, runner: str, **more: Any) -> None:
        self.settings = Settings(home=home, runner=runner, port=0, **{"cpus": 2, **more})
        self.settings.make_home()
        self.url, self.engine = open_record(home)
        self.process: subprocess.Popen[bytes] | None = None
        self.seen: set[psutil.Process] = set()

    def start(self, module: str = "service.control.scheduler", *arguments: str) -> None:
        """Start the scheduler alone, or another module."""
        self.process = spawn(
            module,
            arguments,
            environment=self.settings.environment(),
            log=self.settings.logs / "service.log",
        )

    def stop(self) -> int:
        """End it in order; its exit status."""
        assert self.process is not None
        self.descendants()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def descendants(self) -> list[psutil.Process]:
        """Every process started from it, remembered for `leftovers`."""
        assert self.process is not None
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        self.seen.update(found)
        return found

    def named(self, part: str) -> list[psutil.Process]:
        """Descendants whose command line holds a text."""
        return [one for one in self.descendants() if part in command(one)]

    def kill(self, part: str) -> list[int]:
        """SIGKILL every descendant whose command line holds a text; their pids."""
        found = self.named(part)
        for one in found:
            one.send_signal(signal.SIGKILL)
        return [one.pid for one in found]

    def kill_tree(self) -> int:
        """SIGKILL the service and all that it started, parents first; how many."""
        assert self.process is not None
        found = self.descendants()
        self.process.kill()
        self.process.wait()
        for one in found:
            with_pid_gone(one.kill)
        return len(found)

    def leftovers(self) -> list[str]:
        """What still runs of all processes ever seen."""
        return [command(one) for one in self.seen if alive(one)]

    def state(self, sweep_id: str) -> str:
        """The sweep's state."""
        with reading(self.engine) as conn:
            return conn.execute(select(sweeps.c.state).where(sweeps.c.id == sweep_id)).scalar_one()

    def rows(self, sweep_id: str) -> int:
        """Training rows written so far."""
        with reading(self.engine) as conn:
            return conn.execute(
                select(func.count())
                .select_from(training_epochs.join(seed_runs))
                .where(seed_runs.c.sweep_id == sweep_id)
            ).scalar_one()

    def fences(self, sweep_id: str) -> list[int]:
        """How often each pack was leased."""
        with reading(self.engine) as conn:
            query = select(packs.c.fence).where(packs.c.sweep_id == sweep_id).order_by(packs.c.id)
            return list(conn.execute(query).scalars())

    def kinds(self, sweep_id: str) -> list[str]:
        """What has happened to the sweep."""
        with reading(self.engine) as conn:
            return [event["kind"] for event in events_since(conn, sweep_id)]

    def log(self) -> str:
        """Everything the processes wrote, for a failed assertion to show."""
        files = sorted(self.settings.logs.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-6000:]}" for file in files)


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


def with_pid_gone(act: Callable[[], None]) -> None:
    """Do something to a process that may have ended."""
    try:
        act()
    except psutil.NoSuchProcess:
        return


def wait_until(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> float:
    """Wait for a condition; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s\n{what()}"
        time.sleep(0.1)
    return time.monotonic() - began


def wait_for_end(service: Service, sweep_id: str, seconds: float = 120) -> float:
    """Wait until the sweep is finished."""
    return wait_until(lambda: service.state(sweep_id) == "finished", seconds, service.log)


def wait_for_rows(service: Service, sweep_id: str, more: int = 3, seconds: float = 90) -> float:
    """Wait until more rows are there than now."""
    before = service.rows(sweep_id)
    return wait_until(lambda: service.rows(sweep_id) >= before + more, seconds, service.log)


@contextmanager
def running(home: Path, runner: str, **more: Any) -> Iterator[Service]:
    """A service that certainly leaves nothing behind."""
    service = Service(home, runner, **more)
    try:
        yield service
    finally:
        if service.process is not None:
            service.kill_tree()
        for one in service.seen:
            if alive(one):
                with_pid_gone(one.kill)
        service.engine.dispose()


def submit_long(engine: Engine, run: RunConfig = LONG) -> str:
    """A sweep of `LONG`, or of another configuration, over `PACKS`."""
    return submit_sweep(engine, [run], PACKS)
