"""What the scheduler should do: facts about sweeps and runners in, actions out. Pure.

Every action may be repeated and may be lost: the next look at the same facts decides the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from db.states import OPEN_SWEEPS, TRAINING, UNENDED_SWEEPS, Desired, SweepState

#: Runner processes at once. More than one only while the others wait for their last packs.
MOST_RUNNERS = 4


@dataclass(frozen=True, kw_only=True)
class RunnerFacts:
    """What is known of the process that was started for a sweep."""

    #: Whether it runs on this host, so that `alive` is known.
    here: bool
    #: Whether the very process exists; meaningless when not `here`.
    alive: bool
    #: Whether its lease has not run out.
    fresh: bool
    #: Whether its epoch is the sweep's newest.
    current: bool
    #: Whether this scheduler may go on with it: its own child, or a runner that does not depend on
    #: the scheduler that started it.
    adoptable: bool

    @property
    def live(self) -> bool:
        """Whether it may still act; of another host only its lease tells."""
        return self.alive if self.here else self.fresh

    @property
    def trusted(self) -> bool:
        """Whether it is the one to go on with."""
        return self.live and self.fresh and self.current and self.adoptable


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """One sweep that has not ended or has a runner."""

    #: Sorts by the time of submission.
    sweep_id: str
    state: str
    #: What its user wants.
    desired: str = Desired.RUN
    #: Sweeps of a greater one go first.
    priority: int = 0
    #: Trials it may have at once; None: as many as there is room for.
    most_trials: int | None = None
    #: Packs nobody holds, those included that wait before a retry.
    pending: int
    #: Packs a worker holds.
    leased: int
    runner: RunnerFacts | None = None
    #: Whether its next runner has to wait, because the last ones ended in error.
    held: bool = False

    @property
    def open(self) -> bool:
        """Whether it wants to be trained."""
        return self.state in OPEN_SWEEPS and self.desired in TRAINING

    @property
    def pausing(self) -> bool:
        """Whether a pause is wanted and not yet reached."""
        return self.state in OPEN_SWEEPS and self.desired == Desired.PAUSE

    @property
    def busy(self) -> bool:
        """Whether its runner would take up more than it has, so that no room is left for others."""
        full = self.most_trials is not None and self.leased >= self.most_trials
        return self.open and self.live and self.pending > 0 and not full

    @property
    def live(self) -> bool:
        """Whether it has a runner that may still act."""
        return self.runner is not None and self.runner.live


@dataclass(frozen=True, kw_only=True)
class Start:
    """Start a runner, with the next epoch."""

    sweep_id: str


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End a runner: at once, or patiently when it is about to end by itself."""

    sweep_id: str
    at_once: bool


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Every pack has ended: so has the sweep."""

    sweep_id: str


@dataclass(frozen=True, kw_only=True)
class Forget:
    """The runner is dead and its sweep needs none: remove it from the record."""

    sweep_id: str


@dataclass(frozen=True, kw_only=True)
class Rest:
    """A pause is wanted and no worker is left: the sweep is paused."""

    sweep_id: str


Action = Start | Stop | Finish | Rest | Forget


def reconcile(sweeps: Sequence[SweepFacts], *, most_runners: int = MOST_RUNNERS) -> list[Action]:
    """The actions that move runners and sweeps towards what the facts demand.

    Sweeps are trained by priority, then in the order of submission. The next one starts once every
    runner of its priority or a greater one has leased all it may, so that no processor waits for a
    straggler; runners of a smaller priority claim nothing meanwhile (`db.leasing`). A sweep with
    leased packs was started before and goes on whatever the others do.

    Args:
        sweeps: All that have not ended or have a runner.
        most_runners: Runner processes at once.
    """
    ordered = sorted(sweeps, key=lambda sweep: (-sweep.priority, sweep.sweep_id))
    ending = [action for sweep in ordered for action in _end(sweep)]
    return [*ending, *_start(ordered, most_runners)]


def _end(sweep: SweepFacts) -> Iterator[Action]:
    """Stop a runner that should not be there; end or rest a sweep that nobody trains any more."""
    # While a pause comes, the runner waits for its workers.
    wanted = sweep.open or (sweep.pausing and sweep.leased > 0)
    if sweep.runner is not None and not sweep.live:
        if not sweep.open:
            yield Forget(sweep_id=sweep.sweep_id)
    elif sweep.runner is not None:
        if wanted and not sweep.runner.trusted:
            yield Stop(sweep_id=sweep.sweep_id, at_once=True)
        elif not wanted:
            at_once = sweep.state in (SweepState.CANCELLED, SweepState.FAILED)
            yield Stop(sweep_id=sweep.sweep_id, at_once=at_once)
    if sweep.state in UNENDED_SWEEPS and sweep.pending == sweep.leased == 0:
        yield Finish(sweep_id=sweep.sweep_id)
    elif sweep.pausing and not sweep.leased:
        yield Rest(sweep_id=sweep.sweep_id)


def _start(ordered: Sequence[SweepFacts], most_runners: int) -> Iterator[Action]:
    running = sum(sweep.live for sweep in ordered)
    busy = [sweep.priority for sweep in ordered if sweep.busy]
    for sweep in ordered:
        trainable = sweep.open and sweep.pending + sweep.leased > 0
        if not trainable or sweep.live or sweep.held or running >= most_runners:
            continue
        if sweep.leased or all(priority < sweep.priority for priority in busy):
            yield Start(sweep_id=sweep.sweep_id)
            running += 1
            busy += [sweep.priority] * (sweep.pending > 0)
