"""The benchmark of the record: what it fills, what it asks, what it holds the answers to."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from benchmarks.client import summarized
from benchmarks.page import PAGE
from benchmarks.queries import GOALS, addresses, growth, judged, summary
from benchmarks.queries_page import END, START, kind_of, renewed, results
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


def test_growth_is_from_before_the_first_file_to_the_largest() -> None:
    sizes = [(100, 130), (120, 180), (150, 160)]
    told = [{"resident_bytes_before": was, "resident_bytes_peak": most} for was, most in sizes]
    assert growth(told) == 80


def stored(database: str, curves: float) -> dict[str, Any]:
    found = GOALS | {"page_milliseconds": curves}
    sweep = "/sweeps/01M801NJBJ5QQVTVQ4PSD4CVH6"
    return {
        "database": database,
        "seed_runs": 50_000,
        "evaluations": 20_000_000,
        "answers": {f"{sweep}/curves": {"median": curves}, f"{sweep}x/curves": {"median": 1.0}},
        "machine": {
            "processor": "a processor",
            "cores": 2,
            "date": "today",
            "versions": {database: "15.3"},
        },
        **found,
        "goals": judged(found),
    }


def test_the_page_has_a_column_a_database_with_the_slowest_sweep_of_each() -> None:
    told = results([stored("postgresql", 1234.0), stored("sqlite", 5.0)])
    [curves] = [line for line in told.splitlines() if line.startswith("| its learning curves")]
    assert curves == "| its learning curves | 1234 ms | 5 ms |"
    assert told.splitlines()[-1] == "| goals | **not met: page_milliseconds** | met |"


def test_renewing_the_page_changes_nothing_but_the_table() -> None:
    page = PAGE.read_text()
    once = renewed(page, [stored("sqlite", 5.0)])
    assert renewed(once, [stored("sqlite", 5.0)]) == once
    assert once.split(START)[0] == page.split(START)[0]
    assert once.split(END)[1] == page.split(END)[1]


def test_an_address_without_its_ids_is_its_kind() -> None:
    assert kind_of("/sweeps/01M/curves") == "/sweeps/*/curves"
    assert kind_of("/api/v1/sweeps/01M/seeds?limit=1000") == "/api/v1/sweeps/*/seeds?limit=1000"
    assert kind_of("/seeds/12") == "/seeds/*"
    assert kind_of("/") == "/"
