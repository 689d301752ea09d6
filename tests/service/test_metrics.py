"""`/metrics`: what the record and the web process say, in a form a real parser reads."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from db.engine import writing
from db.runners import acquire_lease
from service import metrics
from service.app import create_app
from service.control.scheduler import LEADERSHIP
from service.settings import Settings
from tests.db.record import LEASE_SECONDS, claimed, epoch, lease_of
from tests.service.training import ADDITION, submitted, train

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 0.0)


def scraped(web: TestClient) -> Samples:
    answer = web.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def number(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_an_empty_record_is_all_zeros(web: TestClient) -> None:
    found = scraped(web)
    assert number(found, "ngpu_record_up") == 1
    for state in ("pending", "running", "finished", "diverged", "failed", "cancelled"):
        assert number(found, "ngpu_seed_runs", state=state) == 0
    for name in ("queue_age_seconds", "writer_lag_seconds", "seed_steps_per_second", "seed_steps"):
        assert number(found, f"ngpu_{name}") == 0
    assert number(found, "ngpu_scheduler_leads") == 0


def test_the_record_s_numbers_are_those_of_its_rows(
    web: TestClient, engine: Engine, settings: Settings
) -> None:
    train(settings, engine, submitted(web, ADDITION))
    waits = submitted(web, ADDITION.replace("name: addition", "name: other"))
    found = scraped(web)
    assert number(found, "ngpu_seed_runs", state="finished") == 4
    assert number(found, "ngpu_seed_runs", state="pending") == 4
    assert number(found, "ngpu_sweeps", state="queued") == 1
    assert number(found, "ngpu_seed_steps") == 4 * 20
    assert 0 <= number(found, "ngpu_queue_age_seconds") < 60

    with writing(engine) as conn:
        past = "'2020-01-01 00:00:00.000'"
        conn.execute(text(f"UPDATE events SET created_at = {past} WHERE sweep_id = '{waits}'"))
        acquire_lease(conn, LEADERSHIP, "somebody", 30)
    found = scraped(web)
    assert number(found, "ngpu_queue_age_seconds") > 10**8
    assert number(found, "ngpu_scheduler_leads") == 1


def test_a_silent_worker_and_a_rate_are_told(web: TestClient, engine: Engine) -> None:
    from db.recording import Rows, write_rows

    pack = claimed(engine, submitted(web, ADDITION))
    with writing(engine) as conn:
        rows = Rows(training_epochs=[epoch(pack.seeds[0], 5)])
        steps = dict.fromkeys(pack.seeds, 5)
        write_rows(conn, lease_of(pack), rows, steps=steps, wall_seconds=2.0)
    found = scraped(web)
    assert number(found, "ngpu_seed_steps_per_second") == pytest.approx(2.5 * len(pack.seeds))
    assert number(found, "ngpu_writer_lag_seconds") < LEASE_SECONDS
    with writing(engine) as conn:
        past = "'2020-01-01 00:00:00.000'"
        conn.execute(text(f"UPDATE packs SET progress_at = {past}, lease_until = {past}"
                          f" WHERE id = {pack.pack_id}"))  # fmt: skip
    found = scraped(web)
    assert number(found, "ngpu_writer_lag_seconds") > 10**8
    assert number(found, "ngpu_leases_expired") == 1


@on_sqlite
def test_requests_are_counted_by_route_not_by_address(web: TestClient) -> None:
    sweep = submitted(web, ADDITION)
    web.get(f"/api/v1/sweeps/{sweep}")
    web.get("/api/v1/sweeps/nonesuch")
    web.get("/static/style.css")
    for name in ("a", "b", "c"):
        web.get(f"/no/such/{name}")
    found = scraped(web)
    route = "/api/v1/sweeps/{sweep_id}"
    count = "ngpu_http_requests_total"
    assert number(found, count, method="GET", route=route, status="200") == 1
    assert number(found, count, method="GET", route=route, status="404") == 1
    assert number(found, count, method="GET", route=metrics.NO_ROUTE, status="404") == 3
    assert number(found, count, method="GET", route=metrics.FILES, status="200") == 1
    seconds = number(found, "ngpu_http_request_seconds_count", method="GET", route=route)
    assert seconds == 2


@on_sqlite
def test_errors_of_the_database_are_counted_and_the_scrape_survives_them(
    settings: Settings,
) -> None:
    with TestClient(create_app(settings), raise_server_exceptions=False) as web:
        with web.app.state.engine.begin() as conn:  # type: ignore[attr-defined]
            conn.execute(text("ALTER TABLE packs RENAME TO gone"))
        found = scraped(web)
        assert number(found, "ngpu_record_up") == 0
        errors = scraped(web)
    assert number(errors, "ngpu_database_errors_total", kind="OperationalError") >= 1


def test_an_answer_of_the_record_is_told_again_for_a_while(
    web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 60.0)
    scraped(web)
    submitted(web, ADDITION)
    assert number(scraped(web), "ngpu_seed_runs", state="pending") == 0


@on_sqlite
def test_the_documents_name_every_metric_and_no_other(web: TestClient) -> None:
    submitted(web, ADDITION)
    document = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    told = {
        family.name
        for family in text_string_to_metric_families(web.get("/metrics").text)
        if family.name.startswith("ngpu_")
    }
    named = {name.removesuffix("_total") for name in re.findall(r"`(ngpu_\w+)", document)}
    assert told == named
