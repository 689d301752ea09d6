"""One trial: train a leased pack, write what happens, leave checkpoints to resume from. No Ray.

Rows are flushed about every second. A checkpoint's files are written first; then one transaction
writes the rows up to its step and moves the pointers. So at any instant the record holds complete
rows up to the pointer's step, and whoever claims the pack next deletes what lies beyond and goes on
from there.
"""

import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType

import structlog
import torch

from ngpu_core.checkpoint import CorruptCheckpoint, load_seed, save_seed
from ngpu_core.events import EpochEnd, Event, Measurement, Outcome, Progress, SeedEnded
from ngpu_core.training import PackTrainer
from sweeps.recorder import CheckpointRef, Fenced, PackWork, Recorder

#: Rows kept back at most before they are written.
FLUSH_ROWS = 256
#: Seconds between two signs of life while no row is written; a lease lasts 30.
RENEW_SECONDS = 5.0


class TrialEnd(StrEnum):
    """How a trial ended when it did not raise."""

    #: Every seed of the pack has ended, and the record says so.
    COMPLETE = "complete"
    #: The pack was taken away, as by a cancel; nothing more was written.
    FENCED = "fenced"
    #: The training raised; the record was told.
    FAILED = "failed"


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
) -> Generator[int, None, TrialEnd]:
    """Train a pack, pausing after every flush.

    Args:
        work: The leased pack.
        recorder: Where its facts go.
        checkpoints: Folder of checkpoints; files are
            `<sweep>/<configuration>/<seed>/<step>-<pack>-<fence>.pt` below it.
        flush_seconds: Rows are written at least this often, and every `FLUSH_ROWS` rows.
        checkpoint_seconds: Least time between two checkpoints of a running seed.

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
    torch.set_num_threads(work.cpu)
    log = structlog.get_logger().bind(pack=work.pack_id, fence=work.fence, seeds=list(work.seeds))
    log.info("trial started", resumed_at=work.resume[0].step if work.resume else 0)
    with _LeaseKeeper(recorder) as lease:
        try:
            trainer = _make_trainer(work, recorder, checkpoints)
            attempt = _Attempt(
                work, recorder, trainer, checkpoints, flush_seconds, checkpoint_seconds
            )
            for event in _guarded(trainer.events):
                lease.check()
                if attempt.take(event):
                    yield attempt.step
            recorder.complete()
            end = TrialEnd.COMPLETE
        except Fenced:
            end = TrialEnd.FENCED
        except _TrainingRaised as error:
            end = _report(recorder, str(error))
    log.info("trial ended", end=end.value)
    return end


def _make_trainer(work: PackWork, recorder: Recorder, checkpoints: Path) -> PackTrainer:
    states = _load(work, recorder, checkpoints)
    device = "cuda" if work.gpu > 0 else "cpu"
    try:
        trainer = PackTrainer(work.run, work.seeds, device=device)
        if states:
            trainer.load_seed_states(states)
    except Exception as error:
        raise _TrainingRaised(traceback.format_exc()) from error
    return trainer


def _load(work: PackWork, recorder: Recorder, checkpoints: Path) -> dict[int, dict]:
    try:
        return {ref.seed: load_seed(checkpoints / ref.path, ref.sha256) for ref in work.resume}
    except (CorruptCheckpoint, FileNotFoundError):
        recorder.forget_checkpoints()
        raise


def _guarded(events: Callable[[], Iterator[Event]]) -> Iterator[Event]:
    """The events; what the training raises is told apart from what its consumer raises."""
    try:
        yield from events()
    except Exception as error:
        raise _TrainingRaised(traceback.format_exc()) from error


def _report(recorder: Recorder, error: str) -> TrialEnd:
    try:
        recorder.fail(error)
    except Fenced:
        return TrialEnd.FENCED
    return TrialEnd.FAILED


class _Attempt:
    """What one lease of a pack has yet to write."""

    def __init__(
        self,
        work: PackWork,
        recorder: Recorder,
        trainer: PackTrainer,
        checkpoints: Path,
        flush_seconds: float,
        checkpoint_seconds: float,
    ) -> None:
        self.step = work.resume[0].step if work.resume else 0
        self._work = work
        self._recorder = recorder
        self._trainer = trainer
        self._checkpoints = checkpoints
        self._flush_seconds = flush_seconds
        self._checkpoint_seconds = checkpoint_seconds
        self._rows: list[Measurement] = []
        self._active = work.seeds
        self._started = self._flushed = time.monotonic()
        # The first epoch's end leaves the first checkpoint, so a short sweep can resume too.
        self._saved = float("-inf")

    def take(self, event: Event) -> bool:
        """Keep or write one event; whether something was written."""
        match event:
            case SeedEnded():
                self._end_seed(event)
                return True
            case EpochEnd(step=step, active=active):
                self._advance(step, active)
                if active and time.monotonic() - self._saved >= self._checkpoint_seconds:
                    self._checkpoint()
                    return True
            case Progress(step=step, active=active):
                self._advance(step, active)
            case _:
                self._rows.append(event)
        return self._flush_if_due()

    @property
    def _wall_seconds(self) -> float:
        return self._work.wall_seconds + time.monotonic() - self._started

    @property
    def _steps(self) -> dict[int, int]:
        return dict.fromkeys(self._active, self.step)

    def _advance(self, step: int, active: tuple[int, ...]) -> None:
        self.step, self._active = step, active

    def _flush_if_due(self) -> bool:
        late = time.monotonic() - self._flushed >= self._flush_seconds
        if not late and len(self._rows) < FLUSH_ROWS:
            return False
        self._recorder.record(self._rows, steps=self._steps, wall_seconds=self._wall_seconds)
        self._written()
        return True

    def _checkpoint(self) -> None:
        refs = [self._save(seed, self.step) for seed in self._active]
        self._recorder.checkpoint(
            self._rows, refs, steps=self._steps, wall_seconds=self._wall_seconds
        )
        self._written()
        self._saved = time.monotonic()
        self._prune(refs)

    def _end_seed(self, ended: SeedEnded) -> None:
        keep = ended.outcome is Outcome.FINISHED
        ref = self._save(ended.seed, ended.step) if keep else None
        self._recorder.end_seed(self._rows, ended, ref, wall_seconds=self._wall_seconds)
        self._active = tuple(seed for seed in self._active if seed != ended.seed)
        self._written()
        self._prune([ref] if ref else [])

    def _written(self) -> None:
        self._rows = []
        self._flushed = time.monotonic()

    def _save(self, seed: int, step: int) -> CheckpointRef:
        name = f"{step}-{self._work.pack_id}-{self._work.fence}.pt"
        path = f"{self._work.sweep_id}/{self._work.configuration_id}/{seed}/{name}"
        target = self._checkpoints / path
        target.parent.mkdir(parents=True, exist_ok=True)
        file = save_seed(target, self._trainer.seed_state(seed))
        return CheckpointRef(seed=seed, step=step, path=path, sha256=file.sha256, bytes=file.bytes)

    def _prune(self, refs: Sequence[CheckpointRef]) -> None:
        """Delete the files these replace; never one that a later lease has written."""
        for ref in refs:
            kept = self._checkpoints / ref.path
            for file in kept.parent.glob("*-*-*.pt"):
                if file != kept and _lease(file) <= _lease(kept):
                    file.unlink(missing_ok=True)


def _lease(file: Path) -> tuple[int, int]:
    """Pack and fence that wrote a checkpoint; a later lease of its seed compares greater."""
    _, pack, fence = file.stem.split("-")
    return int(pack), int(fence)


class _LeaseKeeper(threading.Thread):
    """Renews the lease while the trial computes; a lost lease is noticed by `check`."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._recorder = recorder
        self._closed = threading.Event()
        self._lost = threading.Event()

    def __enter__(self) -> "_LeaseKeeper":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self.join()

    def check(self) -> None:
        """Raise `Fenced` when a renewal found the pack taken."""
        if self._lost.is_set():
            raise Fenced("the pack was taken from this worker")

    def run(self) -> None:
        """Renew until closed; a record that is away is tried again, the flushes judge it."""
        while not self._closed.wait(RENEW_SECONDS):
            try:
                self._recorder.renew()
            except Fenced:
                self._lost.set()
                return
            except Exception as error:
                structlog.get_logger().warning("lease not renewed", error=repr(error))
