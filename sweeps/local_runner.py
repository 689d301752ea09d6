"""Runs a sweep's trials one after another in this process: for tests and small machines."""

import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path

import structlog

from sweeps.lease import stay
from sweeps.recorder import PackQueue, PackWork, Recorder, RecordUnreachable
from sweeps.trial import TrialEnd, trial_steps

#: Seconds between two looks at a queue that has nothing to lease right now.
POLL_SECONDS = 0.5


def run_locally(
    queue: PackQueue,
    connect_recorder: Callable[[PackWork], Recorder],
    checkpoints: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 30.0,
    on_hang: Callable[[], None] = stay,
) -> None:
    """Claim and train packs until none remain or the sweep is no longer to run.

    Args:
        queue: The packs of one sweep.
        connect_recorder: Gives the recorder of a leased pack.
        checkpoints: Folder of checkpoints.
        should_stop: Asked after every flush; a pack left so is given back, uncharged.
        checkpoint_seconds: Least time between two checkpoints of a running seed.
        on_hang: As for `trial_steps`.
    """
    while not should_stop():
        try:
            work = queue.claim()
            if work is None and queue.exhausted():
                return
        except RecordUnreachable as error:
            structlog.get_logger().warning("queue not readable", error=str(error))
            work = None
        if work is not None:
            steps = trial_steps(
                work,
                connect_recorder(work),
                checkpoints=checkpoints,
                checkpoint_seconds=checkpoint_seconds,
                on_hang=on_hang,
            )
            _run_pack(queue, work, steps, should_stop)
        else:
            time.sleep(POLL_SECONDS)


def _run_pack(
    queue: PackQueue,
    work: PackWork,
    steps: Generator[int, None, TrialEnd],
    should_stop: Callable[[], bool],
) -> None:
    """One trial; a fault that is not the pack's own gives it back."""
    try:
        for _ in steps:
            if should_stop():
                steps.close()
                queue.release(work.pack_id, work.fence, None)
                return
    except Exception:
        structlog.get_logger().exception("trial broke", **work.identity)
        queue.release(work.pack_id, work.fence, traceback.format_exc())
