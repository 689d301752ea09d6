"""The seam between training and the record: what a trial is given, and whom it tells.

`sweeps` declares it and `service/control/recording.py` implements it over SQL, so a trial knows no
database. A pack is leased to one worker at a time; its fence grows with every lease, and each write
names the fence it was given. A worker that lost its pack therefore cannot change anything.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ngpu_core.config import RunConfig
from ngpu_core.events import Measurement, SeedEnded

#: Whether a trial would go on with another pack of its sweep.
WantsNext = Callable[[], bool]


class Fenced(Exception):
    """The pack is no longer this worker's: stop, and write nothing more."""


class RecordUnreachable(Exception):
    """The record did not answer for as long as was waited: an infrastructure fault."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRef:
    """One seed's checkpoint file, as the record points to it."""

    seed: int
    step: int
    #: Relative to the folder of checkpoints, with forward slashes.
    path: str
    sha256: str
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class ComputedBy:
    """What computes a seed."""

    engine: str
    #: What its kernel was compiled for, if it has one of its own.
    instruction_set: str | None


@dataclass(frozen=True, kw_only=True)
class PackWork:
    """One leased pack: the seeds of one configuration that one worker trains together."""

    pack_id: int
    fence: int
    sweep_id: str
    configuration_id: int
    run: RunConfig
    #: The seeds that have not ended yet.
    seeds: tuple[int, ...]
    #: A checkpoint a seed, all at one step; empty starts at step 0.
    resume: tuple[CheckpointRef, ...] = ()
    #: Processors and (shares of) GPUs the trial may use.
    cpu: int = 1
    gpu: float = 0.0
    #: Seconds earlier attempts trained.
    wall_seconds: float = 0.0
    #: Who leased it, and with what: inherited by the pack that is leased as this one completes.
    holder: str = ""
    epoch: int = 0
    code_version: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What every line of a log about it names."""
        return {
            "sweep": self.sweep_id,
            "configuration": self.configuration_id,
            "pack": self.pack_id,
            "fence": self.fence,
            "seeds": list(self.seeds),
        }


class Recorder(Protocol):
    """Where one leased pack's facts go.

    Each method is one transaction that holds either completely or not at all, may be repeated
    without effect, renews the lease, and is guarded by the fence.

    Raises:
        Fenced: The pack has another fence by now; nothing was written.
        RecordUnreachable: The record is away for longer than a worker waits.
    """

    def note_engine(
        self, seeds: Sequence[int], *, engine: str, instruction_set: str | None
    ) -> None:
        """Note what computes some seeds from here on; see `ComputedBy`."""

    def record(
        self,
        events: Sequence[Measurement],
        *,
        steps: Mapping[int, int],
        wall_seconds: float,
        wait: bool = True,
    ) -> None:
        """Write rows, and how far each active seed is.

        Args:
            events: In the order they were yielded.
            steps: Seed -> steps trained, of the seeds still training.
            wall_seconds: Seconds this pack has trained, earlier attempts included.
            wait: For a record that is away; else it is tried once.
        """

    def checkpoint(
        self,
        events: Sequence[Measurement],
        refs: Sequence[CheckpointRef],
        *,
        steps: Mapping[int, int],
        wall_seconds: float,
    ) -> None:
        """Write the rows up to the checkpoint and point to its files, together."""

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

        And what computed it, unless that was noted before.
        """

    def complete(self) -> None:
        """Every seed has ended: the pack is done."""

    def next_pack(self) -> PackWork | None:
        """What the trial goes on with: leased in the transaction that completed its pack.

        Each pack of such a line is thus leased under the fence of the one before it. None when the
        trial wanted none, or none could be leased, or the pack did not complete.
        """

    def fail(self, error: str) -> None:
        """The training itself raised: charged to the pack, which the retry rule splits or fails."""

    def rewind(self, seeds: Sequence[int], step: int) -> None:
        """Delete the rows of some seeds beyond a step, from which they are trained again."""

    def forget_checkpoints(self) -> None:
        """Drop the pack's checkpoints and rows, so that its next attempt starts at step 0."""

    def release(self) -> None:
        """Give the pack back, uncharged, after its checkpoint was written. Harmless when lost."""

    def renew(self) -> bool:
        """Say that the worker lives; says nothing about progress. Tries once.

        Returns:
            Whether the worker is to go on; False: leave at the next checkpoint (`release`).
        """


#: Makes a leased pack's recorder, in the process that trains it.
ConnectRecorder = Callable[[PackWork, WantsNext], Recorder]


class PackQueue(Protocol):
    """The packs of one sweep, as its runner sees them."""

    def claim(self, trial: str = "") -> PackWork | None:
        """Lease one pack that waits, or None when none can be leased now.

        Args:
            trial: Who is to train it and what follows it: holds one pack at a time.

        Raises:
            RecordUnreachable: The record is away; it was tried once. So `exhausted`.
        """

    def exhausted(self) -> bool:
        """Whether no pack is pending or leased, or the sweep is no longer to run."""

    def outranked(self) -> bool:
        """Whether nothing can be leased because a sweep of a greater priority goes first."""

    def renew(self, pack_id: int, fence: int) -> None:
        """Keep the lease of a pack that was claimed and has not started yet.

        Raises:
            Fenced: The pack was taken back, as by a cancel.
        """

    def release(self, pack_id: int, fence: int, error: str | None) -> None:
        """Give a pack back, uncharged: after a fault that is not its own, or (None) on purpose.

        Without effect when the pack is another's by now.
        """

    def release_held(self, holder: str, error: str | None) -> None:
        """Give back whatever pack a holder has in hand now, as `release`. It gets none after it."""
