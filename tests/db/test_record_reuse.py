"""Seed runs that were trained before are taken over, with all their rows."""

from dataclasses import replace
from typing import Any

import pytest
from record import (
    ask,
    claim,
    claimed,
    end,
    epoch,
    evaluation,
    lease_of,
    new_sweep,
    pack_states,
    states,
)
from sqlalchemy import Engine, select

from db import queries
from db.deletion import delete_sweep
from db.engine import reading, writing
from db.leasing import complete_pack
from db.models import evaluations, seed_runs, training_epochs
from db.recording import Rows, write_rows
from db.reuse import reusable
from db.submission import NewPack, extend, submit
from db.transitions import finish_sweep

LEFT_OUT = {"seed_run_id", "sweep_id", "configuration_id", "sweep", "reused_from"}


def _sweep(engine: Engine, *, new: bool = False, digest: str = "a", **changes: Any) -> str:
    """A sweep whose configurations have the same digests as those of all others here."""
    sweep = new_sweep(**changes, digest=digest)
    same = [replace(each, digest=f"c-{each.position}") for each in sweep.configurations]
    sweep = replace(sweep, configurations=same)
    with writing(engine) as conn:
        return submit(conn, sweep, new=new)[0]


def _train(engine: Engine, sweep_id: str, count: int) -> None:
    for _ in range(count):
        pack = claimed(engine, sweep_id)
        rows = Rows(
            evaluations=[evaluation(seed, 100, wrong=seed) for seed in pack.seeds],
            training_epochs=[epoch(seed, 100) for seed in pack.seeds],
        )
        with writing(engine) as conn:
            steps = dict.fromkeys(pack.seeds, 100)
            write_rows(conn, lease_of(pack), rows, steps=steps, wall_seconds=1.0)
        for seed in pack.seeds:
            end(engine, pack, seed, "diverged" if seed == 1 else "finished", 100)
        with writing(engine) as conn:
            complete_pack(conn, pack.pack_id, pack.fence)


def _results(engine: Engine, sweep_id: str) -> dict[int, dict[str, Any]]:
    return {
        row["seed"]: {key: value for key, value in row.items() if key not in LEFT_OUT}
        for row in ask(engine, queries.seeds, sweep_id).items
    }


def test_results_of_the_same_code_are_taken_over_and_the_rest_is_trained(engine: Engine) -> None:
    former = _sweep(engine, seeds=4)
    _train(engine, former, 3)
    later = _sweep(engine, seeds=6, together=2, digest="b")
    wanted = {0: "finished", 1: "diverged", 2: "finished"}
    assert states(engine, later) == {**wanted, **dict.fromkeys((3, 4, 5), "pending")}
    assert pack_states(engine, later) == ["done", "pending", "pending"]
    taken, trained = _results(engine, later), _results(engine, former)
    assert {seed: taken[seed] for seed in wanted} == {seed: trained[seed] for seed in wanted}
    with reading(engine) as conn:
        for table in (evaluations, training_epochs):
            columns = [c for c in table.c if c.name not in ("seed_run_id", "fence")]
            rows = [
                sorted(
                    conn.execute(
                        select(seed_runs.c.seed, *columns)
                        .join(seed_runs, seed_runs.c.id == table.c.seed_run_id)
                        .where(seed_runs.c.sweep_id == sweep_id)
                    ).all()
                )
                for sweep_id in (former, later)
            ]
            assert rows[0] == rows[1]
            assert len(rows[0]) == 3
    [event] = ask(engine, queries.events_since, later)
    assert event["body"]["reused"] == 3
    assert claimed(engine, later).seeds == (3,)
    assert claimed(engine, later).seeds == (4, 5)


def test_a_sweep_that_was_all_trained_before_needs_no_training(engine: Engine) -> None:
    former = _sweep(engine, configurations=2, seeds=2)
    _train(engine, former, 4)
    later = _sweep(engine, configurations=2, seeds=2, digest="b")
    assert claim(engine, later) is None
    with writing(engine) as conn:
        assert finish_sweep(conn, later)
        finish_sweep(conn, former)
        delete_sweep(conn, former)
    assert [row["finished"] for row in ask(engine, queries.success, later)] == [1, 1]
    # The copies are results like any other.
    assert set(states(engine, _sweep(engine, seeds=2, digest="c")).values()) == {
        "finished",
        "diverged",
    }


@pytest.mark.parametrize("version", ["v1", "v0-dirty", "unknown"])
def test_results_of_other_or_unnamed_code_are_not_taken_over(engine: Engine, version: str) -> None:
    former = _sweep(engine, seeds=1, code_version="v0" if version == "v1" else version)
    _train(engine, former, 1)
    later = _sweep(engine, seeds=1, digest="b", code_version=version)
    assert states(engine, later) == {0: "pending"}
    assert ask(engine, reusable, ["c-0"], range(9), version) == {}


def test_who_asks_for_a_new_sweep_gets_all_of_it_trained(engine: Engine) -> None:
    _train(engine, _sweep(engine, seeds=1), 1)
    assert states(engine, _sweep(engine, seeds=1, digest="b", new=True)) == {0: "pending"}


def test_an_extension_takes_results_over_too(engine: Engine) -> None:
    _train(engine, _sweep(engine, seeds=4), 4)
    later = _sweep(engine, seeds=2, digest="b")
    with writing(engine) as conn:
        packs = [NewPack(configuration=0, seeds=[2, 3, 4])]
        assert extend(conn, later, spec={}, packs=packs, code_version="v0") == 3
    assert list(states(engine, later).values()).count("pending") == 1
    assert claimed(engine, later).seeds == (4,)


def test_the_preview_counts_results_once_a_seed(engine: Engine) -> None:
    for digest in ("a", "b"):
        _train(engine, _sweep(engine, seeds=3, digest=digest, new=True), 3)
    assert ask(engine, reusable, ["c-0", "c-1"], range(1, 9), "v0") == {"c-0": 2}
