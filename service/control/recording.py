"""The record as trials and runners see it: `sweeps.recorder`'s protocols over SQL.

Connections are made in the process that uses them, from a URL: the factories `connect_recorder` and
`connect_queue`, bound to their arguments with `functools.partial`, travel to Ray's workers.
"""

import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from db import giving_back, leasing, recording
from db.engine import open_engine, reading, writing
from db.errors import LeaseLost
from db.states import TRAINING, Desired
from ngpu_core.config import RunConfig
from ngpu_core.events import (
    CarryThreshold,
    CarryTrial,
    Evaluation,
    Measurement,
    ProbeResult,
    SeedEnded,
    TrainingEpoch,
)
from sweeps.recorder import (
    CheckpointRef,
    ComputedBy,
    Fenced,
    PackWork,
    RecordUnreachable,
    WantsNext,
)

#: Seconds a pack is held after its worker's last sign of life.
LEASE_SECONDS = 30.0
#: Seconds a worker waits for a record that is away. Meanwhile nobody can take its pack.
OUTAGE_SECONDS = 600.0
#: What a record that is away, busy or restarting raises.
_AWAY = (OperationalError, InterfaceError, PoolTimeout)

T = TypeVar("T")


@lru_cache
def _engine(url: str) -> Engine:
    """One pool of connections a process and record."""
    return open_engine(url)


class SqlRecorder:
    """A leased pack's recorder; each method is one transaction, repeated in an outage."""

    def __init__(
        self, engine: Engine, work: PackWork, wants_next: WantsNext = lambda: False
    ) -> None:
        self._engine = engine
        self._work = work
        self._wants_next = wants_next
        self._lease = recording.Lease(pack_id=work.pack_id, fence=work.fence, seconds=LEASE_SECONDS)
        self._completed = False
        self._next: PackWork | None = None

    def note_engine(
        self, seeds: Sequence[int], *, engine: str, instruction_set: str | None
    ) -> None:
        """Note what computes some seeds from here on."""
        self._write(
            lambda conn: recording.note_engine(
                conn, self._lease, seeds, engine=engine, instruction_set=instruction_set
            )
        )

    def record(
        self,
        events: Sequence[Measurement],
        *,
        steps: Mapping[int, int],
        wall_seconds: float,
        wait: bool = True,
    ) -> None:
        """Write rows, and how far each active seed is."""
        rows = rows_of(events)
        persist(
            self._engine,
            lambda conn: recording.write_rows(
                conn, self._lease, rows, steps=steps, wall_seconds=wall_seconds
            ),
            OUTAGE_SECONDS if wait else 0.0,
        )

    def checkpoint(
        self,
        events: Sequence[Measurement],
        refs: Sequence[CheckpointRef],
        *,
        steps: Mapping[int, int],
        wall_seconds: float,
    ) -> None:
        """Write the rows up to the checkpoint and point to its files, together."""
        rows, pointers = rows_of(events), [asdict(ref) for ref in refs]
        self._write(
            lambda conn: recording.move_checkpoint(
                conn, self._lease, rows, pointers, steps=steps, wall_seconds=wall_seconds
            )
        )

    def end_seed(
        self,
        events: Sequence[Measurement],
        ended: SeedEnded,
        ref: CheckpointRef | None,
        *,
        wall_seconds: float,
        computed_by: ComputedBy | None = None,
    ) -> None:
        """Write a seed's last rows, its final checkpoint and its outcome, together.

        With the last of its seeds the pack is done, and the next one leased, in the same
        transaction.
        """
        rows = rows_of(events)
        end = recording.Ended(
            seed=ended.seed,
            state=ended.outcome.value,
            step=ended.step,
            reason=ended.reason,
            checkpoint=asdict(ref) if ref else None,
            **(asdict(computed_by) if computed_by else {}),
        )
        pack, fence = self._lease.pack_id, self._lease.fence

        def act(conn: Connection) -> _Completion:
            try:
                recording.end_seed(conn, self._lease, rows, end, wall_seconds=wall_seconds)
            except LeaseLost:
                # A commit whose answer was lost has ended the lease, if the pack is done under it.
                if leasing.is_done(conn, pack, fence):
                    return _Completion(True, self._lease_next(conn, again=True))
                raise
            return self._complete(conn)

        self._completed, self._next = self._write(act)

    def complete(self) -> None:
        """Every seed has ended: the pack is done."""
        if self._completed:
            return
        pack, fence = self._lease.pack_id, self._lease.fence

        def act(conn: Connection) -> _Completion:
            if leasing.is_done(conn, pack, fence):
                return _Completion(True, self._lease_next(conn, again=True))
            return self._complete(conn)

        self._completed, self._next = self._write(act)
        if not self._completed:
            raise RuntimeError(f"pack {pack} has seed runs that did not end")

    def next_pack(self) -> PackWork | None:
        """The pack leased in the transaction that completed this one."""
        return self._next

    def _complete(self, conn: Connection) -> "_Completion":
        done = leasing.complete_pack(conn, self._lease.pack_id, self._lease.fence)
        return _Completion(done, self._lease_next(conn) if done else None)

    def _lease_next(self, conn: Connection, *, again: bool = False) -> PackWork | None:
        if not self._wants_next():
            return None
        work = self._work
        return lease_pack(
            conn,
            work.sweep_id,
            holder=work.holder,
            epoch=work.epoch,
            code_version=work.code_version,
            again=again,
        )

    def fail(self, error: str) -> None:
        """The training itself raised: charged to the pack."""
        pack, fence = self._lease.pack_id, self._lease.fence
        fate = self._write(lambda conn: giving_back.fail_pack(conn, pack, fence, error))
        if fate is giving_back.Fate.LOST:
            raise Fenced(f"pack {pack} is no longer held under fence {fence}")

    def rewind(self, seeds: Sequence[int], step: int) -> None:
        """Delete the rows of some seeds beyond a step, from which they are trained again."""
        self._write(lambda conn: recording.rewind(conn, self._lease, seeds, step))

    def forget_checkpoints(self) -> None:
        """Drop the pack's checkpoints and rows: its next attempt starts at step 0."""
        pack, fence = self._lease.pack_id, self._lease.fence
        self._write(lambda conn: leasing.forget_checkpoints(conn, pack, fence))

    def release(self) -> None:
        """Give the pack back, uncharged; harmless when it is another's by now."""
        pack, fence = self._lease.pack_id, self._lease.fence
        self._write(lambda conn: giving_back.release_pack(conn, pack, fence, None))

    def renew(self) -> bool:
        """Say that the worker lives, tries once; whether it is to go on."""
        pack, fence = self._lease.pack_id, self._lease.fence
        try:
            return _renew(self._engine, pack, fence) in TRAINING
        except Fenced:
            # The trial's own thread has completed it meanwhile.
            with reading(self._engine) as conn:
                if leasing.is_done(conn, pack, fence):
                    return True
            raise

    def _write(self, act: Callable[[Connection], T]) -> T:
        return persist(self._engine, act, OUTAGE_SECONDS)


class _Completion(NamedTuple):
    """Whether a pack is done, and what its trial goes on with."""

    done: bool
    next: PackWork | None


def lease_pack(
    conn: Connection,
    sweep_id: str,
    *,
    holder: str,
    epoch: int,
    code_version: str | None,
    again: bool = False,
) -> PackWork | None:
    """Lease one pack that waits, as `db.leasing.claim_pack`, for training on this host."""
    pack = leasing.claim_pack(
        conn,
        sweep_id,
        owner=holder,
        epoch=epoch,
        lease_seconds=LEASE_SECONDS,
        host=socket.gethostname(),
        code_version=code_version,
        again=again,
    )
    if pack is None:
        return None
    return replace(work_of(pack), holder=holder, epoch=epoch, code_version=code_version)


class SqlQueue:
    """The packs of one sweep, for the runner of one epoch."""

    def __init__(self, engine: Engine, sweep_id: str, epoch: int, code_version: str) -> None:
        self._engine = engine
        self._sweep_id = sweep_id
        self._epoch = epoch
        self._code_version = code_version

    def claim(self, trial: str = "") -> PackWork | None:
        """Lease one pack that waits, or None when none can be leased now."""
        place = f"{socket.gethostname()}, runner {self._epoch}"
        # Not repeated here: a claim whose answer was lost is another runner's to take over.
        with _answering(), writing(self._engine) as conn:
            return lease_pack(
                conn,
                self._sweep_id,
                holder=f"{place}, trial {trial}" if trial else place,
                epoch=self._epoch,
                code_version=self._code_version,
            )

    def exhausted(self) -> bool:
        """Whether no pack is pending or leased, or the sweep is no longer to run."""
        with _answering(), reading(self._engine) as conn:
            return leasing.exhausted(conn, self._sweep_id)

    def outranked(self) -> bool:
        """Whether nothing can be leased because a sweep of a greater priority goes first."""
        with _answering(), reading(self._engine) as conn:
            return leasing.outranked(conn, self._sweep_id)

    def renew(self, pack_id: int, fence: int) -> None:
        """Keep the lease of a pack that has not started yet; tries once."""
        # It cannot stall while it waits for a processor.
        _renew(self._engine, pack_id, fence, progress=True)

    def release(self, pack_id: int, fence: int, error: str | None) -> None:
        """Give a pack back, uncharged; harmless when it is another's by now."""
        persist(
            self._engine,
            lambda conn: giving_back.release_pack(conn, pack_id, fence, error),
            LEASE_SECONDS,
        )

    def release_held(self, holder: str, error: str | None) -> None:
        """Give back whatever pack a holder has in hand now; it gets none after it."""
        persist(
            self._engine,
            lambda conn: giving_back.release_held(
                conn, self._sweep_id, owner=holder, epoch=self._epoch, error=error
            ),
            LEASE_SECONDS,
        )


def connect_recorder(
    url: str, work: PackWork, wants_next: WantsNext = lambda: False
) -> SqlRecorder:
    """The recorder of a leased pack, on this process's connections."""
    return SqlRecorder(_engine(url), work, wants_next)


def connect_queue(url: str, sweep_id: str, epoch: int, code_version: str) -> SqlQueue:
    """A sweep's queue, on this process's connections."""
    return SqlQueue(_engine(url), sweep_id, epoch, code_version)


def work_of(pack: leasing.ClaimedPack) -> PackWork:
    """A claimed pack as its trial wants it."""
    return PackWork(
        pack_id=pack.pack_id,
        fence=pack.fence,
        sweep_id=pack.sweep_id,
        configuration_id=pack.configuration_id,
        run=RunConfig.from_mapping(pack.run),
        seeds=pack.seeds,
        resume=tuple(CheckpointRef(**_pointer(checkpoint)) for checkpoint in pack.resume),
        cpu=pack.cpu,
        gpu=pack.gpu,
        wall_seconds=pack.wall_seconds,
    )


def rows_of(events: Sequence[Measurement]) -> recording.Rows:
    """Measurements as rows of their tables."""
    return recording.Rows(
        training_epochs=[asdict(event) for event in events if isinstance(event, TrainingEpoch)],
        evaluations=[asdict(event) for event in events if isinstance(event, Evaluation)],
        carry_trials=[asdict(event) for event in events if isinstance(event, CarryTrial)],
        carry_results=[_threshold(event) for event in events if isinstance(event, CarryThreshold)],
        probe_results=[asdict(event) for event in events if isinstance(event, ProbeResult)],
    )


def _threshold(event: CarryThreshold) -> dict[str, Any]:
    row = asdict(event)
    row["carry_limit"] = row.pop("limit")  # `limit` is a word of SQL
    return row


def _pointer(checkpoint: leasing.Checkpoint) -> dict[str, Any]:
    return {**asdict(checkpoint), "bytes": checkpoint.bytes or 0}


def _renew(engine: Engine, pack_id: int, fence: int, *, progress: bool = False) -> Desired:
    try:
        with writing(engine) as conn:
            return leasing.renew(conn, pack_id, fence, LEASE_SECONDS, progress=progress)
    except LeaseLost as error:
        raise Fenced(str(error)) from error


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise RecordUnreachable(f"no answer: {error.args[:1]}") from error


def persist(engine: Engine, act: Callable[[Connection], T], seconds: float) -> T:
    """One write transaction, tried again with growing, jittered pauses while the record is away.

    Args:
        engine: The record.
        act: What is written. A commit whose answer was lost is repeated too, so it may be.
        seconds: How long to try.

    Raises:
        Fenced: The act found its lease lost.
        RecordUnreachable: The record did not answer for that long.
    """
    deadline = time.monotonic() + seconds
    pause = 0.1
    while True:
        try:
            with writing(engine) as conn:
                return act(conn)
        except LeaseLost as error:
            raise Fenced(str(error)) from error
        except _AWAY as error:
            if time.monotonic() + pause > deadline:
                raise RecordUnreachable(f"no answer for {seconds:g} s: {error}") from error
            structlog.get_logger().warning("record away", error=str(error.args[:1]))
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, 5.0)
