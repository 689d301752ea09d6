"""Whether an installation and its record are in order: what is wrong, and what to do about it.

Looks from where it runs, as the machine of the scheduler, and changes nothing.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryFile

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from db import invariants
from db.engine import current_revision, head_revision, open_engine, reading
from db.runners import lease_is_held
from db.states import SeedState
from ngpu_core.engines import native_build
from service.collection import find_orphans
from service.control.scheduler import LEADERSHIP
from service.settings import Settings

#: Less free space than this is worth a finding: checkpoints are written whole before the old go.
LEAST_FREE_BYTES = 2**30
#: A clock this many seconds off is worth one: times of events and of logs no longer compare.
MOST_SKEW_SECONDS = 5.0
#: The scheduler takes a lease back within a second or two of its end.
EXPIRED_SECONDS = 15.0
CONNECT_SECONDS = 3.0
NOT_ASKED = "not asked: the record is not ready"
#: Names spelled out in one finding.
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one check found."""

    check: str
    #: None where it cannot be told here, as when the record is away.
    ok: bool | None
    says: str
    #: What to do next; empty when there is nothing to do.
    advice: str = ""


Check = Callable[[Settings, Engine], Iterator[Verdict]]


def examine(settings: Settings) -> list[Verdict]:
    """Every check, those of the machine first."""
    engine = open_engine(settings.database_url)
    try:
        found = [verdict for check in _HERE for verdict in check(settings, engine)]
        record = list(_record(settings, engine))
        found += record
        for check in _ON_RECORD:
            if all(verdict.ok for verdict in record):
                found += check(settings, engine)
            else:
                name = check.__name__.strip("_").replace("_", " ")
                found.append(Verdict(check=name, ok=None, says=NOT_ASKED))
        return found
    finally:
        engine.dispose()


def _folder(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    folder, check = settings.checkpoints, "checkpoint folder"
    if not folder.is_dir():
        nearest = next(path for path in folder.parents if path.is_dir())
        if os.access(nearest, os.W_OK):
            yield Verdict(check=check, ok=True, says=f"{folder} is made by the first process")
        else:
            advice = "make the folder, or name another home with NGPU_HOME"
            says = f"{folder} is not there, and {nearest} cannot be written"
            yield Verdict(check=check, ok=False, says=says, advice=advice)
        return
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        advice = f"give the user of this process write access to {folder}, or free the disk"
        yield Verdict(check=check, ok=False, says=f"cannot be written: {error}", advice=advice)
        return
    free = shutil.disk_usage(folder).free
    says = f"{folder} can be written, {free / 2**30:.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        advice = "free disk space: `ngpu checkpoints collect` deletes what nothing needs"
        yield Verdict(check=check, ok=False, says=says, advice=advice)
    else:
        yield Verdict(check=check, ok=True, says=says)


def _engine(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    check = "native engine"
    if find_spec("torch") is None:
        yield Verdict(check=check, ok=True, says="not needed: this installation trains nothing")
    elif usable := native_build.usable():
        yield Verdict(check=check, ok=True, says=f"built for this processor: {usable[0]}")
    else:
        advice = "install a C++ compiler (g++) and run `make setup` again: training is slow without"
        says = "there is no compiled engine for this processor"
        yield Verdict(check=check, ok=False, says=says, advice=advice)


def _ray(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    check, address = "Ray", settings.ray_address
    if address is None:
        where = "started on this machine when needed"
        says = "not used (NGPU_RUNNER=local)" if settings.runner == "local" else where
        yield Verdict(check=check, ok=True, says=says)
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        advice = "start the cluster's head (`ray start --head …`), or correct NGPU_RAY_ADDRESS"
        says = f"nothing answers at {address}: {error}"
        yield Verdict(check=check, ok=False, says=says, advice=advice)
        return
    yield Verdict(check=check, ok=True, says=f"{address} answers")


def _record(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    """Whether the database answers and has the schema; the other checks need both."""
    where = engine.url.render_as_string()
    path = engine.url.database if settings.embedded else None
    if path is not None and not os.path.isfile(path):
        advice = "`ngpu serve` makes one; or name another with NGPU_HOME or NGPU_DATABASE_URL"
        yield Verdict(
            check="database", ok=False, says=f"there is no record at {path}", advice=advice
        )
        return
    try:
        revision = current_revision(engine)
    except SQLAlchemyError as error:
        advice = "start the database, or correct NGPU_DATABASE_URL and its password file"
        says = f"{where} does not answer: {error.args[0] if error.args else error}"
        yield Verdict(check="database", ok=False, says=says, advice=advice)
        return
    yield Verdict(check="database", ok=True, says=f"{where} answers")
    head = head_revision()
    says = f"at revision {revision}, this code's is {head}"
    if revision == head:
        yield Verdict(check="schema", ok=True, says=says)
    else:
        known = revision is None or revision < str(head)
        advice = "run `ngpu db upgrade`" if known else "run the newer code that wrote this record"
        yield Verdict(check="schema", ok=False, says=says, advice=advice)


def _clock(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    with reading(engine) as conn:
        ahead = invariants.seconds_ahead(conn)
    side = "ahead of" if ahead > 0 else "behind"
    says = f"this machine's is {abs(ahead):.1f} s {side} the database's"
    ok = abs(ahead) <= MOST_SKEW_SECONDS
    advice = "" if ok else "synchronize the clocks (NTP): leases go by the database's, logs do not"
    yield Verdict(check="clock", ok=ok, says=says, advice=advice)


def _scheduler(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    with reading(engine) as conn:
        leads = lease_is_held(conn, LEADERSHIP)
        waiting = invariants.waiting_sweeps(conn)
    if leads or not waiting:
        says = "one leads" if leads else "none leads, and no sweep waits for one"
        yield Verdict(check="scheduler", ok=True, says=says)
    else:
        advice = "start `ngpu serve`, or `ngpu scheduler` beside a web process elsewhere"
        says = f"none leads, and {waiting} sweeps wait"
        yield Verdict(check="scheduler", ok=False, says=says, advice=advice)


def _leases(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    with reading(engine) as conn:
        expired = invariants.expired_leases(conn, for_seconds=EXPIRED_SECONDS)
    if not expired:
        yield Verdict(check="leases", ok=True, says="none has run out without being taken back")
        return
    ids = ", ".join(str(row["id"]) for row in expired[:SHOWN])
    advice = "start a scheduler: it takes them back, and their seeds go on from their checkpoints"
    says = f"{len(expired)} packs are held under a lease that has run out: {ids}"
    yield Verdict(check="leases", ok=False, says=says, advice=advice)


def _states(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    with reading(engine) as conn:
        found = invariants.broken(conn)
    if not found:
        yield Verdict(check="states", ok=True, says="every combination is possible")
    for one in found:
        says = f"not so for {one.number} (ids {', '.join(map(str, one.ids))}): {one.invariant}"
        advice = (
            "somebody wrote to the tables, or it is a fault of the program: keep a backup "
            "(`ngpu db backup`), and `ngpu sweep verify` the sweeps concerned"
        )
        yield Verdict(check="states", ok=False, says=says, advice=advice)


def _checkpoints(settings: Settings, engine: Engine) -> Iterator[Verdict]:
    """Files the record points to, and files nothing needs."""
    check, folder = "checkpoints", settings.checkpoints
    with reading(engine) as conn:
        pointed = invariants.pointed_files(conn)
    # Of a seed that trains the file may be replaced between the two looks.
    still = [row for row in pointed if row["state"] != SeedState.RUNNING]
    lost = [row for row in still if not (folder / row["path"]).is_file()]
    if lost:
        ids = ", ".join(str(row["seed_run_id"]) for row in lost[:SHOWN])
        advice = (
            f"if {folder} is not the folder that workers write to, correct NGPU_HOME; else restore "
            "the files, or go on without: seeds that have not ended start anew, results stay"
        )
        says = f"{len(lost)} of {len(pointed)} files are missing (seed runs {ids})"
        yield Verdict(check=check, ok=False, says=says, advice=advice)
    orphans = find_orphans(engine, folder)
    if orphans.files:
        says = f"{len(orphans.files)} files of {orphans.bytes} bytes that nothing needs"
        advice = "`ngpu checkpoints collect` deletes them; a running scheduler does so by itself"
        yield Verdict(check=check, ok=False, says=says, advice=advice)
    if orphans.unknown:
        names = ", ".join(path.name for path in orphans.unknown[:SHOWN])
        says = f"{len(orphans.unknown)} folders of sweeps the record does not know: {names}"
        advice = (
            "if those sweeps were deleted and no other record uses this home: "
            "`ngpu checkpoints collect --unknown`"
        )
        yield Verdict(check=check, ok=False, says=says, advice=advice)
    if not lost and not orphans.files and not orphans.unknown:
        says = f"{len(pointed)} files, none missing and none too many"
        yield Verdict(check=check, ok=True, says=says)


_HERE: tuple[Check, ...] = (_folder, _engine, _ray)
_ON_RECORD: tuple[Check, ...] = (_clock, _scheduler, _leases, _states, _checkpoints)
