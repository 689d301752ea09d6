"""What a trained sweep and its seed runs answer over REST, as JSON and as CSV."""

import csv
import io
import json
from typing import Any

from sqlalchemy import Engine
from starlette.testclient import TestClient

from db import models
from db.console import read_only, run_query
from db.engine import writing
from db.views import metadata as views
from ngpu_core.config import RunConfig
from ngpu_core.engines.choice import choose
from service import schemas
from service.settings import Settings
from tests.service.api import SWEEPS, on_sqlite, submitted

LISTS: dict[str, tuple[str, type[schemas.Row]]] = {
    "success": ("success_fractions", schemas.SuccessFraction),
    "seeds": ("seed_results", schemas.SeedResult),
    "curves": ("learning_curves", schemas.CurvePoint),
    "thresholds": ("carry_thresholds", schemas.CarryThreshold),
    "failures": ("failures", schemas.Failure),
    "probes": ("probe_errors", schemas.ProbeError),
}


def test_json_csv_and_sql_give_the_same_values(
    web: TestClient, settings: Settings, trained_sweep: str
) -> None:
    for name, (view, model) in LISTS.items():
        url = f"{SWEEPS}/{trained_sweep}/{name}"
        items = web.get(url).json()["items"]
        text = web.get(url, params={"format": "csv"}).text
        from_csv = list(csv.DictReader(io.StringIO(text)))
        from_sql = run_query(read_only(settings.database_url), f"SELECT * FROM {view}").items

        assert items, name
        assert [{key: as_csv(value) for key, value in item.items()} for item in items] == from_csv
        assert comparable(model, items) == comparable(model, from_sql), name


def as_csv(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(value)


def parsed(item: dict[str, Any]) -> dict[str, Any]:
    axes = item.get("axes")
    return {**item, "axes": json.loads(axes)} if isinstance(axes, str) else item


def comparable(model: type[schemas.Row], items: list[dict[str, Any]]) -> list[str]:
    """Rows in one order and form; SQLite keeps JSON and times as text."""
    dumped = [model.model_validate(parsed(item)).model_dump(mode="json") for item in items]
    return sorted(
        json.dumps({key: value for key, value in row.items() if not key.endswith("_at")})
        for row in dumped
    )


@on_sqlite
def test_accept_chooses_csv(web: TestClient, spec_text: str) -> None:
    url = f"{SWEEPS}/{submitted(web, spec_text)['id']}/success"

    asked = web.get(url, headers={"Accept": "text/csv"})

    assert asked.headers["Content-Type"].startswith("text/csv")
    assert asked.text == web.get(url, params={"format": "csv"}).text


def test_a_trained_seed_shows_its_provenance(web: TestClient, trained_sweep: str) -> None:
    items = web.get(f"{SWEEPS}/{trained_sweep}/seeds", params={"state": "finished"}).json()["items"]

    seed = web.get(f"/api/v1/seeds/{items[0]['seed_run_id']}").json()
    evaluations = web.get(f"/api/v1/seeds/{seed['seed_run_id']}/evaluations").json()["items"]
    curves = web.get(f"/api/v1/seeds/{seed['seed_run_id']}/curves").json()["items"]

    assert items[0].items() <= seed.items()
    assert seed["run"]["model"]["filters"] == 4
    assert seed["host"]
    assert seed["code_version"]
    engine = choose(RunConfig.from_mapping(seed["run"]))
    assert (seed["engine"], seed["instruction_set"]) == (engine.name, engine.instruction_set)
    assert [(each["length"], each["step"]) for each in evaluations] == [(7, 20), (15, 20)]
    assert {point["kind"] for point in curves} == {"training", "test"}
    assert [seed["succeeded"] for seed in items] != [None, None]


def test_the_models_of_rows_are_the_views() -> None:
    for view, model in LISTS.values():
        assert list(views.tables[view].columns.keys()) == list(model.model_fields), view


@on_sqlite
def test_numbers_that_are_not_finite_are_null(
    web: TestClient, engine: Engine, trained_sweep: str
) -> None:
    with writing(engine) as conn:
        conn.execute(models.training_epochs.update().values(loss=None))

    curves = web.get(f"{SWEEPS}/{trained_sweep}/curves", params={"kind": "training"})

    assert {point["loss"] for point in curves.json()["items"]} == {None}
