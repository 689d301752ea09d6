"""Pausing, resuming and stopping a sweep."""

import pytest
from record import (
    ask,
    claim,
    claimed,
    end,
    lease_of,
    pack_states,
    states,
    submitted,
    trained,
)
from sqlalchemy import Engine

from db import queries
from db.engine import writing
from db.errors import LeaseLost, SweepNotFound, WrongState
from db.giving_back import fail_pack, release_pack
from db.leasing import ClaimedPack, complete_pack, exhausted, renew
from db.recording import Rows, write_rows
from db.runners import register_runner
from db.states import Desired
from db.submission import NewPack, extend, retry
from db.transitions import cancel, finish_sweep, pause, rest_sweep, resume, start_sweep, stop


def _did(engine: Engine, act: object, *arguments: object) -> object:
    with writing(engine) as conn:
        return act(conn, *arguments)  # type: ignore[operator]


def _state(engine: Engine, sweep_id: str) -> tuple[str, str]:
    row = ask(engine, queries.sweep, sweep_id)
    return row["state"], row["desired"]


def _kinds(engine: Engine, sweep_id: str) -> list[str]:
    return [event["kind"] for event in ask(engine, queries.events_since, sweep_id)]


def _given_back(engine: Engine, pack: ClaimedPack) -> None:
    with writing(engine) as conn:
        release_pack(conn, pack.pack_id, pack.fence, None)


def test_a_pause_is_learnt_at_renewal_and_reached_when_the_last_worker_has_left(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=3)
    _did(engine, start_sweep, sweep_id)
    pack = claimed(engine, sweep_id)
    with writing(engine) as conn:
        assert renew(conn, pack.pack_id, pack.fence, 30) is Desired.RUN
    assert _did(engine, pause, sweep_id)
    assert _state(engine, sweep_id) == ("running", "pause")
    assert claim(engine, sweep_id) is None
    assert not ask(engine, exhausted, sweep_id), "its runner waits: the pause may be called off"
    with writing(engine) as conn:
        assert renew(conn, pack.pack_id, pack.fence, 30) is Desired.PAUSE
        write_rows(conn, lease_of(pack), Rows(), steps={0: 10}, wall_seconds=1.0)
        assert not rest_sweep(conn, sweep_id)
    _given_back(engine, pack)
    assert ask(engine, exhausted, sweep_id)
    assert _did(engine, rest_sweep, sweep_id)
    assert _state(engine, sweep_id) == ("paused", "pause")
    assert states(engine, sweep_id) == dict.fromkeys(range(3), "pending")
    assert _kinds(engine, sweep_id) == ["submitted", "started", "pausing", "paused"]


def test_a_sweep_that_nobody_trains_is_paused_at_once_and_resumed_where_it_was(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine)
    assert _did(engine, pause, sweep_id)
    assert not _did(engine, pause, sweep_id)
    assert _state(engine, sweep_id) == ("paused", "pause")
    assert claim(engine, sweep_id) is None
    with pytest.raises(WrongState, match="resume"), writing(engine) as conn:
        register_runner(conn, sweep_id, host="h", pid=1, pid_started=1, lease_seconds=9)
    assert _did(engine, resume, sweep_id)
    assert not _did(engine, resume, sweep_id)
    assert _state(engine, sweep_id) == ("queued", "run")
    claimed(engine, sweep_id)


def test_a_pause_that_is_still_coming_is_called_off(engine: Engine) -> None:
    sweep_id = submitted(engine)
    _did(engine, start_sweep, sweep_id)
    pack = claimed(engine, sweep_id)
    _did(engine, pause, sweep_id)
    assert _did(engine, resume, sweep_id)
    assert _state(engine, sweep_id) == ("running", "run")
    with writing(engine) as conn:
        assert renew(conn, pack.pack_id, pack.fence, 30) is Desired.RUN


def test_a_worker_that_ends_its_pack_while_the_sweep_pauses_may_finish_the_sweep(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    _did(engine, pause, sweep_id)
    trained(engine, pack)
    assert _did(engine, finish_sweep, sweep_id)
    assert _state(engine, sweep_id)[0] == "finished"


def test_a_sweep_is_not_finished_while_a_worker_has_yet_to_close_its_pack(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    assert end(engine, pack, 0)
    assert not _did(engine, finish_sweep, sweep_id)
    with writing(engine) as conn:
        assert complete_pack(conn, pack.pack_id, pack.fence)
    assert _did(engine, finish_sweep, sweep_id)


def test_a_stop_cancels_what_waits_and_lets_finish_what_began(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3, max_failures=2)
    _did(engine, start_sweep, sweep_id)
    pack = claimed(engine, sweep_id)
    assert _did(engine, stop, sweep_id)
    assert not _did(engine, stop, sweep_id)
    assert _state(engine, sweep_id) == ("running", "stop")
    assert states(engine, sweep_id) == {0: "running", 1: "cancelled", 2: "cancelled"}
    with writing(engine) as conn:
        assert renew(conn, pack.pack_id, pack.fence, 30) is Desired.STOP
    # Given back after a fault, it is trained again: it had begun.
    _given_back(engine, pack)
    again = claimed(engine, sweep_id)
    assert again.pack_id == pack.pack_id
    assert claim(engine, sweep_id) is None
    trained(engine, again)
    assert ask(engine, exhausted, sweep_id)
    assert _did(engine, finish_sweep, sweep_id)
    assert pack_states(engine, sweep_id) == ["done", "cancelled", "cancelled"]
    assert _kinds(engine, sweep_id) == ["submitted", "started", "stopping", "finished"]
    with writing(engine) as conn:
        assert retry(conn, sweep_id, include_cancelled=True) == 2
    assert _state(engine, sweep_id) == ("queued", "run")


@pytest.mark.parametrize("before", [None, pause])
def test_a_sweep_stopped_before_it_began_is_finished_with_all_seeds_cancelled(
    engine: Engine, before: object
) -> None:
    sweep_id = submitted(engine)
    if before is not None:
        _did(engine, before, sweep_id)
    assert _did(engine, stop, sweep_id)
    assert _state(engine, sweep_id)[0] == "finished"
    assert set(states(engine, sweep_id).values()) == {"cancelled"}


def test_the_later_wish_counts(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    claimed(engine, sweep_id)
    _did(engine, stop, sweep_id)
    more = [NewPack(configuration=0, seeds=[7])]
    with writing(engine) as conn:
        assert extend(conn, sweep_id, spec={}, packs=more, code_version="v1") == 1
    assert _state(engine, sweep_id) == ("queued", "run")
    assert claimed(engine, sweep_id).seeds == (7,)


def test_a_paused_sweep_stays_paused_when_it_is_extended_or_retried(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1, max_failures=1)
    pack = claimed(engine, sweep_id)
    with writing(engine) as conn:
        fail_pack(conn, pack.pack_id, pack.fence, "it raised")
        pause(conn, sweep_id)
        assert retry(conn, sweep_id) == 1
        extend(
            conn, sweep_id, spec={}, packs=[NewPack(configuration=0, seeds=[7])], code_version="v1"
        )
    assert _state(engine, sweep_id) == ("paused", "pause")
    assert claim(engine, sweep_id) is None
    _did(engine, resume, sweep_id)
    assert {claimed(engine, sweep_id).seeds for _ in range(2)} == {(0,), (7,)}


def test_a_paused_sweep_is_cancelled_at_once(engine: Engine) -> None:
    sweep_id = submitted(engine)
    pack = claimed(engine, sweep_id)
    _did(engine, pause, sweep_id)
    assert _did(engine, cancel, sweep_id)
    assert _state(engine, sweep_id) == ("cancelled", "cancel")
    with pytest.raises(LeaseLost), writing(engine) as conn:
        renew(conn, pack.pack_id, pack.fence, 30)


@pytest.mark.parametrize("act", [pause, resume, stop])
def test_only_what_exists_and_has_not_ended_is_paused_resumed_or_stopped(
    engine: Engine, act: object
) -> None:
    sweep_id = submitted(engine)
    _did(engine, cancel, sweep_id)
    with pytest.raises(WrongState, match="retry it with its cancelled seed runs"):
        _did(engine, act, sweep_id)
    with pytest.raises(SweepNotFound):
        _did(engine, act, "nonesuch")
