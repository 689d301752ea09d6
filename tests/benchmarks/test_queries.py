"""The benchmark of the record: what it fills, what it asks, what it holds the answers to."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, func, select

from benchmarks.client import summarized
from benchmarks.queries import GOALS, addresses, judged, summary
from benchmarks.record import SHAPES, TESTS, fill, spec_of
from db import queries
from db.engine import reading
from db.invariants import broken
from db.models import evaluations, seed_runs, verdicts
from sweeps.spec import load_spec


def test_shares_are_all_of_the_record_and_every_shape_has_as_many_tests() -> None:
    assert sum(shape.sweeps * shape.share for shape in SHAPES) == pytest.approx(1)
    for shape in SHAPES:
        spec = load_spec(spec_of(shape, shape.name, 3))
        assert spec.seeds.count == 3
        rows = 200_000 // shape.every * len(shape.tasks) * len(shape.lengths)
        assert rows == TESTS


def test_a_filled_record_is_one_that_the_service_could_have_written(engine: Engine) -> None:
    lines: list[str] = []
    carrying, trial = SHAPES[2], replace(SHAPES[4], sweeps=2)
    filled = fill(engine, 1, lines.append, shapes=[carrying, trial])
    assert len(filled.sweeps) == len(lines) == 3
    with reading(engine) as conn:
        assert conn.execute(select(func.count()).select_from(evaluations)).scalar_one() == (
            TESTS * filled.seed_runs
        )
        assert broken(conn) == []
        ended = select(func.count()).where(seed_runs.c.state.in_(("finished", "diverged")))
        kept = conn.execute(select(func.count()).select_from(verdicts)).scalar_one()
        assert kept == conn.execute(ended).scalar_one() > 0
        fractions = [row for one in filled.sweeps.values() for row in queries.success(conn, one)]
    assert sum(row["requested"] for row in fractions) == filled.seed_runs
    assert 0 < sum(row["succeeded"] for row in fractions) < filled.seed_runs


def test_a_verdict_says_what_the_tests_say(engine: Engine) -> None:
    [sweep_id, *_] = fill(
        engine, 1, lambda line: None, shapes=[replace(SHAPES[4], sweeps=1)]
    ).sweeps.values()
    with reading(engine) as conn:
        kept = queries.seeds(conn, sweep_id).items
        fractions = queries.success(conn, sweep_id)
    with engine.begin() as conn:
        conn.execute(verdicts.delete())
    with reading(engine) as conn:
        assert queries.seeds(conn, sweep_id).items == kept
        assert queries.success(conn, sweep_id) == fractions


def test_a_goal_is_met_up_to_its_bound() -> None:
    at_bound = judged(GOALS)
    assert all(goal["met"] for goal in at_bound)
    beyond = judged({name: bound + 1 for name, bound in GOALS.items()})
    assert not any(goal["met"] for goal in beyond)


def test_an_answer_is_told_by_its_first_its_middle_and_its_slowest() -> None:
    assert summarized([9.0, 1.0, 2.0]) == {"first": 9.0, "median": 2.0, "slowest": 9.0}


def test_every_page_and_list_of_a_sweep_of_each_shape_is_asked_for(engine: Engine) -> None:
    one_each = [replace(shape, sweeps=1, configurations=1) for shape in SHAPES]
    named = fill(engine, 1, lambda line: None, shapes=one_each).sweeps
    asked = addresses(engine, named)
    assert len(asked) == len(set(asked))
    for shape in SHAPES:
        sweep_id = next(one for name, one in named.items() if name.startswith(shape.name))
        of_it = [one for one in asked if sweep_id in one]
        assert {f"/sweeps/{sweep_id}", f"/api/v1/sweeps/{sweep_id}/success"} <= set(of_it)


def test_the_summary_says_of_every_goal_whether_it_is_met() -> None:
    told = summary(
        {
            "database": "sqlite",
            "seed_runs": 5,
            "evaluations": 2000,
            "goals": judged(GOALS | {"page_milliseconds": 2 * GOALS["page_milliseconds"]}),
            "answers": {"/": {"median": 3.0}},
        }
    )
    assert told.count("NOT met") == 1
    assert "3 ms  /" in told
