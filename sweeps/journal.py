"""What one lease of a pack has yet to write, and the checkpoints it can go back to.

Rows are flushed about every second; while the record is away the training goes on, its rows kept
here, up to the next checkpoint, which waits. A checkpoint's files are written first; then one
transaction writes the rows up to its step and moves the pointers. So at any instant the record
holds complete rows up to the pointers' step, and whoever claims the pack next deletes what lies
beyond and goes on from there. All pointers of a pack are at one step.
"""

import errno
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from ngpu_core.checkpoint import CheckpointFile, CorruptCheckpoint, load_seed, save_seed
from ngpu_core.engines.engine import Engine
from ngpu_core.events import EpochEnd, Event, Outcome, Progress, SeedEnded
from ngpu_core.training import PackTrainer
from sweeps.recorder import CheckpointRef, ComputedBy, PackWork, Recorder, RecordUnreachable

#: Rows kept back at most before they are written.
FLUSH_ROWS = 256
#: Rows kept back at most while the record is away; then the training waits for it.
SPOOL_ROWS = 50_000
#: Seconds a checkpoint waits for space on a full disk, and between two looks.
DISK_SECONDS = 600.0
DISK_POLL_SECONDS = 5.0
#: Less free space than this explains a write that failed without saying why.
FULL_BYTES = 2**20


class Journal:
    """The rows, files and pointers of one lease.

    Args:
        work: The leased pack.
        recorder: Where its facts go.
        checkpoints: Folder of checkpoints.
        flush_seconds: Rows are written at least this often, and every `FLUSH_ROWS` rows.
    """

    def __init__(
        self, work: PackWork, recorder: Recorder, checkpoints: Path, flush_seconds: float
    ) -> None:
        self._work = work
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._flush_seconds = flush_seconds
        #: Where the record's pointers are: by seed, all at `checkpointed`; none at step 0.
        self._pointers = {ref.seed: ref for ref in work.resume}
        self.checkpointed = work.resume[0].step if work.resume else 0
        #: The step reached by the seeds in training.
        self.step = self.checkpointed
        #: Seeds that have ended in this lease.
        self.ended: set[int] = set()
        self._active: tuple[int, ...] = ()
        self._rows: list[Any] = []
        #: What computes the seeds of which the record has not been told yet.
        self._unnoted: dict[int, ComputedBy] = {}
        self._away = False
        self._started = self._flushed = time.monotonic()

    def begin(self, seeds: tuple[int, ...]) -> dict[int, dict[str, Any]]:
        """Some seeds train from their checkpoints on: those, or nothing at step 0.

        Raises:
            CorruptCheckpoint: One is damaged; the pack's checkpoints were forgotten, so the next
                attempt starts at step 0.
        """
        self.step, self._active = self.checkpointed, seeds
        if not self._pointers:
            return {}
        pointers = [self._pointers[seed] for seed in seeds]
        try:
            return {
                ref.seed: load_seed(self._checkpoints / ref.path, ref.sha256) for ref in pointers
            }
        except (CorruptCheckpoint, FileNotFoundError):
            self._recorder.forget_checkpoints()
            raise

    def note_engine(self, engine: Engine, seeds: tuple[int, ...]) -> None:
        """What computes these seeds from here on; told to the record after the next rows."""
        made = ComputedBy(engine=engine.name, instruction_set=engine.instruction_set)
        self._unnoted |= dict.fromkeys(seeds, made)

    def take(self, event: Event, trainer: PackTrainer) -> bool:
        """Keep or write one event; whether something was written."""
        match event:
            case SeedEnded():
                self._end_seed(event, trainer)
                return True
            case EpochEnd() | Progress():
                self.reach(event)
            case _:
                self._rows.append(event)
        if not self._active and not self._rows:
            return False  # all have ended, and with the last of them perhaps the lease
        late = time.monotonic() - self._flushed >= self._flush_seconds
        if late or (len(self._rows) >= FLUSH_ROWS and not self._away):
            self.flush()
            return True
        return False

    def reach(self, point: EpochEnd | Progress) -> None:
        """Note how far the seeds in training are."""
        self.step, self._active = point.step, point.active

    def flush(self) -> None:
        """Write the rows, or keep them for the next time while the record is away."""
        full = len(self._rows) >= SPOOL_ROWS
        try:
            self._recorder.record(
                self._rows, steps=self._steps, wall_seconds=self._wall_seconds, wait=full
            )
        except RecordUnreachable:
            if full:
                raise
            self._away = True
            self._flushed = time.monotonic()
        else:
            self._written()
            self._tell_engines()

    def save(self, trainer: PackTrainer) -> list[CheckpointRef]:
        """Write the checkpoint files of the seeds in training, which nothing points to yet."""
        return [self._save(trainer, seed, self.step) for seed in self._active]

    def point_to(self, refs: Sequence[CheckpointRef]) -> None:
        """Write the rows and move the pointers of all seeds that go on to these files."""
        steps = {ref.seed: ref.step for ref in refs}
        self._recorder.checkpoint(self._rows, refs, steps=steps, wall_seconds=self._wall_seconds)
        self._written()
        self._tell_engines()
        self._pointers = {ref.seed: ref for ref in refs}
        self.checkpointed = refs[0].step
        self._prune(refs)

    def go_back(self, seeds: Sequence[int]) -> None:
        """Forget what some seeds did since their checkpoints: they will do it again."""
        self._rows = []
        self._recorder.rewind(seeds, self.checkpointed)

    @property
    def active(self) -> tuple[int, ...]:
        """The seeds in training."""
        return self._active

    @property
    def _wall_seconds(self) -> float:
        return self._work.wall_seconds + time.monotonic() - self._started

    @property
    def _steps(self) -> Mapping[int, int]:
        return dict.fromkeys(self._active, self.step)

    def _end_seed(self, ended: SeedEnded, trainer: PackTrainer) -> None:
        keep = ended.outcome is Outcome.FINISHED
        ref = self._save(trainer, ended.seed, ended.step) if keep else None
        self._recorder.end_seed(
            self._rows,
            ended,
            ref,
            wall_seconds=self._wall_seconds,
            computed_by=self._unnoted.pop(ended.seed, None),
        )
        structlog.get_logger().info(
            "seed ended",
            **{**self._work.identity, "seeds": [ended.seed]},
            outcome=ended.outcome.value,
            step=ended.step,
            reason=ended.reason,
        )
        self.ended.add(ended.seed)
        self._active = tuple(seed for seed in self._active if seed != ended.seed)
        self._written()
        self._prune([ref] if ref else [])

    def _tell_engines(self) -> None:
        """Note what computes which seeds: one engine, but for parts that were cut."""
        for made in set(self._unnoted.values()):
            seeds = [seed for seed, one in self._unnoted.items() if one == made]
            self._recorder.note_engine(seeds, **asdict(made))
        self._unnoted = {}

    def _written(self) -> None:
        self._rows = []
        self._away = False
        self._flushed = time.monotonic()

    def _save(self, trainer: PackTrainer, seed: int, step: int) -> CheckpointRef:
        name = f"{step}-{self._work.pack_id}-{self._work.fence}.pt"
        path = f"{self._work.sweep_id}/{self._work.configuration_id}/{seed}/{name}"
        target = self._checkpoints / path
        file = self._save_when_there_is_space(target, trainer.seed_state(seed))
        return CheckpointRef(seed=seed, step=step, path=path, sha256=file.sha256, bytes=file.bytes)

    def _save_when_there_is_space(self, target: Path, state: dict[str, Any]) -> CheckpointFile:
        """Write a checkpoint; a full disk stops the training, not the pack.

        Raises:
            OSError: The disk stayed full, or cannot be written for another reason.
            Fenced: The pack was taken away meanwhile, as by a cancel.
        """
        until = time.monotonic() + DISK_SECONDS
        while True:
            try:
                return save_seed(target, state)
            except (OSError, RuntimeError) as error:  # torch raises its own for a short write
                if not _disk_is_full(target, error) or time.monotonic() > until:
                    raise
                structlog.get_logger().warning(
                    "disk full, waiting for space", **self._work.identity, folder=str(target.parent)
                )
            self.flush()  # it is no hang
            time.sleep(DISK_POLL_SECONDS)

    def _prune(self, refs: Sequence[CheckpointRef]) -> None:
        """Delete the files these replace; never one that a later lease has written."""
        for ref in refs:
            kept = self._checkpoints / ref.path
            for file in kept.parent.glob("*-*-*.pt"):
                if file != kept and _lease(file) <= _lease(kept):
                    file.unlink(missing_ok=True)


def _disk_is_full(target: Path, error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    folder = next(path for path in target.parents if path.is_dir())
    return shutil.disk_usage(folder).free < FULL_BYTES


def _lease(file: Path) -> tuple[int, int]:
    """Pack and fence that wrote a checkpoint; a later lease of its seed compares greater."""
    _, pack, fence = file.stem.split("-")
    return int(pack), int(fence)
