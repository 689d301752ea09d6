"""The actor that trains: pack after pack, as long as the record has one for it."""

import gc
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.trainable import Trainable

from sweeps.recorder import ConnectRecorder, PackWork

#: Seconds between two reports to Tune: each costs runner and actor milliseconds.
REPORT_SECONDS = 1.0


class PackTrainable(Trainable):
    """One trial: a line of packs of its sweep, each leased in the transaction that ends the last.

    Whoever takes the pack in hand away, or fails it, thereby ends the line.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        connect_recorder: ConnectRecorder,
        checkpoints: Path,
        checkpoint_seconds: float,
        prepare: Callable[[], None] | None,
    ) -> None:
        """Begin the first pack."""
        import sweeps.trial  # noqa: F401

        # Modules stay. Once only: what a pack leaves behind is to be collected.
        gc.freeze()
        if prepare is not None:
            prepare()
        self._leave = threading.Event()
        # Ray's own handler would end the process at once. Its SIGKILL follows, if it was Ray's.
        signal.signal(signal.SIGTERM, lambda *_: self._leave.set())
        self._connect_recorder = connect_recorder
        self._checkpoints = checkpoints
        self._checkpoint_seconds = checkpoint_seconds
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another line in the same process."""
        self._begin(new_config["work"])
        return True

    def _begin(self, work: PackWork) -> None:
        # The driver needs no torch, and this file is all it loads.
        from sweeps.lease import leave_process
        from sweeps.trial import trial_steps

        self._recorder = self._connect_recorder(work, lambda: not self._leave.is_set())
        self._steps = trial_steps(
            work,
            self._recorder,
            checkpoints=self._checkpoints,
            checkpoint_seconds=self._checkpoint_seconds,
            on_hang=leave_process,
            told_to_leave=self._leave.is_set,
        )

    def step(self) -> dict[str, Any]:
        """Train up to the next report: to a flush, or to the end of a pack.

        Raises:
            RuntimeError: The training raised, or this machine is about to be taken away. The record
                has been told; raising makes Tune discard this process.
        """
        due = time.monotonic() + REPORT_SECONDS
        reached = 0
        while time.monotonic() < due:
            try:
                reached = next(self._steps)
            except StopIteration as end:
                following = self._following(end.value)
                if following is None:
                    return {"done": True}
                self._begin(following)
        return {"step": reached, "done": False}

    def _following(self, end: str) -> PackWork | None:
        """The pack to go on with, after one has ended."""
        if end == "failed":
            # Its CUDA context may be broken.
            raise RuntimeError("the training raised; its pack was charged")
        following = self._recorder.next_pack()
        if following is None and self._leave.is_set():
            raise RuntimeError("told to leave; its pack was given back")
        return following

    def cleanup(self) -> None:
        """Leave the trial where it is."""
        self._steps.close()
