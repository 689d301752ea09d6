"""Claims, leases and fences."""

from collections import Counter

import pytest
from record import (
    LEASE_SECONDS,
    ask,
    at_once,
    claim,
    claimed,
    end,
    epoch,
    evaluation,
    lease_of,
    number,
    pack_states,
    states,
    submitted,
)
from sqlalchemy import Engine, select, update

from db import queries
from db.clock import in_seconds
from db.engine import reading, writing
from db.errors import LeaseLost
from db.leasing import (
    ClaimedPack,
    claim_pack,
    complete_pack,
    exhausted,
    forget_checkpoints,
    outranked,
    renew,
)
from db.models import carry_results, checkpoints, evaluations, packs, seed_runs, training_epochs
from db.recording import Rows, move_checkpoint, rewind, write_rows
from db.runners import register_runner
from db.submission import cancel
from db.transitions import finish_sweep, prioritize


def _registered(engine: Engine, sweep_id: str) -> int:
    with writing(engine) as conn:
        return register_runner(
            conn, sweep_id, host="here", pid=1, pid_started=1.5, lease_seconds=15
        )


def test_a_claim_says_what_to_train(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=4, together=4, cpu=2, gpu=0.5)
    pack = claimed(engine, sweep_id)
    assert (pack.fence, pack.seeds, pack.resume) == (1, (0, 1, 2, 3), ())
    assert (pack.cpu, pack.gpu, pack.wall_seconds) == (2, 0.5, 0.0)
    assert pack.run == {"model": {"family": "neural_gpu", "filters": 24}}
    assert set(states(engine, sweep_id).values()) == {"running"}
    [row] = {row["attempts"] for row in ask(engine, queries.seeds, sweep_id).items}
    assert row == 1


def test_claimers_at_once_never_get_the_same_pack(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=40)

    def act(_: int) -> list[int]:
        mine = []
        while (pack := claim(engine, sweep_id)) is not None:
            mine.append(pack.pack_id)
        return mine

    counts = Counter(pack for mine in at_once(8, act) for pack in mine)
    assert len(counts) == 40
    assert set(counts.values()) == {1}


def test_lines_of_packs_at_once_train_each_pack_once_and_keep_to_the_limit(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=24, max_concurrent_trials=3)
    first = [claimed(engine, sweep_id) for _ in range(3)]

    def line(number: int) -> list[int]:
        mine: list[int] = []
        pack: ClaimedPack | None = first[number]
        while pack is not None:
            mine.append(pack.pack_id)
            leased = [state for state in pack_states(engine, sweep_id) if state == "leased"]
            assert len(leased) <= 3
            end(engine, pack, pack.seeds[0])
            with writing(engine) as conn:
                assert complete_pack(conn, pack.pack_id, pack.fence)
                pack = claim_pack(conn, sweep_id, owner=f"{number}", epoch=1, lease_seconds=30)
        return mine

    trained = [pack for mine in at_once(3, line) for pack in mine]
    assert len(trained) == len(set(trained)) == 24
    assert set(pack_states(engine, sweep_id)) == {"done"}


def test_a_pack_is_claimed_again_only_by_a_newer_runner(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    first = _registered(engine, sweep_id)
    pack = claimed(engine, sweep_id, epoch=first)
    assert claim(engine, sweep_id, epoch=first) is None
    second = _registered(engine, sweep_id)
    again = claimed(engine, sweep_id, epoch=second)
    assert (again.pack_id, again.fence) == (pack.pack_id, pack.fence + 1)


def test_a_runner_that_was_replaced_claims_nothing(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    old = _registered(engine, sweep_id)
    _registered(engine, sweep_id)
    assert claim(engine, sweep_id, epoch=old) is None


def test_a_sweep_has_no_more_trials_at_once_than_it_may(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=4, max_concurrent_trials=2)
    first, _ = claimed(engine, sweep_id), claimed(engine, sweep_id)
    assert claim(engine, sweep_id) is None
    assert not ask(engine, exhausted, sweep_id)
    end(engine, first, 0)
    with writing(engine) as conn:
        complete_pack(conn, first.pack_id, first.fence)
    claimed(engine, sweep_id)
    assert claim(engine, sweep_id) is None
    # A newer runner takes over what is held, and no more.
    assert [claim(engine, sweep_id, epoch=2) is not None for _ in range(3)] == [True, True, False]


def test_a_sweep_yields_to_one_of_a_greater_priority_that_has_a_runner(engine: Engine) -> None:
    low, high = submitted(engine, seeds=3), submitted(engine, seeds=2, priority=1)
    held = claimed(engine, low)
    assert not ask(engine, outranked, low), "without a runner it keeps nobody waiting"
    _registered(engine, high)
    assert claim(engine, low) is None
    assert ask(engine, outranked, low)
    assert not ask(engine, outranked, high)
    assert not ask(engine, exhausted, low)
    with writing(engine) as conn:
        renew(conn, held.pack_id, held.fence, LEASE_SECONDS)
    claimed(engine, high)
    assert claim(engine, low) is None
    claimed(engine, high)
    assert not ask(engine, outranked, low)
    claimed(engine, low)
    with writing(engine) as conn:
        assert prioritize(conn, low, 2)
        assert not prioritize(conn, low, 2)
    claimed(engine, low)


def test_a_sweep_at_its_limit_or_without_a_runner_keeps_nobody_waiting(engine: Engine) -> None:
    low, high = submitted(engine, seeds=2), submitted(engine, priority=1, max_concurrent_trials=1)
    claimed(engine, low)
    _registered(engine, high)
    assert claim(engine, low) is None
    claimed(engine, high)
    claimed(engine, low)


def test_a_pack_waits_for_its_pause_to_end(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    with writing(engine) as conn:
        conn.execute(update(packs).values(not_before=in_seconds(60)))
    assert claim(engine, sweep_id) is None
    assert not ask(engine, exhausted, sweep_id)
    with writing(engine) as conn:
        conn.execute(update(packs).values(not_before=in_seconds(-0.01)))
    claimed(engine, sweep_id)


def test_a_cancelled_sweep_gives_no_packs_and_fences_its_workers(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2)
    pack = claimed(engine, sweep_id)
    with writing(engine) as conn:
        cancel(conn, sweep_id)
    assert claim(engine, sweep_id, epoch=9) is None
    assert ask(engine, exhausted, sweep_id)
    with pytest.raises(LeaseLost) as caught, writing(engine) as conn:
        write_rows(
            conn,
            lease_of(pack),
            Rows(evaluations=[evaluation(0, 100)]),
            steps={0: 100},
            wall_seconds=1.0,
        )
    assert (caught.value.pack_id, caught.value.fence) == (pack.pack_id, pack.fence)
    with reading(engine) as conn:
        assert number(conn, evaluations) == 0


def test_a_worker_thought_dead_can_do_nothing_when_it_comes_back(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    zombie = claimed(engine, sweep_id, epoch=1)
    heir = claimed(engine, sweep_id, epoch=2)
    rows = Rows(evaluations=[evaluation(0, 100, wrong=1)])
    for act in (
        lambda conn: renew(conn, zombie.pack_id, zombie.fence, 30),
        lambda conn: write_rows(conn, lease_of(zombie), rows, steps={0: 100}, wall_seconds=1.0),
        lambda conn: rewind(conn, lease_of(zombie), [0], 0),
        lambda conn: complete_pack(conn, zombie.pack_id, zombie.fence),
        lambda conn: forget_checkpoints(conn, zombie.pack_id, zombie.fence),
    ):
        with pytest.raises(LeaseLost), writing(engine) as conn:
            act(conn)
    with pytest.raises(LeaseLost):
        end(engine, zombie, 0)
    with writing(engine) as conn:
        write_rows(conn, lease_of(heir), rows, steps={0: 100}, wall_seconds=1.0)
    assert states(engine, sweep_id) == {0: "running"}


def _with_checkpoint(engine: Engine, sweep_id: str, steps: dict[int, int]) -> None:
    """A worker that wrote rows up to step 400, checkpoints as given, and died."""
    pack = claimed(engine, sweep_id, epoch=1)
    tested = [evaluation(seed, step) for seed in steps for step in (200, 300, 400)]
    trained = [epoch(seed, step) for seed in steps for step in (200, 400)]
    carried = [
        {"seed": seed, "step": 400, "task": "badd", "threshold": 7, "carry_limit": 20}
        for seed in steps
    ]
    rows = Rows(evaluations=tested, training_epochs=trained, carry_results=carried)
    refs = [
        {"seed": seed, "step": step, "path": f"{seed}-{step}.pt", "sha256": "0", "bytes": 3}
        for seed, step in steps.items()
    ]
    with writing(engine) as conn:
        at_the_end = dict.fromkeys(steps, 400)
        move_checkpoint(conn, lease_of(pack), rows, refs, steps=at_the_end, wall_seconds=8.0)


def test_a_claim_deletes_what_lies_beyond_the_checkpoint(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    _with_checkpoint(engine, sweep_id, {0: 300, 1: 300})
    pack = claimed(engine, sweep_id, epoch=2)
    assert [(ref.seed, ref.step, ref.path) for ref in pack.resume] == [
        (0, 300, "0-300.pt"),
        (1, 300, "1-300.pt"),
    ]
    assert pack.wall_seconds == 8.0
    with reading(engine) as conn:
        assert set(conn.execute(select(evaluations.c.step)).scalars()) == {200, 300}
        assert set(conn.execute(select(training_epochs.c.step)).scalars()) == {200}
        assert number(conn, carry_results) == 0
        assert set(conn.execute(select(seed_runs.c.steps)).scalars()) == {300}


@pytest.mark.parametrize("steps", [{0: 200, 1: 300}, {0: 200}])
def test_seeds_whose_checkpoints_do_not_fit_together_start_over(
    engine: Engine, steps: dict[int, int]
) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    _with_checkpoint(engine, sweep_id, steps)
    assert claimed(engine, sweep_id, epoch=2).resume == ()
    with reading(engine) as conn:
        for table in (evaluations, training_epochs, carry_results, checkpoints):
            assert number(conn, table) == 0


def test_a_claim_leaves_the_rows_of_seeds_that_have_ended(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    rows = Rows(evaluations=[evaluation(seed, 100) for seed in (0, 1)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={0: 100, 1: 100}, wall_seconds=1.0)
    end(engine, pack, 0, "diverged", 100)
    assert claimed(engine, sweep_id, epoch=2).seeds == (1,)
    assert len(ask(engine, queries.curves, sweep_id)) == 1


def test_forgetting_checkpoints_starts_the_pack_over(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    _with_checkpoint(engine, sweep_id, {0: 300})
    pack = claimed(engine, sweep_id, epoch=2)
    with writing(engine) as conn:
        forget_checkpoints(conn, pack.pack_id, pack.fence)
    assert claimed(engine, sweep_id, epoch=3).resume == ()
    assert ask(engine, queries.curves, sweep_id) == []


def test_a_pack_is_complete_once_every_seed_has_ended(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    end(engine, pack, 0)
    with writing(engine) as conn:
        assert not complete_pack(conn, pack.pack_id, pack.fence)
        assert not finish_sweep(conn, sweep_id)
    end(engine, pack, 1, "diverged", 12)
    with writing(engine) as conn:
        assert not finish_sweep(conn, sweep_id), "its worker still holds the pack"
        assert complete_pack(conn, pack.pack_id, pack.fence)
        assert complete_pack(conn, pack.pack_id, pack.fence)
        assert exhausted(conn, sweep_id)
        assert finish_sweep(conn, sweep_id)
        assert not finish_sweep(conn, sweep_id)


def test_a_pack_whose_worker_died_after_the_last_seed_is_closed_by_the_next_claim(
    engine: Engine,
) -> None:
    sweep_id = submitted(engine, seeds=2)
    end(engine, claimed(engine, sweep_id, epoch=1), 0)
    assert claimed(engine, sweep_id, epoch=2).seeds == (1,)
    assert pack_states(engine, sweep_id) == ["done", "leased"]


def test_renewing_prolongs_the_lease_and_tells_progress_from_life(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    with writing(engine) as conn:
        pack = claim_pack(conn, sweep_id, owner="test", epoch=1, lease_seconds=1)
        assert pack is not None
        query = select(packs.c.lease_until, packs.c.progress_at)
        first = conn.execute(query).one()
        renew(conn, pack.pack_id, pack.fence, LEASE_SECONDS)
        second = conn.execute(query).one()
        renew(conn, pack.pack_id, pack.fence, LEASE_SECONDS, progress=True)
        third = conn.execute(query).one()
    assert (second.lease_until - first.lease_until).total_seconds() > 20
    assert second.progress_at == first.progress_at <= third.progress_at
