"""The proof of a sweep: it holds for what was trained, and every kind of damage is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from starlette.testclient import TestClient

from db.engine import reading, writing
from db.models import (
    carry_results,
    checkpoints,
    configurations,
    evaluations,
    seed_runs,
    sweeps,
    training_epochs,
    verdicts,
)
from ngpu_core.config import EvaluationConfig, RunConfig, TrainingConfig
from service.settings import Settings
from service.verification import Verification, demanded_tests, verify
from tests.service.training import ADDITION, submitted, train

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


@pytest.fixture
def trained(web: TestClient, engine: Engine, settings: Settings) -> str:
    """A sweep of two configurations, two seeds each, all finished."""
    sweep = submitted(web, ADDITION)
    train(settings, engine, sweep)
    return sweep


def proof(engine: Engine, sweep: str, folder: Path | None) -> Verification:
    with reading(engine) as conn:
        return verify(conn, sweep, folder)


def test_a_trained_sweep_holds(
    web: TestClient, engine: Engine, settings: Settings, trained: str
) -> None:
    found = web.get(f"/api/v1/sweeps/{trained}/verify").json()

    assert found["holds"], found["findings"]
    assert (found["expected"], found["found"], found["finished"]) == (4, 4, 4)
    assert found["tests"] == 4 * 2
    assert (found["checkpoints"], found["checkpoints_read"]) == (4, 4)
    unread = web.get(f"/api/v1/sweeps/{trained}/verify?checkpoints=false").json()
    assert unread == {**found, "checkpoints_read": 0}
    assert web.get("/api/v1/sweeps/nonesuch/verify").status_code == 404


@on_sqlite
def test_a_sweep_that_waits_was_extended_or_cancelled_holds(
    web: TestClient, engine: Engine, settings: Settings, trained: str
) -> None:
    web.post(f"/api/v1/sweeps/{trained}/extend", json={"count": 2})
    waits = proof(engine, trained, settings.checkpoints)
    web.post(f"/api/v1/sweeps/{trained}/cancel")
    cancelled = proof(engine, trained, settings.checkpoints)

    assert waits.holds
    assert (waits.expected, waits.finished, waits.pending) == (8, 4, 4)
    assert cancelled.holds
    assert (cancelled.expected, cancelled.finished, cancelled.cancelled) == (8, 4, 4)


@on_sqlite
def test_diverged_seed_runs_need_no_more_than_they_reached(
    web: TestClient, engine: Engine, settings: Settings
) -> None:
    text = ADDITION.replace("batch_size: 2", "batch_size: 2, divergence_factor: 0.5")
    sweep = submitted(web, text)
    train(settings, engine, sweep)

    found = proof(engine, sweep, settings.checkpoints)

    assert found.diverged == 4
    assert found.holds, found.findings


def _first(conn: Connection) -> int:
    return conn.execute(select(seed_runs.c.id).order_by(seed_runs.c.id).limit(1)).scalar_one()


def _move_past_the_end(conn: Connection) -> None:
    e = evaluations.c
    conn.execute(
        update(evaluations).where(e.seed_run_id == _first(conn), e.step == 10).values(step=50)
    )


def _drop_a_seed_run(conn: Connection) -> None:
    run = _first(conn)
    for table in (checkpoints, carry_results, training_epochs, evaluations, verdicts):
        conn.execute(delete(table).where(table.c.seed_run_id == run))
    conn.execute(text(f"DELETE FROM carry_trials WHERE seed_run_id = {run}"))
    conn.execute(delete(seed_runs).where(seed_runs.c.id == run))


def _add_a_seed_run(conn: Connection) -> None:
    row = dict(
        conn.execute(select(seed_runs).where(seed_runs.c.id == _first(conn))).mappings().one()
    )
    row.update(id=None, seed=99, state="pending")
    del row["id"]
    conn.execute(insert(seed_runs).values(row))


def _of_first(statement: Any) -> Callable[[Connection], None]:
    """Change the rows of the first seed run."""

    def act(conn: Connection) -> None:
        run = statement.table.c.seed_run_id
        conn.execute(statement.where(run == _first(conn)))

    return act


def _other_keys(conn: Connection) -> None:
    run = conn.execute(
        select(configurations.c.run).where(configurations.c.position == 0)
    ).scalar_one()
    run["training"]["learning_rate"] = 0.5
    conn.execute(update(configurations).where(configurations.c.position == 0).values(run=run))


def _fewer_seeds(conn: Connection) -> None:
    spec = conn.execute(select(sweeps.c.spec)).scalar_one()
    spec["seeds"]["count"] = 1
    conn.execute(update(sweeps).values(spec=spec))


DAMAGE: dict[str, tuple[Callable[[Connection], None], str, str]] = {
    "a missing seed run": (_drop_a_seed_run, "missing", "0 seed runs"),
    "a seed run too many": (_add_a_seed_run, "extra", "the spec demands none"),
    "a smaller spec": (_fewer_seeds, "extra", "the spec demands none"),
    "a test that is missing": (
        _of_first(delete(evaluations).where(evaluations.c.step == 10)),
        "test",
        "no test at step 10",
    ),
    "a length that is missing": (
        _of_first(delete(evaluations).where(evaluations.c.step == 10, evaluations.c.length == 7)),
        "test",
        "not 2 rows of a test at step 10",
    ),
    "a test beyond the end": (_move_past_the_end, "test", "nobody asked for at step 50"),
    "another number of sequences": (
        _of_first(update(evaluations).where(evaluations.c.step == 10).values(sequences=9)),
        "test",
        "tested on 9 sequences",
    ),
    "an epoch that is missing": (
        _of_first(delete(training_epochs).where(training_epochs.c.step == 20)),
        "epoch",
        "no epoch at step 20",
    ),
    "a carry result that is missing": (
        _of_first(delete(carry_results)),
        "carry",
        "no carry result",
    ),
    "a pointer that is missing": (_of_first(delete(checkpoints)), "checkpoint", "no checkpoint"),
    "a checkpoint of another step": (
        _of_first(update(checkpoints).values(step=10)),
        "checkpoint",
        "of step 10",
    ),
    "other keys": (_other_keys, "configuration", "not those"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@on_sqlite
def test_damage_to_the_record_is_found(
    damage: str, engine: Engine, settings: Settings, trained: str
) -> None:
    act, kind, words = DAMAGE[damage]
    with writing(engine) as conn:
        act(conn)

    found = proof(engine, trained, settings.checkpoints)

    assert not found.holds
    assert any(one.kind == kind and words in one.message for one in found.findings), found.findings


@pytest.mark.parametrize("damage", ["deleted", "altered"])
@on_sqlite
def test_a_damaged_checkpoint_is_found_where_its_folder_is(
    damage: str, engine: Engine, settings: Settings, trained: str
) -> None:
    file = next(settings.checkpoints.rglob("*.pt"))
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"\1")

    found = proof(engine, trained, settings.checkpoints)

    assert [one.kind for one in found.findings] == ["checkpoint"]
    assert file.name in found.findings[0].message
    assert proof(engine, trained, None).holds


#: Several tasks, and short tests that may end early.
SEVERAL = """
name: several
base:
  model: {family: neural_gpu, filters: 2, height: 2, weight_copies: 2, input_symbols: 3,
          output_symbols: 3}
  training: {tasks: [rev, id], curriculum: 4, max_steps: 20, min_length: 1, max_length: 6,
             bins: [8], steps_per_epoch: 5, batch_size: 2, curriculum_error: 0.99}
  evaluation: {lengths: [11], sequences: 4, every: 10, short_sequences: 2, stop_after_wrong: 2,
               short_below: 0.05}
seeds: {count: 3}
"""


@pytest.fixture
def several(web: TestClient, engine: Engine, settings: Settings) -> str:
    sweep = submitted(web, SEVERAL)
    train(settings, engine, sweep)
    return sweep


@on_sqlite
def test_a_sweep_of_several_tasks_with_short_tests_holds(
    engine: Engine, settings: Settings, several: str
) -> None:
    found = proof(engine, several, settings.checkpoints)

    assert found.holds, found.findings
    assert (found.finished, found.tests) == (3, 3 * 2)
    with reading(engine) as conn:
        t, e = training_epochs.c, evaluations.c
        assert set(conn.execute(select(t.task)).scalars()) == {"rev", "id"}
        assert len(set(conn.execute(select(t.curriculum_length)).scalars())) > 1
        assert set(conn.execute(select(e.sequences).where(e.length < 7)).scalars()) == {2}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_of_first(delete(evaluations).where(evaluations.c.length < 7)), "test"),
        (_of_first(delete(evaluations).where(evaluations.c.length == 11)), "test"),
        (_of_first(update(evaluations).where(evaluations.c.length == 1).values(length=7)), "test"),
        (_of_first(delete(training_epochs).where(training_epochs.c.step == 15)), "epoch"),
    ],
    ids=["short tests", "the last test", "a length of neither kind", "an epoch"],
)
@on_sqlite
def test_damage_to_a_record_of_several_tasks_is_found(
    damage: Callable[[Connection], None],
    kind: str,
    engine: Engine,
    settings: Settings,
    several: str,
) -> None:
    with writing(engine) as conn:
        damage(conn)

    found = proof(engine, several, settings.checkpoints)

    assert {one.kind for one in found.findings} == {kind}, found.findings


def test_short_tests_bound_the_number_of_rows() -> None:
    training = TrainingConfig(tasks=("badd", "scopy"))
    rule = {"every": 10, "short_sequences": 32}
    whole = demanded_tests(
        RunConfig(training=training, evaluation=EvaluationConfig(**rule)), "finished", 25
    )
    assert (whole.required, list(whole.rows)) == ({10, 20, 25}, [19 + 37 + 2])
    published = EvaluationConfig(**rule, stop_after_wrong=4, short_below=0.05)
    demand = demanded_tests(RunConfig(training=training, evaluation=published), "finished", 25)
    assert demand.required == {10, 20, 25}
    assert demand.rows == range(8, 19 + 37 + 2 + 1)
    assert demand.rows_at_end == range(8 + 2, 19 + 37 + 2 + 1)


def test_tests_on_the_way_are_optional_where_the_training_decides() -> None:
    run = RunConfig(evaluation=EvaluationConfig(every=10, only_below=0.5))
    demand = demanded_tests(run, "finished", 25)
    assert demand.required == {25}
    assert demand.allowed == {10, 20, 25}
    always = RunConfig(evaluation=EvaluationConfig(every=10))
    assert demanded_tests(always, "finished", 20).required == {10, 20}
    assert demanded_tests(always, "diverged", 20).required == {10}
