"""Packs that fail, are released or fall silent."""

import pytest
from record import (
    ask,
    claim,
    claimed,
    end,
    evaluation,
    lease_of,
    pack_states,
    states,
    submitted,
)
from sqlalchemy import Engine, select, update

from db import queries
from db.clock import in_seconds
from db.engine import reading, writing
from db.errors import LeaseLost
from db.giving_back import (
    INFRASTRUCTURE_CAP,
    Fate,
    expire_leases,
    fail_pack,
    pause_seconds,
    release_pack,
    take_stalled,
)
from db.leasing import ClaimedPack, renew
from db.models import packs
from db.recording import Rows, move_checkpoint, write_rows
from db.submission import retry
from db.transitions import fail_sweep, finish_sweep


def _without_pauses(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(update(packs).values(not_before=None))


def _fail(engine: Engine, pack: ClaimedPack, error: str = "it raised") -> Fate:
    with writing(engine) as conn:
        return fail_pack(conn, pack.pack_id, pack.fence, error)


def _release(engine: Engine, pack: ClaimedPack, error: str | None = "the node died") -> Fate:
    with writing(engine) as conn:
        return release_pack(conn, pack.pack_id, pack.fence, error)


def test_pauses_grow_from_one_second_to_a_minute() -> None:
    assert [pause_seconds(n) for n in (1, 2, 3, 7, 8, 1000)] == [1, 2, 4, 60, 60, 60]


def test_a_failed_pack_waits_and_is_tried_again_until_its_budget_is_used_up(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=1, max_failures=3)
    for expected in (Fate.PENDING, Fate.PENDING, Fate.FAILED):
        pack = claimed(engine, sweep_id)
        assert _fail(engine, pack) is expected
        assert claim(engine, sweep_id) is None
        _without_pauses(engine)
    assert states(engine, sweep_id) == {0: "failed"}
    [failure] = ask(engine, queries.failures, sweep_id).items
    assert (failure["error"], failure["attempts"]) == ("it raised", 3)
    with writing(engine) as conn:
        assert finish_sweep(conn, sweep_id)


def test_a_poison_seed_is_isolated_and_its_companions_finish(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=16, together=16, max_failures=1)
    rounds = 0
    while (pack := claim(engine, sweep_id)) is not None:
        if 5 in pack.seeds:
            _fail(engine, pack)
            rounds += 1
            continue
        for seed in pack.seeds:
            end(engine, pack, seed)
    assert rounds == 5
    assert states(engine, sweep_id) == {**dict.fromkeys(range(16), "finished"), 5: "failed"}
    kinds = [event["kind"] for event in ask(engine, queries.events_since, sweep_id)]
    assert kinds == ["submitted", *["pack_split"] * 4, "pack_failed"]


def test_a_split_leaves_ended_seeds_where_they_ended(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3, together=3, max_failures=1)
    pack = claimed(engine, sweep_id)
    end(engine, pack, 1)
    assert _fail(engine, pack) is Fate.SPLIT
    assert [claimed(engine, sweep_id).seeds for _ in range(2)] == [(0,), (2,)]
    assert pack_states(engine, sweep_id) == ["split", "leased", "leased"]
    with reading(engine) as conn:
        parents = conn.execute(select(packs.c.parent_id).order_by(packs.c.id)).scalars().all()
    assert parents == [None, pack.pack_id, pack.pack_id]


def test_giving_back_needs_the_fence(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    zombie = claimed(engine, sweep_id, epoch=1)
    claimed(engine, sweep_id, epoch=2)
    assert _fail(engine, zombie) is Fate.LOST
    assert _release(engine, zombie) is Fate.LOST
    assert pack_states(engine, sweep_id) == ["leased"]


def test_infrastructure_faults_are_not_charged_but_capped(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2, max_failures=1)
    for _ in range(INFRASTRUCTURE_CAP - 1):
        assert _release(engine, claimed(engine, sweep_id)) is Fate.PENDING
        _without_pauses(engine)
    assert _release(engine, claimed(engine, sweep_id)) is Fate.FAILED
    assert set(states(engine, sweep_id).values()) == {"failed"}
    [first, _] = ask(engine, queries.failures, sweep_id).items
    assert first["error"] == "gave up after 20 infrastructure faults; the last: the node died"


def test_a_checkpoint_makes_former_faults_forgotten(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    with writing(engine) as conn:
        conn.execute(update(packs).values(infra_attempts=INFRASTRUCTURE_CAP - 1))
    pack = claimed(engine, sweep_id)
    ref = {"seed": 0, "step": 100, "path": "0.pt", "sha256": "0"}
    rows = Rows(evaluations=[evaluation(0, 100)])
    with writing(engine) as conn:
        move_checkpoint(conn, lease_of(pack), rows, [ref], steps={0: 100}, wall_seconds=1.0)
    assert _release(engine, pack) is Fate.PENDING


def test_a_pack_given_back_on_purpose_waits_for_nobody(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    for _ in range(INFRASTRUCTURE_CAP + 1):
        assert _release(engine, claimed(engine, sweep_id), None) is Fate.PENDING
    assert states(engine, sweep_id) == {0: "pending"}


def test_a_lease_that_ran_out_is_taken_back_and_its_holder_fenced(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    silent, alive = claimed(engine, sweep_id), claimed(engine, sweep_id)
    with writing(engine) as conn:
        expired = update(packs).where(packs.c.id == silent.pack_id)
        conn.execute(expired.values(lease_until=in_seconds(-1)))
        assert expire_leases(conn) == [silent.pack_id]
        assert expire_leases(conn) == []
    assert states(engine, sweep_id) == {0: "pending", 1: "running"}
    with pytest.raises(LeaseLost), writing(engine) as conn:
        renew(conn, silent.pack_id, silent.fence, 30)
    with writing(engine) as conn:
        renew(conn, alive.pack_id, alive.fence, 30)


def _silent_for(engine: Engine, pack: ClaimedPack, seconds: float) -> None:
    with writing(engine) as conn:
        silent = update(packs).where(packs.c.id == pack.pack_id)
        conn.execute(silent.values(progress_at=in_seconds(-seconds)))


def _stalled(engine: Engine, least_seconds: float = 300) -> list[int]:
    with writing(engine) as conn:
        return take_stalled(conn, least_seconds)


def test_a_worker_that_lives_and_gets_no_further_loses_its_pack(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3, max_failures=2)
    hung, slow, moving = (claimed(engine, sweep_id) for _ in range(3))
    _silent_for(engine, hung, 301)
    _silent_for(engine, slow, 299)
    _silent_for(engine, moving, 301)
    with writing(engine) as conn:
        renew(conn, hung.pack_id, hung.fence, 30)
        write_rows(conn, lease_of(moving), Rows(), steps={2: 5}, wall_seconds=1.0)
    assert _stalled(engine) == [hung.pack_id]
    assert states(engine, sweep_id) == {0: "pending", 1: "running", 2: "running"}
    with pytest.raises(LeaseLost), writing(engine) as conn:
        renew(conn, hung.pack_id, hung.fence, 30)
    with reading(engine) as conn:
        charged = select(packs.c.user_attempts, packs.c.infra_attempts, packs.c.stalls)
        assert conn.execute(charged.where(packs.c.id == hung.pack_id)).one() == (0, 1, 1)
    [*_, event] = ask(engine, queries.events_since, sweep_id)
    assert (event["kind"], event["body"]["pack"]) == ("pack_stalled", hung.pack_id)


def test_only_the_first_stall_between_checkpoints_is_not_charged(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1, max_failures=1)
    ref = {"seed": 0, "step": 100, "path": "0.pt", "sha256": "0"}
    for _ in range(2):
        pack = claimed(engine, sweep_id)
        with writing(engine) as conn:
            move_checkpoint(conn, lease_of(pack), Rows(), [ref], steps={0: 100}, wall_seconds=1.0)
        _silent_for(engine, pack, 301)
        assert _stalled(engine) == [pack.pack_id]
        _without_pauses(engine)
    _silent_for(engine, claimed(engine, sweep_id), 301)
    _stalled(engine)
    assert states(engine, sweep_id) == {0: "failed"}
    [failure] = ask(engine, queries.failures, sweep_id).items
    assert "it got no further for 300 s" in failure["error"]


def test_a_configuration_of_slow_steps_may_be_silent_for_ten_of_them(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    pack, other = claimed(engine, sweep_id), claimed(engine, sweep_id)
    for one, seconds in ((pack, 100.0), (other, 120.0)):
        with writing(engine) as conn:
            steps = dict.fromkeys(one.seeds, 2)
            write_rows(conn, lease_of(one), Rows(), steps=steps, wall_seconds=seconds)
    _silent_for(engine, pack, 540)
    assert _stalled(engine) == []
    _silent_for(engine, pack, 560)
    assert _stalled(engine) == [pack.pack_id]


def test_a_sweep_with_more_failed_seeds_than_it_may_have_is_given_up(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=5, max_failures=1, max_failed_seeds=1)
    first, second, running = (claimed(engine, sweep_id) for _ in range(3))
    _fail(engine, first)
    assert ask(engine, queries.sweep, sweep_id)["state"] == "queued"
    _fail(engine, second)
    row = ask(engine, queries.sweep, sweep_id)
    assert (row["state"], row["error"]) == (
        "failed",
        "2 seed runs failed: retry.max_failed_seeds is 1",
    )
    failed = {0: "failed", 1: "failed"}
    assert states(engine, sweep_id) == {**dict.fromkeys(range(5), "cancelled"), **failed}
    with pytest.raises(LeaseLost), writing(engine) as conn:
        renew(conn, running.pack_id, running.fence, 30)
    with writing(engine) as conn:
        assert retry(conn, sweep_id, include_cancelled=True) == 5
    assert ask(engine, queries.sweep, sweep_id)["state"] == "queued"


def test_a_sweep_the_service_cannot_run_fails_with_its_reason(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    pack = claimed(engine, sweep_id)
    with writing(engine) as conn:
        assert fail_sweep(conn, sweep_id, "no such GPU")
        assert not fail_sweep(conn, sweep_id, "again")
    row = ask(engine, queries.sweep, sweep_id)
    assert (row["state"], row["error"]) == ("failed", "no such GPU")
    assert set(states(engine, sweep_id).values()) == {"failed"}
    assert _fail(engine, pack) is Fate.LOST
