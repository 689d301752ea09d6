"""One trial: train a leased pack, write what happens, leave checkpoints to resume from. No Ray.

A pack that does not fit in the device's memory is trained in parts that take turns (`parts.py`);
what is written, and when, is the journal's (`journal.py`).
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import structlog
import torch

from ngpu_core.engines.choice import torch_threads
from ngpu_core.events import EpochEnd, Event
from ngpu_core.training import PackTrainer
from sweeps.device_memory import free_memory, give_back, is_out_of_memory
from sweeps.journal import Journal
from sweeps.lease import LeaseKeeper, stay
from sweeps.parts import Part, TooLarge, device, engine_of, planned_parts, smaller_parts
from sweeps.recorder import CheckpointRef, Fenced, PackWork, Recorder

#: Checkpoint intervals of a part's turn: so many that setting it up hardly counts.
TURN_INTERVALS = 10

T = TypeVar("T")


class TrialEnd(StrEnum):
    """How a trial ended when it did not raise."""

    #: Every seed of the pack has ended, and the record says so.
    COMPLETE = "complete"
    #: The pack was taken away, as by a cancel; nothing more was written.
    FENCED = "fenced"
    #: The sweep is to pause: the pack was given back at a checkpoint.
    RELEASED = "released"
    #: The training raised; the record was told.
    FAILED = "failed"


class _Leaving(Exception):
    """All seeds of the pack are at a checkpoint, and the worker is to leave."""


class _TrainingRaised(Exception):
    """The science raised, as opposed to the record or the disk; its text is the traceback."""


def run_trial(
    work: PackWork,
    recorder: Recorder,
    *,
    checkpoints: Path,
    flush_seconds: float = 1.0,
    checkpoint_seconds: float = 30.0,
) -> TrialEnd:
    """Train a pack to its end, without a pause; see `trial_steps`."""
    steps = trial_steps(
        work,
        recorder,
        checkpoints=checkpoints,
        flush_seconds=flush_seconds,
        checkpoint_seconds=checkpoint_seconds,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def trial_steps(
    work: PackWork,
    recorder: Recorder,
    *,
    checkpoints: Path,
    flush_seconds: float = 1.0,
    checkpoint_seconds: float = 30.0,
    on_hang: Callable[[], None] = stay,
    told_to_leave: Callable[[], bool] = lambda: False,
) -> Generator[int, None, TrialEnd]:
    """Train a pack, pausing after every flush.

    Args:
        work: The leased pack.
        recorder: Where its facts go.
        checkpoints: Folder of checkpoints; files are
            `<sweep>/<configuration>/<seed>/<step>-<pack>-<fence>.pt` below it.
        flush_seconds: Rows are written at least this often, and every `FLUSH_ROWS` rows.
        checkpoint_seconds: Least time between two checkpoints of a running seed.
        on_hang: Called in another thread when the pack was taken away and the training, which
            should have noticed, hangs.
        told_to_leave: Whether to give the pack back after a checkpoint at the next epoch's end.

    Yields:
        The step reached, after each flush: a point where the trial may be left for good.

    Returns:
        How it ended. A training that raised is told to the recorder, not raised.

    Raises:
        RecordUnreachable: The record is away.
        CorruptCheckpoint: A checkpoint is damaged; the pack's checkpoints were forgotten, so the
            next attempt starts at step 0.
        OSError: A checkpoint cannot be written.
    """
    log = structlog.get_logger().bind(**work.identity)
    log.info("trial started", resumed_at=work.resume[0].step if work.resume else 0)
    journal = Journal(work, recorder, checkpoints, flush_seconds)
    with LeaseKeeper(recorder, on_hang, told_to_leave) as lease:
        trial = _Trial(work, journal, lease, checkpoint_seconds)
        try:
            yield from trial.train()
            recorder.complete()
            end = TrialEnd.COMPLETE
        except _Leaving:
            recorder.release()
            end = TrialEnd.RELEASED
        except Fenced:
            end = TrialEnd.FENCED
        except (_TrainingRaised, TooLarge) as error:
            log.error("training raised", exception=str(error))
            end = _report(recorder, str(error))
    log.info("trial ended", end=end.value)
    return end


def _report(recorder: Recorder, error: str) -> TrialEnd:
    try:
        recorder.fail(error)
    except Fenced:
        return TrialEnd.FENCED
    return TrialEnd.FAILED


@dataclass(frozen=True, kw_only=True)
class _Left:
    """A part after its turn: the seeds that go on, and their new files."""

    part: Part
    refs: list[CheckpointRef]


class _Trial:
    """The training of one lease."""

    def __init__(
        self, work: PackWork, journal: Journal, lease: LeaseKeeper, checkpoint_seconds: float
    ) -> None:
        self._work = work
        self._journal = journal
        self._lease = lease
        self._checkpoint_seconds = checkpoint_seconds

    def train(self) -> Iterator[int]:
        """Every seed to its end; the step reached after each flush."""
        work = self._work
        parts = _science(lambda: planned_parts(work, free_memory(work.cpu, work.gpu)))
        while parts:
            parts = yield from self._round(parts)

    def _round(self, parts: list[Part]) -> Generator[int, None, list[Part]]:
        """Each part from the last checkpoint to the next, which is then everyone's.

        A part that runs out of memory is cut, and its seeds begin their turns again.
        """
        waiting, through = deque(parts), list[_Left]()
        while waiting:
            part = waiting.popleft()
            alone = not waiting and not through
            until = through[0].refs[0].step if through else None
            fault = None
            try:
                left = yield from self._turn(part, until, alone)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                fault = str(error)
            # Only here, when the error and with it the training are gone, is there memory again.
            if fault is not None:
                waiting.extendleft(reversed(self._smaller(part, fault)))
            elif left is not None:
                through.append(left)
        if through:
            self._journal.point_to([ref for left in through for ref in left.refs])
            self._leave_if_asked()
            yield self._journal.step
        return [left.part for left in through]

    def _smaller(self, part: Part, fault: str) -> list[Part]:
        """What to train in place of a part that ran out of memory."""
        give_back()
        seeds = tuple(seed for seed in part.seeds if seed not in self._journal.ended)
        if not seeds:
            return []
        smaller = smaller_parts(self._work, replace(part, seeds=seeds), fault)
        structlog.get_logger().warning(
            "out of memory, going on with less at once",
            **{**self._work.identity, "seeds": [list(one.seeds) for one in smaller]},
            step=self._journal.checkpointed,
            segment=smaller[0].segment,
            fault=fault,
        )
        self._journal.go_back(seeds)
        return smaller

    def _turn(
        self, part: Part, until: int | None, alone: bool
    ) -> Generator[int, None, _Left | None]:
        """Train a part from its checkpoints.

        Args:
            part: The part.
            until: The step at which its turn ends; None: when its time is up.
            alone: There is no other part: it trains to its end, with checkpoints of its own.

        Returns:
            What is left of it; None when all its seeds have ended.
        """
        journal = self._journal
        # The first epoch's end leaves a checkpoint, so that a short sweep can resume too.
        due = time.monotonic() + (0 if alone else TURN_INTERVALS * self._checkpoint_seconds)
        trainer = self._trainer(part)
        journal.note_engine(trainer.engine, part.seeds)
        for event in _guarded(trainer):
            self._lease.check()
            late = self._due(due) if until is None else event.step == until
            if not (isinstance(event, EpochEnd) and event.active and late):
                if journal.take(event, trainer) and journal.active:
                    yield journal.step
                continue
            journal.reach(event)
            refs = journal.save(trainer)
            if not alone:
                journal.flush()
                return _Left(part=replace(part, seeds=event.active), refs=refs)
            journal.point_to(refs)
            self._leave_if_asked()
            due = time.monotonic() + self._checkpoint_seconds
            yield journal.step
        return None

    def _due(self, due: float) -> bool:
        return self._lease.leaving or time.monotonic() >= due

    def _leave_if_asked(self) -> None:
        if self._lease.leaving:
            raise _Leaving

    def _trainer(self, part: Part) -> PackTrainer:
        states = self._journal.begin(part.seeds)

        def make() -> PackTrainer:
            engine = engine_of(self._work, part)
            torch.set_num_threads(torch_threads(engine, self._work.cpu))
            trainer = PackTrainer(
                self._work.run,
                part.seeds,
                device=device(self._work),
                threads=self._work.cpu,
                engine=engine,
            )
            if states:
                trainer.load_seed_states(states)
            return trainer

        return _science(make)


def _science(act: Callable[[], T]) -> T:
    """Act; what the science raises is told apart from what the record or the disk raises."""
    try:
        return act()
    except Exception as error:
        if isinstance(error, TooLarge) or is_out_of_memory(error):
            raise
        raise _TrainingRaised(traceback.format_exc()) from error


def _guarded(trainer: PackTrainer) -> Iterator[Event]:
    """A training's events; what it raises is told apart from what their consumer raises."""
    try:
        yield from trainer.events()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _TrainingRaised(traceback.format_exc()) from error
