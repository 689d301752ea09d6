"""The dashboard's HTML over a real record, without a browser."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from db.engine import reading, writing
from db.giving_back import fail_pack
from db.leasing import claim_pack
from db.queries import success
from db.recording import Ended, Lease, Rows, end_seed, note_engine
from db.transitions import start_sweep
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import TASKS
from service.dashboard import sweep_parts

HTML = {"Accept": "text/html"}
HOSTILE = "</script><script>alert(1)</script>"
SPEC = """
name: NAME
labels: {about: NAME}
base:
  model: {family: diagonal_neural_gpu, filters: 4}
  training: {max_steps: 20, tasks: [dup], bins: [8]}
  evaluation: {tasks: [dup], lengths: [16], sequences: 4}
grid:
  dropout: {NAME: {training.dropout: 0.1}, none: {training.dropout: 0.0}}
  filters: {4: {model.filters: 4}, 6: {model.filters: 6}}
exclude: [{dropout: none, filters: 6}]
seeds: {count: 4}
success: {length: 16, below: 0.5}
resources: {seeds_per_trial: 1}
retry: {max_failures: 1}
"""


#: The pages ask named queries, which db's own tests run on both; here two tests do.
BOTH = pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database under test."""
    return getattr(request, "param", "sqlite")


class Links(HTMLParser):
    """The addresses a page links to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        self.found |= {
            value for name, value in attrs if name in ("href", "src", "hx-get") and value
        }


@pytest.fixture
def sweep_id(web: TestClient) -> str:
    """A sweep whose every text is hostile; nothing has run yet."""
    return submitted(web, SPEC.replace("NAME", f'"{HOSTILE}"'))


def submitted(web: TestClient, text: str) -> str:
    made = web.post("/api/v1/sweeps", content=text, headers={"Content-Type": "application/yaml"})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.fixture
def measured(sweep_id: str, engine: Engine) -> str:
    """The same sweep with its first four seeds ended: right, wrong, diverged, failed."""
    with writing(engine) as conn:
        start_sweep(conn, sweep_id)
    end_next(engine, sweep_id, "finished", wrong=0)
    end_next(engine, sweep_id, "finished", wrong=4)
    end_next(engine, sweep_id, "diverged", wrong=4)
    with writing(engine) as conn:
        pack = claim_pack(conn, sweep_id, owner="test", epoch=1, lease_seconds=60)
        assert pack is not None
        fail_pack(conn, pack.pack_id, pack.fence, f"RuntimeError: {HOSTILE}")
    return sweep_id


def end_next(engine: Engine, sweep_id: str, state: str, *, wrong: int) -> None:
    with writing(engine) as conn:
        pack = claim_pack(conn, sweep_id, owner="test", epoch=1, lease_seconds=60)
        assert pack is not None
        (seed,) = pack.seeds
        rows = Rows(evaluations=[evaluation(seed, wrong)])
        ended = Ended(seed=seed, state=state, step=20, reason=f"because {HOSTILE}")
        lease = Lease(pack_id=pack.pack_id, fence=pack.fence, seconds=60)
        note_engine(conn, lease, [seed], engine="native", instruction_set="avx2")
        end_seed(conn, lease, rows, ended, wall_seconds=131.0)


def evaluation(seed: int, wrong: int) -> dict[str, Any]:
    return {
        "seed": seed, "step": 20, "task": "dup", "length": 16, "sequences": 4,
        "wrong_sequences": wrong, "symbols": 128, "wrong_symbols": wrong,
    }  # fmt: skip


def page(web: TestClient, path: str) -> str:
    response = web.get(path, headers=HTML)
    assert response.status_code == 200, response.text
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    return response.text


def plain(html: str) -> str:
    """The words of a page, without marks and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_without_sweeps_the_list_tells_three_ways_to_submit_one(web: TestClient) -> None:
    text = page(web, "/")

    assert 'href="/new"' in text
    assert "ngpu sweep submit" in text
    assert "curl --data-binary" in text


@pytest.mark.parametrize(
    "path", ["/", "/sweeps/{}", "/seeds/1", "/seeds/4", "/new", "/tasks", "/help"]
)
def test_no_text_of_a_user_becomes_markup_and_nothing_is_inline(
    web: TestClient, measured: str, path: str
) -> None:
    text = page(web, path.format(measured))

    assert "<script>alert" not in text
    assert Links(text).inline == []


def test_every_task_has_an_example_and_a_page(web: TestClient) -> None:
    text = page(web, "/tasks")
    assert {f"/tasks/{name}" for name in TASKS} <= Links(text).found
    assert text.count("<section") == len({task.family for task in TASKS.values()})
    for name in ("sbaddet", "bexpra", "left-shift"):
        assert f"<h1>{name}</h1>" in page(web, f"/tasks/{name}")


def test_a_task_s_page_shows_problems_of_the_length_asked_for(web: TestClient) -> None:
    text = plain(page(web, "/tasks/badde?length=9&seed=4"))
    shown = TASKS["badde"].example(stream(4, "example badde 9"), 9)
    assert " → ".join(shown) in text
    assert "Problems of length 9" in text


def test_a_task_s_page_says_which_lengths_there_are(web: TestClient) -> None:
    assert "nearest is 9 or 11" in page(web, "/tasks/badd?length=10")
    answer = web.get("/tasks/baddd", headers=HTML)
    assert answer.status_code == 404
    assert "the nearest name is" in answer.text


@BOTH
def test_every_address_on_the_pages_answers(web: TestClient, measured: str) -> None:
    pages = ("/", f"/sweeps/{measured}", "/seeds/1", "/new", "/help", "/tasks/badd")
    found = {link for path in pages for link in Links(page(web, path)).found}
    addresses = {link.split("#")[0] for link in found if link.startswith("/")} - {""}

    assert len(addresses) > 25
    refused = {link: web.get(link).status_code for link in addresses}
    assert {link for link, status in refused.items() if status != 200} == set()
    assert all(link.startswith(("/", "?", "#")) for link in found), "an address leads outside"


@BOTH
def test_the_table_shows_what_the_view_says(web: TestClient, measured: str, engine: Engine) -> None:
    with reading(engine) as conn:
        row = success(conn, measured)[0]
    text = plain(page(web, f"/sweeps/{measured}"))

    assert (row["succeeded"], row["counted"], row["excluded"]) == (1, 3, 1)
    assert "1 / 3 of 4 · 6–79" in text
    assert "ever 1 / 3 · final 1 / 3" in text
    assert "not in the grid" in text


def test_the_caption_states_rule_interval_and_denominators(web: TestClient, measured: str) -> None:
    text = plain(page(web, f"/sweeps/{measured}"))

    assert "sequence error at length 16 on every task tested was below 50 % at some test" in text
    assert "Wilson" in text
    assert "Of 12 seed runs requested, 3 are counted, 1 of them diverged" in text
    assert "1 failed and 0 cancelled are excluded" in text
    assert "8 have not ended" in text


def test_a_sweep_that_has_not_begun_explains_what_will_appear(
    web: TestClient, sweep_id: str
) -> None:
    text = plain(page(web, f"/sweeps/{sweep_id}"))

    assert "0 finished · 0 running · 12 waiting of 12 seed runs" in text
    assert "No seed has been measured yet" in text
    assert "This sweep tests no carries" in text
    assert "None so far" in text


@pytest.mark.parametrize("part", ["progress", "success", "curves", "carries", "failures", "seeds"])
def test_a_refreshed_part_is_the_part_of_the_page(
    web: TestClient, measured: str, part: str
) -> None:
    whole = plain(page(web, f"/sweeps/{measured}"))
    again = plain(page(web, f"/sweeps/{measured}/{part}"))

    # Rates and times left move on between two reads.
    assert again.split("—")[0].strip() in whole


def test_curves_of_many_values_follow_their_page(
    web: TestClient, measured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = page(web, f"/sweeps/{measured}")
    monkeypatch.setattr(sweep_parts, "CURVE_VALUES_AT_ONCE", 0)
    later = page(web, f"/sweeps/{measured}")
    part = page(web, f"/sweeps/{measured}/curves")

    fetched = f'hx-get="/sweeps/{measured}/curves"'
    (soon,) = re.findall(rf'{fetched}[^>]*hx-trigger="load, [^>]*>(.*?)</section>', later, re.S)
    assert "data-chart" not in soon
    assert "the curves take a moment" in soon
    assert part.strip() in at_once
    assert "data-chart" in part
    assert fetched in at_once
    assert 'hx-trigger="load' not in at_once


def test_seed_pages_say_what_became_of_the_seed_and_what_differs(
    web: TestClient, measured: str
) -> None:
    right, wrong, diverged, failed = (plain(page(web, f"/seeds/{n}")) for n in (1, 2, 3, 4))

    assert "first below 50 % at step 20" in right
    assert "Finished without fulfilling the success rule" in wrong
    assert "counts as not successful" in diverged
    assert "excluded from the fraction" in failed
    assert "training.max_steps 20 20000" in right
    assert "2 m 11 s" in right
    assert "engine native instruction set avx2" in right


def test_a_seed_is_drawn_in_the_error_its_success_rule_reads(
    web: TestClient, engine: Engine
) -> None:
    text = SPEC.replace("NAME", "symbols").replace("below: 0.5", "below: 0.5, metric: symbol_error")
    sweep_id = submitted(web, text)
    with writing(engine) as conn:
        start_sweep(conn, sweep_id)
    end_next(engine, sweep_id, "finished", wrong=4)
    html = page(web, "/seeds/1")
    drawn = html.split("Error while training")[1].split("Error by length")[0]

    assert '"title": "symbol error"' in drawn
    assert '"error": 0.03125' in drawn
    assert "symbol error of seed 0 on dup against step" in drawn
    assert "Share of wrong symbols" in drawn
    assert "sequence error" not in drawn


def test_a_cancelled_sweep_offers_what_the_api_permits(web: TestClient, sweep_id: str) -> None:
    open_now = page(web, f"/sweeps/{sweep_id}")
    assert web.post(f"/api/v1/sweeps/{sweep_id}/cancel").status_code == 200
    cancelled = page(web, f"/sweeps/{sweep_id}")

    assert "Extend…" in open_now
    assert 'id="open-retry' not in open_now
    assert 'id="open-retry-cancelled"' in cancelled
    assert 'id="open-extend"' not in cancelled
    assert 'id="open-cancel"' not in cancelled
    (action,) = re.findall(r'action="([^"]*\?cancelled=true)"', cancelled)
    assert web.post(action).json()["queued"] == 12


def test_a_sweep_offers_to_pause_or_to_resume_and_says_where_it_is_going(
    web: TestClient, sweep_id: str, engine: Engine
) -> None:
    open_now = page(web, f"/sweeps/{sweep_id}")
    with writing(engine) as conn:
        claim_pack(conn, sweep_id, owner="test", epoch=1, lease_seconds=30)
    assert web.post(f"/api/v1/sweeps/{sweep_id}/pause").status_code == 200
    pausing = page(web, f"/sweeps/{sweep_id}")
    assert web.post(f"/api/v1/sweeps/{sweep_id}/stop").status_code == 200
    stopping = page(web, f"/sweeps/{sweep_id}")

    assert "Pause…" in open_now
    assert "Resume…" not in open_now.split("<dialog")[0]
    assert ">pausing</span>" in pausing
    assert "Resume…" in pausing
    assert ">stopping</span>" in stopping
    assert "Stop…" not in stopping


def test_an_ended_sweep_promises_nothing(web: TestClient, sweep_id: str) -> None:
    web.post(f"/api/v1/sweeps/{sweep_id}/cancel")
    text = plain(page(web, f"/sweeps/{sweep_id}"))
    seed = plain(page(web, "/seeds/1"))

    assert "No seed was measured before the sweep ended" in text
    assert "None: no seed failed or diverged, and none finished" in text
    assert "yet" not in text
    assert "It ended before it was tested" in seed


def test_seeds_that_diverged_before_their_carries_were_tested_are_stated(
    web: TestClient, engine: Engine
) -> None:
    text = (
        SPEC.replace("NAME", "carries")
        .replace("[dup]", "[badd]")
        .replace("[8]", "[9]")
        .replace("16", "17")
        .replace("sequences: 4}", "sequences: 4, carry_limit: 5}")
    )
    sweep_id = submitted(web, text)
    with writing(engine) as conn:
        start_sweep(conn, sweep_id)
    end_next(engine, sweep_id, "diverged", wrong=4)
    sweep, diverged, waiting = (
        plain(page(web, path)) for path in (f"/sweeps/{sweep_id}", "/seeds/1", "/seeds/2")
    )

    assert "0 of 1 counted seeds tested; 1 diverged before the test; 3 have not ended." in sweep
    assert "It diverged before it was tested with carries." in diverged
    assert "evaluation.carry_limit does" not in diverged
    assert "Carries of up to 5 digits are tested when it has finished." in waiting


@pytest.mark.parametrize("configuration", ["999", "x", "9" * 20])
def test_a_configuration_the_sweep_has_not_is_no_page(
    web: TestClient, sweep_id: str, configuration: str
) -> None:
    answer = web.get(f"/sweeps/{sweep_id}?configuration={configuration}", headers=HTML)

    assert answer.status_code == 404
    assert f"has no configuration {configuration}" in answer.text
    assert HOSTILE not in answer.text


def test_what_is_not_there_is_a_page_for_people_and_a_problem_for_programs(
    web: TestClient,
) -> None:
    for path in ("/sweeps/none", "/seeds/999", "/seeds/none", "/nowhere"):
        people, programs = web.get(path, headers=HTML), web.get(path)

        assert people.status_code == 404
        assert "There is no such page" in people.text
        assert programs.headers["Content-Type"] == "application/problem+json"


def test_static_files_named_with_their_digest_are_kept(web: TestClient) -> None:
    style = next(link for link in Links(page(web, "/help")).found if "style.css" in link)

    assert "immutable" in web.get(style).headers["Cache-Control"]
    assert web.get("/static/style.css").headers["Cache-Control"] == "no-cache"
