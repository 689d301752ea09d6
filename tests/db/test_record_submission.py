"""Submitting, extending, retrying and cancelling."""

import time
from dataclasses import replace

import pytest
from record import (
    ask,
    at_once,
    claimed,
    end,
    new_sweep,
    number,
    pack_states,
    states,
    submitted,
    trained,
)
from sqlalchemy import Engine

from db import queries
from db.engine import reading, writing
from db.errors import IdempotencyConflict, SeedsExist, SweepNotFound, WrongState
from db.giving_back import fail_pack
from db.models import configurations, events, packs, seed_runs, sweeps
from db.submission import NewPack, cancel, extend, retry, submit
from db.transitions import finish_sweep, start_sweep


def test_a_submission_writes_the_whole_denominator(engine: Engine) -> None:
    sweep_id = submitted(engine, configurations=3, seeds=5, together=2)
    with reading(engine) as conn:
        assert number(conn, configurations) == 3
        assert number(conn, seed_runs) == 15
        assert number(conn, packs) == 9
    assert {row["requested"] for row in ask(engine, queries.success, sweep_id)} == {5}
    [event] = ask(engine, queries.events_since, sweep_id)
    assert (event["revision"], event["kind"]) == (1, "submitted")
    assert event["body"] == {"configurations": 3, "seed_runs": 15, "packs": 9}


def test_the_same_spec_gives_the_same_sweep_unless_a_new_one_is_asked_for(engine: Engine) -> None:
    spec = new_sweep()
    with writing(engine) as conn:
        first, created = submit(conn, spec)
        assert created
        assert submit(conn, spec) == (first, False)
        another, created = submit(conn, spec, new=True)
        assert created
        assert another > first
        assert submit(conn, spec) == (first, False)


def test_twenty_submissions_at_once_make_one_sweep(engine: Engine) -> None:
    spec = new_sweep(seeds=20)

    def act(_: int) -> tuple[str, bool]:
        with writing(engine) as conn:
            return submit(conn, spec)

    results = at_once(20, act)
    assert len({sweep_id for sweep_id, _ in results}) == 1
    assert sum(created for _, created in results) == 1
    with reading(engine) as conn:
        assert number(conn, sweeps) == 1
        assert number(conn, seed_runs) == 20


def test_an_idempotency_key_names_one_submission_even_of_new_sweeps_at_once(
    engine: Engine,
) -> None:
    spec = replace(new_sweep(), idempotency_key="k")

    def act(_: int) -> str:
        with writing(engine) as conn:
            return submit(conn, spec, new=True)[0]

    assert len(set(at_once(10, act))) == 1


def test_an_idempotency_key_of_another_spec_is_refused(engine: Engine) -> None:
    with writing(engine) as conn:
        first, _ = submit(conn, replace(new_sweep(), idempotency_key="k"))
    with pytest.raises(IdempotencyConflict) as caught, writing(engine) as conn:
        submit(conn, replace(new_sweep(), idempotency_key="k"))
    assert caught.value.sweep_id == first


def test_a_key_that_met_an_existing_sweep_belongs_to_it(engine: Engine) -> None:
    spec = new_sweep()
    with writing(engine) as conn:
        first, _ = submit(conn, spec)
        assert submit(conn, replace(spec, idempotency_key="k")) == (first, False)
    with pytest.raises(IdempotencyConflict), writing(engine) as conn:
        submit(conn, replace(new_sweep(), idempotency_key="k"))


def test_ten_thousand_seed_runs_cost_about_a_second(engine: Engine) -> None:
    spec = new_sweep(configurations=10, seeds=1000)
    # This process's own seconds: others may keep the machine busy.
    start = time.process_time()
    with writing(engine) as conn:
        submit(conn, spec)
    assert time.process_time() - start < 2
    with reading(engine) as conn:
        assert number(conn, seed_runs) == 10_000


def _extended(engine: Engine, sweep_id: str, seeds: range) -> int:
    with writing(engine) as conn:
        spec = {"name": "figure2", "seeds": {"first": 0, "count": seeds.stop}}
        packs = [NewPack(configuration=0, seeds=[seed]) for seed in seeds]
        return extend(conn, sweep_id, spec=spec, packs=packs, code_version="v1")


def test_an_extension_queues_a_finished_sweep_again_and_keeps_its_identity(engine: Engine) -> None:
    spec = new_sweep(seeds=1)
    with writing(engine) as conn:
        sweep_id, _ = submit(conn, spec)
        start_sweep(conn, sweep_id)
    trained(engine, claimed(engine, sweep_id))
    with writing(engine) as conn:
        assert finish_sweep(conn, sweep_id)
    assert _extended(engine, sweep_id, range(1, 4)) == 3
    row = ask(engine, queries.sweep, sweep_id)
    assert (row["state"], row["finished_at"]) == ("queued", None)
    assert (row["digest"], row["spec"]["seeds"]["count"]) == (spec.digest, 4)
    assert states(engine, sweep_id) == {0: "finished", 1: "pending", 2: "pending", 3: "pending"}
    with writing(engine) as conn:
        assert submit(conn, spec) == (sweep_id, False)
    kinds = [row["kind"] for row in ask(engine, queries.events_since, sweep_id)]
    assert kinds == ["submitted", "started", "finished", "extended"]


def test_extending_by_seeds_that_exist_changes_nothing(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3)
    with pytest.raises(SeedsExist) as caught:
        _extended(engine, sweep_id, range(1, 6))
    assert caught.value.seeds == (1, 2)
    assert set(states(engine, sweep_id)) == {0, 1, 2}


def test_a_cancelled_sweep_is_not_extended(engine: Engine) -> None:
    sweep_id = submitted(engine)
    with writing(engine) as conn:
        cancel(conn, sweep_id)
    with pytest.raises(WrongState, match="is cancelled: only a queued or running or finished"):
        _extended(engine, sweep_id, range(7, 8))


def test_cancel_is_complete_at_once_and_idempotent(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=4)
    pack = claimed(engine, sweep_id)
    end(engine, pack, 0)
    claimed(engine, sweep_id)
    with writing(engine) as conn:
        assert cancel(conn, sweep_id)
    with writing(engine) as conn:
        assert not cancel(conn, sweep_id)
    row = ask(engine, queries.sweep, sweep_id)
    assert (row["state"], row["desired"]) == ("cancelled", "cancel")
    assert row["finished_at"] >= row["created_at"]
    assert states(engine, sweep_id) == {0: "finished", **dict.fromkeys((1, 2, 3), "cancelled")}
    assert [e["kind"] for e in ask(engine, queries.events_since, sweep_id)][-1:] == ["cancelled"]


def test_only_what_exists_and_has_not_ended_is_cancelled(engine: Engine) -> None:
    with pytest.raises(SweepNotFound), writing(engine) as conn:
        cancel(conn, "01JZ")
    sweep_id = submitted(engine, seeds=1)
    trained(engine, claimed(engine, sweep_id))
    with writing(engine) as conn:
        finish_sweep(conn, sweep_id)
    with pytest.raises(WrongState, match="is finished"), writing(engine) as conn:
        cancel(conn, sweep_id)


def test_retry_queues_failed_seeds_only_in_new_packs(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3, max_failures=1)
    trained(engine, claimed(engine, sweep_id))
    for _ in range(2):
        pack = claimed(engine, sweep_id)
        with writing(engine) as conn:
            fail_pack(conn, pack.pack_id, pack.fence, "it raised")
    with writing(engine) as conn:
        assert finish_sweep(conn, sweep_id)
        assert retry(conn, sweep_id) == 2
        assert retry(conn, sweep_id) == 0
    assert states(engine, sweep_id) == {0: "finished", 1: "pending", 2: "pending"}
    assert ask(engine, queries.sweep, sweep_id)["state"] == "queued"
    assert pack_states(engine, sweep_id) == ["done", "failed", "failed", "pending", "pending"]
    assert ask(engine, queries.seeds, sweep_id).items[1]["error"] is None


def test_a_cancelled_sweep_is_taken_up_again_only_on_request(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=4, together=4)
    end(engine, claimed(engine, sweep_id), 0, "diverged", 10)
    with writing(engine) as conn:
        cancel(conn, sweep_id)
    with pytest.raises(WrongState), writing(engine) as conn:
        retry(conn, sweep_id)
    with writing(engine) as conn:
        assert retry(conn, sweep_id, include_cancelled=True) == 3
    row = ask(engine, queries.sweep, sweep_id)
    assert (row["state"], row["desired"]) == ("queued", "run")
    assert claimed(engine, sweep_id, epoch=2).seeds == (1, 2, 3)


def test_events_are_numbered_without_gaps_under_concurrency(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=12, max_failures=1)
    leases = [claimed(engine, sweep_id) for _ in range(12)]

    def act(number: int) -> None:
        with writing(engine) as conn:
            fail_pack(conn, leases[number].pack_id, leases[number].fence, "it raised")
            if number % 3 == 0:
                retry(conn, sweep_id)

    at_once(12, act)
    with reading(engine) as conn:
        found = number(conn, events)
    revisions = [event["revision"] for event in ask(engine, queries.events_since, sweep_id)]
    assert revisions == list(range(1, found + 1))
    assert len(revisions) >= 13
    assert ask(engine, queries.events_since, sweep_id, 5, 3)[0]["revision"] == 6
