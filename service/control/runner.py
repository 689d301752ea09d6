"""Trains one sweep: `python -m service.control.runner --sweep ID`, a process per running sweep.

It registers itself as the sweep's runner, which fences off every runner before it, and leaves when
a newer one registers, when its parent dies (if it was told to live no longer), or when nothing
remains to train.
"""

import argparse
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog
from sqlalchemy import Connection, Engine

from db.engine import open_engine, writing
from db.errors import WrongState
from db.runners import drop_runner, register_runner, renew_runner, sweeps_to_reconcile
from db.transitions import fail_sweep, start_sweep
from service.control.processes import exit_when_orphaned, this_process
from service.control.recording import connect_queue, connect_recorder, persist
from service.logs import configure_logging
from service.settings import Settings
from service.version import code_version
from sweeps.recorder import RecordUnreachable

#: Seconds a runner is trusted after its last sign of life, and between two of them.
LEASE_SECONDS = 15.0
RENEW_SECONDS = 3.0
#: Seconds it waits for a record that is away when it begins, and when it ends.
BEGIN_SECONDS = 60.0
END_SECONDS = 10.0


class SweepCannotRun(Exception):
    """No runner will ever be able to train this sweep here; the text says why."""


def _register(engine: Engine, sweep_id: str) -> int:
    me = this_process()

    def register(conn: Connection) -> int:
        epoch = register_runner(
            conn,
            sweep_id,
            host=me.host,
            pid=me.pid,
            pid_started=me.started,
            lease_seconds=LEASE_SECONDS,
        )
        start_sweep(conn, sweep_id)
        return epoch

    return persist(engine, register, BEGIN_SECONDS)


def _unregister(engine: Engine, sweep_id: str, epoch: int) -> None:
    try:
        persist(engine, lambda conn: drop_runner(conn, sweep_id, epoch), END_SECONDS)
    except RecordUnreachable as error:
        # The scheduler sees that this process is gone.
        structlog.get_logger().warning("runner not unregistered", error=str(error))


@contextmanager
def _registered(engine: Engine, sweep_id: str) -> Iterator[int]:
    """Be the sweep's runner, and show signs of life; gives the epoch."""
    epoch = _register(engine, sweep_id)
    closed = threading.Event()
    thread = threading.Thread(
        target=_show_life, args=(engine, sweep_id, epoch, closed), name="runner-lease", daemon=True
    )
    thread.start()
    try:
        yield epoch
    finally:
        closed.set()
        thread.join()
        _unregister(engine, sweep_id, epoch)


def _show_life(engine: Engine, sweep_id: str, epoch: int, closed: threading.Event) -> None:
    while not closed.wait(RENEW_SECONDS):
        try:
            with writing(engine) as conn:
                wanted = renew_runner(conn, sweep_id, epoch, LEASE_SECONDS)
        except Exception as error:
            structlog.get_logger().warning("runner's lease not renewed", error=repr(error))
            continue
        if wanted is None:
            structlog.get_logger().warning("another runner has taken over")
            os._exit(0)  # its actors die with it; their packs are the newer runner's by now


def _train_here(settings: Settings, sweep_id: str, epoch: int) -> None:
    from sweeps.lease import leave_process
    from sweeps.local_runner import run_locally

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    url = settings.database_url
    queue = connect_queue(url, sweep_id, epoch, code_version())
    recorder = partial(connect_recorder, url)
    run_locally(
        queue, recorder, settings.checkpoints, should_stop=stop.is_set, on_hang=leave_process
    )


def _train_on_ray(settings: Settings, sweep_id: str, epoch: int, address: str) -> None:
    from sweeps.ray.placement import ClusterTooSmall, Demand
    from sweeps.ray.runner import run_on_ray

    # What earlier runners of the sweep left when they were killed.
    for left in settings.scratch.glob(f"{sweep_id}-*"):
        shutil.rmtree(left, ignore_errors=True)
    url = settings.database_url
    cpu, gpu = _demand(url, sweep_id)
    try:
        run_on_ray(
            partial(connect_queue, url, sweep_id, epoch, code_version()),
            partial(connect_recorder, url),
            settings.checkpoints,
            address=address,
            demand=Demand(cpu=cpu, gpu=gpu),
            scratch=settings.scratch / f"{sweep_id}-{epoch}",
            prepare=partial(configure_logging, settings.log_format, sweep=sweep_id),
        )
    except ClusterTooSmall as error:
        raise SweepCannotRun(str(error)) from error


def _demand(url: str, sweep_id: str) -> tuple[int, float]:
    """Processors and GPUs a trial of the sweep asks for."""
    engine = open_engine(url)
    rows = persist(engine, sweeps_to_reconcile, BEGIN_SECONDS)
    row = next(row for row in rows if row["id"] == sweep_id)
    return row["cpu"], row["gpu"]


def run(settings: Settings, sweep_id: str, address: str | None) -> None:
    """Train a sweep to its end: on the Ray cluster at `address`, or without one in this process."""
    engine = open_engine(settings.database_url)
    log = structlog.get_logger()
    try:
        with _registered(engine, sweep_id) as epoch:
            log.info("runner started", epoch=epoch, pid=os.getpid())
            if address is None:
                _train_here(settings, sweep_id, epoch)
            else:
                _train_on_ray(settings, sweep_id, epoch, address)
    except WrongState as error:
        log.info("nothing to train", reason=str(error))
    except SweepCannotRun as error:
        log.error("the sweep cannot run here", reason=str(error))
        with writing(engine) as conn:
            fail_sweep(conn, sweep_id, str(error))
    log.info("runner ended")


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m service.control.runner")
    parser.add_argument("--sweep", required=True, help="id of the sweep")
    parser.add_argument("--address", help="of a Ray cluster; without one, train here")
    parser.add_argument("--parent", type=int, help="pid to live no longer than")
    arguments = parser.parse_args()
    settings = Settings()
    configure_logging(settings.log_format, sweep=arguments.sweep)
    if arguments.parent is not None:
        exit_when_orphaned(arguments.parent)
    run(settings, arguments.sweep, arguments.address)


if __name__ == "__main__":
    main()
