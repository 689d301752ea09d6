"""Runners, their epochs and the scheduler's leadership."""

import pytest
from record import ask, at_once, claimed, end, submitted
from sqlalchemy import Engine, update

from db.clock import in_seconds
from db.engine import writing
from db.errors import SweepNotFound, WrongState
from db.leasing import complete_pack
from db.models import leases, packs, runners
from db.runners import (
    acquire_lease,
    drop_runner,
    register_runner,
    release_lease,
    renew_runner,
    sweeps_to_reconcile,
)
from db.submission import cancel
from db.transitions import finish_sweep, start_sweep


def _register(engine: Engine, sweep_id: str, pid: int = 42) -> int:
    with writing(engine) as conn:
        return register_runner(
            conn, sweep_id, host="here", pid=pid, pid_started=17.25, lease_seconds=15
        )


def test_epochs_count_up_and_only_the_newest_runner_is_renewed(engine: Engine) -> None:
    sweep_id = submitted(engine)
    assert [_register(engine, sweep_id), _register(engine, sweep_id)] == [1, 2]
    with writing(engine) as conn:
        assert renew_runner(conn, sweep_id, 1, 15) is None
        assert renew_runner(conn, sweep_id, 2, 15) == "run"
        assert not drop_runner(conn, sweep_id, 1)
        assert drop_runner(conn, sweep_id, 2)
        assert renew_runner(conn, sweep_id, 2, 15) is None


def test_runners_registered_at_once_have_different_epochs(engine: Engine) -> None:
    sweep_id = submitted(engine)
    assert sorted(at_once(6, lambda pid: _register(engine, sweep_id, pid))) == [1, 2, 3, 4, 5, 6]


def test_a_runner_learns_of_the_cancel_when_it_renews(engine: Engine) -> None:
    sweep_id = submitted(engine)
    epoch = _register(engine, sweep_id)
    with writing(engine) as conn:
        cancel(conn, sweep_id)
        assert renew_runner(conn, sweep_id, epoch, 15) == "cancel"
    with pytest.raises(WrongState, match="only a queued or running sweep can have a runner"):
        _register(engine, sweep_id)
    with pytest.raises(SweepNotFound):
        _register(engine, "nothing")


def test_one_scheduler_leads_until_its_lease_ends(engine: Engine) -> None:
    def act(number: int) -> bool:
        with writing(engine) as conn:
            return acquire_lease(conn, "scheduler", f"s{number}", 10)

    held = at_once(6, act)
    assert sum(held) == 1
    owner = f"s{held.index(True)}"
    with writing(engine) as conn:
        assert acquire_lease(conn, "scheduler", owner, 10)
        assert not acquire_lease(conn, "scheduler", "another", 10)
        release_lease(conn, "scheduler", "another")
        assert not acquire_lease(conn, "scheduler", "another", 10)
        conn.execute(update(leases).values(until=in_seconds(-0.01)))
        assert acquire_lease(conn, "scheduler", "another", 10)
        release_lease(conn, "scheduler", "another")
        assert acquire_lease(conn, "scheduler", owner, 10)


def test_the_facts_to_reconcile_follow_a_sweep_from_submission_to_its_end(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3)
    [row] = ask(engine, sweeps_to_reconcile)
    assert (row["id"], row["state"], row["seeds_open"]) == (sweep_id, "queued", 3)
    assert (row["packs_claimable"], row["packs_leased"]) == (3, 0)
    assert (row["epoch"], row["runner_alive"]) == (None, None)

    epoch = _register(engine, sweep_id)
    with writing(engine) as conn:
        assert start_sweep(conn, sweep_id)
        assert not start_sweep(conn, sweep_id)
    held = [claimed(engine, sweep_id, epoch=epoch) for _ in range(2)]
    with writing(engine) as conn:
        conn.execute(
            update(packs).where(packs.c.state == "pending").values(not_before=in_seconds(60))
        )
    [row] = ask(engine, sweeps_to_reconcile)
    assert (row["state"], row["packs_claimable"], row["packs_waiting"]) == ("running", 0, 1)
    assert (row["packs_leased"], row["epoch"], row["pid"]) == (2, epoch, 42)
    assert row["pid_started"] == 17.25
    assert row["runner_alive"] is True
    assert row["progress_at"].tzinfo is not None

    with writing(engine) as conn:
        conn.execute(update(runners).values(lease_until=in_seconds(-1)))
        conn.execute(update(packs).values(not_before=None))
    assert ask(engine, sweeps_to_reconcile)[0]["runner_alive"] is False
    for pack in [*held, claimed(engine, sweep_id, epoch=epoch)]:
        end(engine, pack, *pack.seeds)
        with writing(engine) as conn:
            complete_pack(conn, pack.pack_id, pack.fence)
    with writing(engine) as conn:
        assert finish_sweep(conn, sweep_id)
    [row] = ask(engine, sweeps_to_reconcile)  # its runner is still to be dropped
    assert (row["state"], row["seeds_open"]) == ("finished", 0)
    with writing(engine) as conn:
        drop_runner(conn, sweep_id, epoch)
    assert ask(engine, sweeps_to_reconcile) == []
