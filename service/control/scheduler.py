"""The scheduler: once a second it looks at the record and moves runners towards what it demands.

One scheduler leads, by a lease in the record; others wait. It owns a process per running sweep and
the local Ray cluster. It keeps nothing worth saving: whoever leads next decides from the same rows.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db.engine import is_current, open_engine, reading, upgrade, writing
from db.errors import RecordError
from db.giving_back import expire_leases, take_stalled
from db.runners import (
    acquire_lease,
    drop_runner,
    lasting_steps,
    lease_owner,
    release_lease,
    sweeps_to_reconcile,
)
from db.transitions import fail_sweep, finish_sweep, rest_sweep
from service.control.children import GRACE_SECONDS, REGISTER_SECONDS, Children
from service.control.collector import Collector
from service.control.local_ray import LocalCluster
from service.control.processes import ProcessId, lives, orphaned, stop_on_signals, this_process
from service.control.reconcile import (
    Action,
    Finish,
    Forget,
    Rest,
    RunnerFacts,
    Start,
    Stop,
    SweepFacts,
    reconcile,
)
from service.control.webhooks import Webhooks
from service.logs import configure_logging
from service.settings import Settings

#: Seconds between two looks.
TICK_SECONDS = 1.0
#: The leadership, and how long a silent leader keeps it.
LEADERSHIP = "scheduler"
LEADER_SECONDS = 10.0
#: Seconds after an outage of the record in which no lease is taken for lost: nobody could renew.
AMNESTY_SECONDS = 15.0
#: Seconds between two looks at leases beyond which the record counts as having been away: it was
#: locked, or this machine stood still, and the workers may have been as unable to renew.
MOST_SILENCE_SECONDS = 5.0

Row = dict[str, Any]


class Scheduler:
    """One scheduler's runners, cluster and leadership."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = open_engine(settings.database_url)
        self._me = this_process()
        self._children = Children(settings)
        self._cluster = LocalCluster(settings)
        self._collector = Collector(self._engine, settings.checkpoints)
        self._webhooks = Webhooks(self._engine, settings)
        self._leads = False
        self._renewed = self._amnesty = float("-inf")
        self._listened = time.monotonic()
        self._rows: dict[str, Row] = {}
        self._asked: dict[str, float] = {}

    def tick(self) -> None:
        """One look at the record, and what follows from it."""
        if not self._lead():
            return
        if self._cluster.died():
            # Their connection would try for another half minute.
            self._children.kill_all()
        for sweep_id in self._children.reap(self._progress):
            with writing(self._engine) as conn:
                fail_sweep(
                    conn, sweep_id, f"its runner kept failing:\n{self._children.tail(sweep_id)}"
                )
        self._take_back()
        with reading(self._engine) as conn:
            self._rows = {row["id"]: row for row in sweeps_to_reconcile(conn)}
        facts = [self._facts(row) for row in self._rows.values()]
        for action in reconcile(facts):
            self._perform(action)
        self._cluster.rest(needed=any(fact.open or fact.live for fact in facts))
        self._collector.look()
        self._webhooks.look()

    def _take_back(self) -> None:
        """Take packs from workers that fell silent or get no further."""
        with writing(self._engine) as conn:  # SQLite waits here for whoever holds the record
            now = time.monotonic()
            if now - self._listened > MOST_SILENCE_SECONDS:
                self.outage()
            self._listened = now
            if not self._in_amnesty:
                expire_leases(conn)
                take_stalled(conn, self._settings.stall_seconds)

    def outage(self) -> None:
        """The record did not answer: what it says about leases is old."""
        self._amnesty = time.monotonic() + AMNESTY_SECONDS

    def close(self) -> None:
        """End every process started here, then let another lead."""
        self._children.close()
        self._cluster.close()
        if self._leads:
            with writing(self._engine) as conn:
                release_lease(conn, LEADERSHIP, self._name)
        self._engine.dispose()

    @property
    def _name(self) -> str:
        return f"{self._me.host} {self._me.pid} {self._me.started}"

    @property
    def _in_amnesty(self) -> bool:
        return time.monotonic() < self._amnesty

    def _lead(self) -> bool:
        """Take, keep or miss the leadership; who loses it ends what it started."""
        if self._leads and time.monotonic() - self._renewed < LEADER_SECONDS / 3:
            return True
        with writing(self._engine) as conn:
            owner = lease_owner(conn, LEADERSHIP)
            if owner is not None and owner != self._name and _gone(owner):
                release_lease(conn, LEADERSHIP, owner)
            leads = acquire_lease(conn, LEADERSHIP, self._name, LEADER_SECONDS)
        if leads != self._leads:
            structlog.get_logger().info("leads" if leads else "waits", owner=owner)
            self._listened = time.monotonic()
        if self._leads and not leads:
            self._children.close()
            self._cluster.close()
        self._leads = leads
        self._renewed = time.monotonic()
        return leads

    def _progress(self, sweep_id: str) -> float:
        with reading(self._engine) as conn:
            return lasting_steps(conn, sweep_id)

    def _facts(self, row: Row) -> SweepFacts:
        return SweepFacts(
            sweep_id=row["id"],
            state=row["state"],
            desired=row["desired"],
            priority=row["priority"],
            most_trials=row["max_concurrent_trials"],
            pending=row["packs_claimable"] + row["packs_waiting"],
            leased=row["packs_leased"],
            runner=self._runner_facts(row),
            held=self._children.held(row["id"]),
        )

    def _runner_facts(self, row: Row) -> RunnerFacts | None:
        child = self._children.get(row["id"])
        if child is not None:
            registered = row["pid"] == child.process.pid
            fresh = bool(row["runner_alive"]) if registered else child.age < REGISTER_SECONDS
            return RunnerFacts(
                here=True,
                alive=True,
                fresh=fresh or self._in_amnesty,
                current=True,
                adoptable=True,
            )
        if row["pid"] is None:
            return None
        return RunnerFacts(
            here=row["host"] == self._me.host,
            alive=lives(_process(row)),
            fresh=bool(row["runner_alive"]) or self._in_amnesty,
            current=row["epoch"] == row["runner_epoch"],
            adoptable=self._settings.ray_address is not None,
        )

    def _perform(self, action: Action) -> None:
        row = self._rows[action.sweep_id]
        match action:
            case Start():
                self._asked.pop(action.sweep_id, None)
                self._start(action.sweep_id)
            case Stop(at_once=at_once):
                self._stop(row, at_once)
            case Finish():
                with writing(self._engine) as conn:
                    finish_sweep(conn, action.sweep_id)
            case Rest():
                with writing(self._engine) as conn:
                    rest_sweep(conn, action.sweep_id)
            case Forget():
                with writing(self._engine) as conn:
                    drop_runner(conn, action.sweep_id, row["epoch"])

    def _start(self, sweep_id: str) -> None:
        here = self._settings.ray_address is None
        address = self._address()
        if address is None and self._settings.runner == "ray":
            return  # the cluster is starting: decided again at the next look
        # On a cluster of its own a runner outlives this scheduler, and the next one adopts it.
        self._children.start(sweep_id, address=address, parent=os.getpid() if here else None)
        structlog.get_logger().info("runner started", sweep=sweep_id)

    def _address(self) -> str | None:
        if self._settings.runner == "local":
            return None
        return self._settings.ray_address or self._cluster.address()

    def _stop(self, row: Row, at_once: bool) -> None:
        """End a runner: a child by asking first, one of an earlier scheduler by its pid."""
        if self._children.get(row["id"]) is not None:
            self._children.stop(row["id"], at_once=at_once)
        elif row["host"] == self._me.host:
            asked = self._asked.setdefault(row["id"], time.monotonic())
            insist = time.monotonic() - asked > GRACE_SECONDS
            _signal(_process(row), signal.SIGKILL if insist else signal.SIGTERM)


def _process(row: Row) -> ProcessId:
    return ProcessId(host=row["host"], pid=row["pid"], started=int(row["pid_started"]))


def _gone(owner: str) -> bool:
    """Whether a leader of this host is dead, so that its lease need not run out."""
    host, pid, started = owner.rsplit(" ", 2)
    process = ProcessId(host=host, pid=int(pid), started=int(started))
    return host == this_process().host and not lives(process)


def _signal(process: ProcessId, number: int) -> None:
    if lives(process):
        os.kill(process.pid, number)


def run(settings: Settings, *, parent: int | None = None) -> None:
    """Schedule until SIGINT or SIGTERM, or until the parent is gone; leave no process behind.

    Raises:
        RuntimeError: The record's schema is not this code's.
    """
    configure_logging(settings.log_format, process="scheduler")
    settings.make_home()
    check_schema(settings)
    stop = threading.Event()
    stop_on_signals(stop.set)
    scheduler = Scheduler(settings)
    try:
        while not stop.wait(TICK_SECONDS) and not (parent and orphaned(parent)):
            _tick(scheduler)
    finally:
        scheduler.close()


def _tick(scheduler: Scheduler) -> None:
    """One look; a record that is away, or a sweep that changed meanwhile, is looked at again."""
    try:
        scheduler.tick()
    except (DBAPIError, PoolTimeout) as error:
        scheduler.outage()
        structlog.get_logger().warning("record away", error=str(error.args[:1]))
    except RecordError as error:
        structlog.get_logger().info("changed meanwhile", reason=str(error))


def check_schema(settings: Settings) -> None:
    """Upgrade a record that is this service's own file; refuse another that is not current.

    Raises:
        RuntimeError: The record's schema is not this code's.
    """
    engine = open_engine(settings.database_url)
    if settings.embedded:
        upgrade(engine)
    elif not is_current(engine):
        raise RuntimeError("the record's schema is not the newest: run `ngpu db upgrade`")
    engine.dispose()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m service.control.scheduler")
    parser.add_argument("--parent", type=int, help="pid to live no longer than")
    run(Settings(), parent=parser.parse_args(arguments).parent)


if __name__ == "__main__":
    main()
