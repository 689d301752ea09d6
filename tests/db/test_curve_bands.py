"""Bands over seeds, against a recomputation by numpy from every row of the view."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record import ask, claimed, epoch, evaluation, lease_of, submitted
from sqlalchemy import Engine, select

from db import queries
from db.bands import curve_bands, evenly
from db.engine import reading, writing
from db.recording import Rows, write_rows
from db.views import learning_curves

CONFIGURATIONS, SEEDS = 3, 4
TASKS = ("badd", "baddt")
COLUMNS = {"median": 0.5, "low": 0.1, "high": 0.9}


@pytest.fixture
def sweep_id(engine: Engine) -> str:
    """A sweep whose configurations are tested at other steps, whose seeds got to other ones."""
    found = submitted(engine, configurations=CONFIGURATIONS, seeds=SEEDS, together=SEEDS)
    other = submitted(engine, seeds=2, together=2)
    for number, sweep in enumerate((other, *[found] * CONFIGURATIONS)):
        pack = claimed(engine, sweep)
        every = 50 * max(1, number)
        rows = Rows(
            evaluations=[
                evaluation(
                    seed, n * every, wrong=(7 * n + 31 * seed) % 128, task=task, length=length
                )
                for seed in pack.seeds
                for n in range(1, 3 + 2 * seed)
                for task in TASKS
                for length in (9, 201)
            ],
            training_epochs=[
                epoch(seed, n * every, loss=n / (1 + seed))
                for seed in pack.seeds
                for n in range(1, 2 + seed)
            ],
        )
        steps = {seed: (2 + 2 * seed) * every for seed in pack.seeds}
        with writing(engine) as conn:
            write_rows(conn, lease_of(pack), rows, steps=steps, wall_seconds=1.0)
    return found


def naive(engine: Engine, sweep_id: str, asked: dict[str, Any]) -> dict[tuple[Any, ...], Any]:
    """Median, band and number of seeds by configuration, task, length and step."""
    with reading(engine) as conn:
        query = select(learning_curves).where(learning_curves.c.sweep_id == sweep_id)
        rows = [dict(row) for row in conn.execute(query).mappings()]
    test = asked["kind"] == "test"
    values = defaultdict(list)
    for row in rows:
        wanted = asked.get("configuration_ids")
        if (
            row["kind"] == asked["kind"]
            and (wanted is None or row["configuration_id"] in wanted)
            and asked.get("task") in (None, row["task"])
            and asked.get("length") in (None, row["length"])
        ):
            key = (row["configuration_id"], row["task"], row["length"] if test else None)
            values[*key, row["step"]].append(row[asked["metric"]])
    return {
        key: ([np.quantile(found, level) for level in COLUMNS.values()], len(found))
        for key, found in values.items()
        if asked.get("most_steps") is None or key[-1] in _drawn(rows, key[0], asked)
    }


def _drawn(rows: list[dict[str, Any]], one: int, asked: dict[str, Any]) -> list[int]:
    """Of the configuration's seed that got furthest: the last one."""
    steps = {
        row["step"]
        for row in rows
        if (row["configuration_id"], row["kind"], row["seed"]) == (one, asked["kind"], SEEDS - 1)
    }
    return evenly(sorted(steps), asked["most_steps"])


def test_bands_are_what_numpy_finds_in_all_rows(engine: Engine, sweep_id: str) -> None:
    ids = [row["id"] for row in ask(engine, queries.configurations, sweep_id)]
    asked = st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["test", "training"]),
            "metric": st.sampled_from(["sequence_error", "symbol_error"]),
        },
        optional={
            "configuration_ids": st.sets(st.sampled_from(ids)),
            "task": st.sampled_from([*TASKS, "never"]),
            "length": st.sampled_from([9, 12, 201]),
            "most_steps": st.integers(1, 10),
        },
    )

    @settings(max_examples=40)
    @given(asked)
    def holds(asked: dict[str, Any]) -> None:
        rows = ask(engine, curve_bands, sweep_id, **asked)
        expected = naive(engine, sweep_id, asked)
        found = {
            (row["configuration_id"], row["task"], row["length"], row["step"]): row for row in rows
        }
        assert len(found) == len(rows)
        assert list(found) == sorted(found, key=lambda key: (*key[:2], key[2] or 0, key[3]))
        assert found.keys() == expected.keys()
        for key, (quantiles, seeds) in expected.items():
            assert [found[key][name] for name in COLUMNS] == pytest.approx(quantiles, abs=1e-12)
            assert found[key]["seeds"] == seeds

    holds()
    assert len(naive(engine, sweep_id, {"kind": "test", "metric": "sequence_error"})) == 96


def test_of_another_sweeps_configuration_there_is_no_band(engine: Engine, sweep_id: str) -> None:
    theirs = ask(engine, queries.configurations, submitted(engine))[0]["id"]
    assert ask(engine, curve_bands, sweep_id, configuration_ids=[theirs]) == []
    assert ask(engine, curve_bands, sweep_id, configuration_ids=[theirs], most_steps=4) == []
    assert ask(engine, curve_bands, "nothing", most_steps=4) == []


def test_a_reader_of_postgresql_is_planned_for_its_own_sweep(engine: Engine, sweep_id: str) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite plans a statement once")
    with reading(engine) as conn:
        for _ in range(20):
            curve_bands(conn, sweep_id, most_steps=4)
        asked = "FROM pg_prepared_statements WHERE statement ~ 'AS seeds'"
        plans = conn.exec_driver_sql(f"SELECT sum(custom_plans), sum(generic_plans) {asked}").one()
    assert plans[0] > 20
    assert plans[1] == 0
