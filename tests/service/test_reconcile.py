"""The scheduler's decisions, over every mixture of facts."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from db.states import OPEN_SWEEPS, Desired, SweepState
from service.control.reconcile import (
    Action,
    Finish,
    Forget,
    Rest,
    RunnerFacts,
    Start,
    Stop,
    SweepFacts,
    reconcile,
)

GOOD = RunnerFacts(here=True, alive=True, fresh=True, current=True, adoptable=True)
runners = st.builds(
    RunnerFacts,
    here=st.booleans(),
    alive=st.booleans(),
    fresh=st.booleans(),
    current=st.booleans(),
    adoptable=st.booleans(),
)


@st.composite
def sweep_lists(draw: st.DrawFn) -> list[SweepFacts]:
    return [
        SweepFacts(
            sweep_id=f"s{place}",
            state=draw(st.sampled_from([state.value for state in SweepState])),
            desired=draw(st.sampled_from([wish.value for wish in Desired])),
            priority=draw(st.integers(0, 2)),
            most_trials=draw(st.none() | st.integers(1, 3)),
            pending=draw(st.integers(0, 3)),
            leased=draw(st.integers(0, 3)),
            runner=draw(st.none() | runners),
            held=draw(st.booleans()),
        )
        for place in range(draw(st.integers(0, 6)))
    ]


def perform(sweeps: list[SweepFacts], actions: list[Action]) -> list[SweepFacts]:
    """The facts after every action has had its effect."""
    by_id = {sweep.sweep_id: sweep for sweep in sweeps}
    for action in actions:
        sweep = by_id[action.sweep_id]
        changed = {
            Start: {"runner": GOOD},
            Stop: {"runner": None},
            Forget: {"runner": None},
            Finish: {"state": "finished"},
            Rest: {"state": "paused"},
        }
        by_id[action.sweep_id] = replace(sweep, **changed[type(action)])
    return list(by_id.values())


def train(sweep: SweepFacts) -> SweepFacts:
    """What a trusted runner does to its sweep in a while; a sweep without one stands still."""
    if sweep.pausing and sweep.leased:
        # A worker leaves at its checkpoint, or dies and its lease runs out.
        return replace(sweep, leased=sweep.leased - 1, pending=sweep.pending + 1)
    if sweep.runner is None or not sweep.runner.trusted or not sweep.open:
        return sweep
    if sweep.leased:
        return replace(sweep, leased=sweep.leased - 1)
    if sweep.pending:
        return replace(sweep, pending=sweep.pending - 1, leased=1)
    return replace(sweep, runner=None)


@given(sweep_lists())
def test_a_runner_is_started_only_for_an_open_sweep_that_has_none(sweeps: list[SweepFacts]) -> None:
    by_id = {sweep.sweep_id: sweep for sweep in sweeps}
    for action in reconcile(sweeps):
        if isinstance(action, Start):
            sweep = by_id[action.sweep_id]
            assert sweep.state in OPEN_SWEEPS
            assert not sweep.live
            assert not sweep.held
            assert sweep.pending + sweep.leased > 0


@given(sweep_lists())
def test_a_sweep_gets_no_two_contradicting_actions(sweeps: list[SweepFacts]) -> None:
    started = [a.sweep_id for a in reconcile(sweeps) if isinstance(a, Start)]
    ended = {a.sweep_id for a in reconcile(sweeps) if not isinstance(a, Start)}
    assert len(started) == len(set(started))
    assert not ended & set(started)


@given(sweep_lists())
def test_a_runner_is_stopped_only_when_it_is_not_to_be_trusted_or_its_sweep_has_ended(
    sweeps: list[SweepFacts],
) -> None:
    by_id = {sweep.sweep_id: sweep for sweep in sweeps}
    for action in reconcile(sweeps):
        if isinstance(action, Stop):
            sweep = by_id[action.sweep_id]
            assert sweep.runner is not None
            assert not (sweep.open and sweep.runner.trusted)


@given(sweep_lists(), st.integers(1, 5))
def test_never_more_runners_than_allowed_are_started(sweeps: list[SweepFacts], most: int) -> None:
    started = sum(isinstance(a, Start) for a in reconcile(sweeps, most_runners=most))
    assert started == 0 or started + sum(sweep.live for sweep in sweeps) <= most


@given(sweep_lists())
def test_actions_settle_until_something_new_happens(sweeps: list[SweepFacts]) -> None:
    for _ in range(10):
        actions = reconcile(sweeps)
        sweeps = perform(sweeps, actions)
        if not actions:
            break
    assert reconcile(sweeps) == []


@given(sweep_lists())
@settings(max_examples=200)
def test_every_open_sweep_is_finished_in_the_end_whatever_the_facts_were(
    sweeps: list[SweepFacts],
) -> None:
    for _ in range(300):
        # A restart that had to wait is due at some time, and a dead host's lease runs out.
        sweeps = [replace(sweep, held=False) for sweep in sweeps]
        sweeps = [train(sweep) for sweep in perform(sweeps, reconcile(sweeps))]
    assert not [sweep for sweep in sweeps if sweep.open]
    assert not [sweep for sweep in sweeps if sweep.pausing]
    assert not [sweep for sweep in sweeps if sweep.runner]


def test_sweeps_are_trained_in_the_order_of_submission() -> None:
    late = SweepFacts(sweep_id="b", state="queued", pending=3, leased=0)
    early = SweepFacts(sweep_id="a", state="queued", pending=3, leased=0)
    assert reconcile([late, early]) == [Start(sweep_id="a")]
    assert reconcile([late, replace(early, runner=GOOD, leased=1, pending=2)]) == []


def test_the_next_sweep_starts_while_the_last_packs_of_the_first_are_trained() -> None:
    last = SweepFacts(sweep_id="a", state="running", pending=0, leased=1, runner=GOOD)
    following = SweepFacts(sweep_id="b", state="queued", pending=3, leased=0)
    assert reconcile([last, following]) == [Start(sweep_id="b")]


def test_a_pausing_sweep_keeps_its_runner_until_the_last_worker_has_left() -> None:
    leaving = SweepFacts(
        sweep_id="a", state="running", desired="pause", pending=2, leased=1, runner=GOOD
    )
    assert reconcile([leaving]) == []
    left = replace(leaving, leased=0)
    assert reconcile([left]) == [Stop(sweep_id="a", at_once=False), Rest(sweep_id="a")]
    assert reconcile([replace(left, state="paused", runner=None)]) == []


def test_a_paused_sweep_does_not_keep_the_next_one_waiting() -> None:
    paused = SweepFacts(sweep_id="a", state="paused", desired="pause", pending=3, leased=0)
    following = SweepFacts(sweep_id="b", state="queued", pending=3, leased=0)
    assert reconcile([paused, following]) == [Start(sweep_id="b")]


def test_a_stopped_sweep_is_trained_to_the_end_of_what_it_began() -> None:
    stopped = SweepFacts(sweep_id="a", state="running", desired="stop", pending=1, leased=0)
    assert reconcile([stopped]) == [Start(sweep_id="a")]


def test_a_sweep_of_a_greater_priority_starts_beside_a_busy_one_and_goes_first() -> None:
    busy = SweepFacts(sweep_id="a", state="running", pending=3, leased=2, runner=GOOD)
    urgent = SweepFacts(sweep_id="c", state="queued", priority=1, pending=3, leased=0)
    equal = SweepFacts(sweep_id="b", state="queued", pending=3, leased=0)
    assert reconcile([busy, equal, urgent]) == [Start(sweep_id="c")]
    assert reconcile([replace(equal, priority=-1), replace(urgent, runner=GOOD)]) == []


def test_a_sweep_at_its_limit_of_trials_leaves_room_for_the_next() -> None:
    limited = SweepFacts(
        sweep_id="a", state="running", pending=3, leased=1, most_trials=1, runner=GOOD
    )
    following = SweepFacts(sweep_id="b", state="queued", pending=3, leased=0)
    assert reconcile([limited, following]) == [Start(sweep_id="b")]
    assert reconcile([replace(limited, leased=0), following]) == []
