"""The states of the record, each with one sentence saying what it means."""

from enum import StrEnum


class SweepState(StrEnum):
    """Where a sweep stands: queued → running (⇄ paused) → finished | cancelled | failed."""

    #: Accepted; no runner has taken it up yet (or it was retried or extended).
    QUEUED = "queued"
    #: A runner is training its packs.
    RUNNING = "running"
    #: A user paused it and no worker holds a pack of it; it waits to be resumed.
    PAUSED = "paused"
    #: Every seed run is terminal.
    FINISHED = "finished"
    #: A user ended it; what was open is cancelled and no worker may write any more.
    CANCELLED = "cancelled"
    #: The service could not run it; its `error` says why.
    FAILED = "failed"


class Desired(StrEnum):
    """What the user wants of a sweep; the scheduler moves the sweep towards it."""

    #: Train it to the end.
    RUN = "run"
    #: Give its packs back at their next checkpoints and wait.
    PAUSE = "pause"
    #: Train the packs that were being trained, and no others.
    STOP = "stop"
    #: End it now.
    CANCEL = "cancel"


class PackState(StrEnum):
    """Where a pack stands; only the holder of a leased pack's fence may write for it."""

    #: Waiting to be claimed, not before `not_before`.
    PENDING = "pending"
    #: Held by one worker until `lease_until`.
    LEASED = "leased"
    #: Each of its seed runs is terminal.
    DONE = "done"
    #: Given up after its last permitted failure; its open seed runs failed with it.
    FAILED = "failed"
    #: Its sweep was cancelled, or stopped before a worker held it.
    CANCELLED = "cancelled"
    #: It kept failing and was cut into two child packs to isolate the seed that fails.
    SPLIT = "split"


class SeedState(StrEnum):
    """Where a seed run stands; whether it succeeded is data, not a state."""

    #: Counted in the denominator, not training.
    PENDING = "pending"
    #: A worker is training it.
    RUNNING = "running"
    #: Trained to its end; its numbers are final and immutable.
    FINISHED = "finished"
    #: Its loss left the finite (or exploded): a result, counted as not succeeded, immutable.
    DIVERGED = "diverged"
    #: No result: it raised, or the machines under it gave up; it can be retried.
    FAILED = "failed"
    #: No result: its sweep was cancelled or stopped first.
    CANCELLED = "cancelled"


class SuccessMetric(StrEnum):
    """Which error a success rule reads."""

    #: Share of sequences with any wrong symbol.
    SEQUENCE_ERROR = "sequence_error"
    #: Share of wrong symbols.
    SYMBOL_ERROR = "symbol_error"


class SuccessWhen(StrEnum):
    """At which step a success rule must hold."""

    #: At some evaluated step.
    EVER = "ever"
    #: At the last evaluated step.
    FINAL = "final"


class EventKind(StrEnum):
    """What happened to a sweep; results make no events."""

    #: The sweep and all its seed runs were written.
    SUBMITTED = "submitted"
    #: Its first pack (since it was last queued) was taken up.
    STARTED = "started"
    #: A user asked for a pause; workers leave at their next checkpoints.
    PAUSING = "pausing"
    #: No worker holds a pack of it any more.
    PAUSED = "paused"
    #: A user took it up again.
    RESUMED = "resumed"
    #: A user stopped it: what no worker held is cancelled, the rest trains to its end.
    STOPPING = "stopping"
    #: Every seed run is terminal.
    FINISHED = "finished"
    #: A user cancelled it.
    CANCELLED = "cancelled"
    #: The service gave it up.
    FAILED = "failed"
    #: Seed runs without a result were queued again.
    RETRIED = "retried"
    #: It goes before or after other sweeps from here on.
    PRIORITIZED = "prioritized"
    #: Seeds were added.
    EXTENDED = "extended"
    #: A pack kept failing and was cut in two.
    PACK_SPLIT = "pack_split"
    #: A pack got no further though its worker lived, and was taken away.
    PACK_STALLED = "pack_stalled"
    #: A pack was given up and its open seed runs failed.
    PACK_FAILED = "pack_failed"


#: Seed runs that may still change by training.
OPEN_SEEDS = (SeedState.PENDING, SeedState.RUNNING)
#: Seed runs that have a result.
RESULTS = (SeedState.FINISHED, SeedState.DIVERGED)
#: Packs that may still be trained.
OPEN_PACKS = (PackState.PENDING, PackState.LEASED)
#: Sweeps that want a runner, unless their user wants a pause.
OPEN_SWEEPS = (SweepState.QUEUED, SweepState.RUNNING)
#: Sweeps that have not ended.
UNENDED_SWEEPS = (*OPEN_SWEEPS, SweepState.PAUSED)
#: Sweeps that nothing happens to any more by itself.
ENDED_SWEEPS = (SweepState.FINISHED, SweepState.CANCELLED, SweepState.FAILED)
#: Wishes under which packs are trained.
TRAINING = (Desired.RUN, Desired.STOP)
