"""The dashboard as a reader meets it: submit, watch, look at a seed."""

import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

import service
from db.engine import open_engine, writing
from db.submission import cancel, submit
from db.transitions import finish_sweep, start_sweep
from service.submission import new_sweep
from sweeps.local_runner import run_locally
from sweeps.spec import parse_spec
from tests.sweeps.tiny import queue_of, recorders

SPEC = """
name: tiny
labels: {purpose: "a <b>test</b>"}
base:
  model: {family: diagonal_neural_gpu, filters: 4}
  training: {max_steps: 10, tasks: [dup], bins: [8], steps_per_epoch: 5, batch_size: 2}
  evaluation: {tasks: [dup], lengths: [8, 16], sequences: 4, every: 5}
grid:
  noise: {none: {training.gradient_noise: 0.0}, some: {training.gradient_noise: 0.0001}}
  dropout: {none: {training.dropout: 0.0}, some: {training.dropout: 0.1}}
seeds: {count: 2}
success: {length: 16, below: 0.5}
resources: {seeds_per_trial: 2}
"""

STYLE = Path(service.__file__).with_name("static") / "style.css"
#: Whether every chart of the page is drawn.
DRAWN = "[...document.querySelectorAll('.chart')].every((one) => one.dataset.drawn === 'yes')"


def stylesheet_tokens(scheme: str) -> dict[str, str]:
    """The colour tokens as the stylesheet states them: name -> #rrggbb."""
    light, dark = STYLE.read_text().split("@media (prefers-color-scheme: dark)", 1)
    block = light if scheme == "light" else dark.split("}", 1)[0]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block))


def hexadecimal(colour: str) -> str:
    """A browser's `rgb(251, 250, 247)` as `#fbfaf7`."""
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour))


def submitted(engine: Engine, text: str = SPEC) -> str:
    with writing(engine) as conn:
        return submit(conn, new_sweep(parse_spec(text, format="yaml")))[0]


def train(url: str, engine: Engine, sweep_id: str, folder: Path) -> None:
    """Train every seed of a sweep, really, in this process."""
    with writing(engine) as conn:
        start_sweep(conn, sweep_id)
    run_locally(queue_of(url, engine, sweep_id), recorders(url), folder)
    with writing(engine) as conn:
        assert finish_sweep(conn, sweep_id)


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture(scope="module")
def trained_record(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with the sweep trained to its end: four configurations, two seeds each."""
    path = tmp_path_factory.mktemp("trained") / "record.sqlite"
    shutil.copyfile(sqlite_template, path)
    url = f"sqlite:///{path}"
    engine = open_engine(url)
    train(url, engine, submitted(engine), path.parent)
    engine.dispose()
    return path


@pytest.fixture
def trained(trained_record: Path, database_url: str, page: Page) -> str:
    """Address of the sweep of `trained_record`, copied into this test's record."""
    source = sqlite3.connect(trained_record)
    with closing(source), closing(sqlite3.connect(database_url.split("///")[1])) as target:
        source.backup(target)
        return f"/sweeps/{target.execute('select id from sweeps').fetchone()[0]}"


def test_a_spec_is_checked_submitted_and_watched_without_reload(
    page: Page, database_url: str, engine: Engine, tmp_path: Path
) -> None:
    page.goto("/new")
    expect(page.get_by_label("Spec")).to_have_value(re.compile("schema_version: 1"))
    page.get_by_label("Spec").fill(SPEC)
    page.get_by_role("button", name="Check").click()
    expect(page.locator("[data-fill=seed_runs]")).to_have_text("8")
    page.get_by_role("button", name="Submit").click()

    expect(page).to_have_url(re.compile("/sweeps/[0-9A-Z]+$"))
    expect(page.locator("#progress-text")).to_contain_text("0 finished")
    expect(page.locator("#curves")).to_contain_text("No seed has been measured yet")
    page.evaluate("window.sameDocument = true")
    sweep_id = page.url.rsplit("/", 1)[1]
    with meanwhile(lambda: train(database_url, engine, sweep_id, tmp_path)):
        expect(page.locator("#progress-text")).to_contain_text("8 finished")
        expect(page.locator("#progress .chip")).to_have_text("finished")
    expect(page.locator("#success")).to_contain_text(re.compile(r"\d / 2 · \d+–\d+"))
    expect(page.locator("#curves .chart[data-drawn=yes] svg")).to_have_count(4)
    assert page.evaluate("window.sameDocument") is True

    page.locator("#seeds tbody a").first.click()
    expect(page.get_by_role("heading", name="Seed 0")).to_be_visible()
    expect(page.locator(".chart[data-drawn=yes] svg")).to_have_count(2)
    expect(page.get_by_role("region", name="Changed values")).to_contain_text("training.max_steps")


def test_a_wrong_key_is_named_with_its_path_and_the_nearest_one(page: Page) -> None:
    page.goto("/new")
    page.get_by_label("Spec").fill(SPEC.replace("max_steps", "max_stepz"))
    page.get_by_role("button", name="Check").click()

    expect(page.locator(".problems")).to_contain_text("base.training.max_stepz")
    expect(page.locator(".problems")).to_contain_text("did you mean")
    expect(page.locator(".problems")).to_contain_text("max_steps")
    assert page.evaluate("getSelection().toString()") == "max_stepz"


def test_the_same_spec_again_asks_before_it_is_trained_anew(page: Page, engine: Engine) -> None:
    known = submitted(engine)
    page.goto("/new")
    page.get_by_label("Spec").fill(SPEC)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("link", name="tiny")).to_have_attribute("href", f"/sweeps/{known}")

    page.get_by_role("button", name="Run it anew").click()

    expect(page).to_have_url(re.compile("/sweeps/[0-9A-Z]+$"))
    assert not page.url.endswith(known)


def test_a_sweep_is_cancelled_only_after_asking(page: Page, engine: Engine) -> None:
    page.goto(f"/sweeps/{submitted(engine)}")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Let it run").click()
    expect(page.locator("#progress .chip")).to_have_text("queued")

    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the sweep").click()

    expect(page.locator("#progress .chip")).to_have_text("cancelled")
    expect(page.locator("#progress-text")).to_contain_text("8 cancelled of 8 seed runs")


def test_a_cancelled_sweep_is_taken_up_again(page: Page, engine: Engine) -> None:
    sweep_id = submitted(engine)
    with writing(engine) as conn:
        cancel(conn, sweep_id)
    page.goto(f"/sweeps/{sweep_id}")
    expect(page.get_by_role("button", name="Extend…")).to_have_count(0)
    page.get_by_role("button", name="Retry cancelled…").click()
    page.get_by_role("button", name="Retry cancelled", exact=True).click()

    expect(page.locator("#progress .chip")).to_have_text("queued")
    expect(page.locator("#progress-text")).to_contain_text("8 waiting of 8 seed runs")


def test_seeds_are_added_on_the_page(page: Page, engine: Engine) -> None:
    page.goto(f"/sweeps/{submitted(engine)}")
    page.get_by_role("button", name="Extend…").click()
    page.get_by_label("More seeds for each configuration").fill("3")
    page.get_by_role("button", name="Add seeds").click()

    expect(page.locator("#progress-text")).to_contain_text("of 20 seed runs")


def test_the_seeds_narrow_to_a_configuration(page: Page, trained: str) -> None:
    page.goto(trained)
    expect(page.locator("#seeds tbody tr")).to_have_count(8)
    page.get_by_role("combobox", name="Configuration").select_option(index=2)

    expect(page.locator("#seeds tbody tr")).to_have_count(2)
    expect(page.locator("#curves .chart[data-drawn=yes]")).to_have_count(1)


def test_a_phone_never_scrolls_sideways(page: Page, trained: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/", trained, "/seeds/1", "/new", "/help"):
        page.goto(path)
        page.wait_for_function(DRAWN)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} px wide"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_charts_follow_the_tokens_of_the_colour_scheme(
    page: Page, trained: str, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(trained)
    page.wait_for_function(DRAWN)
    tokens = stylesheet_tokens(scheme)

    assert (
        hexadecimal(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        == (tokens["page"])
    )
    line = "#curves svg path[stroke='{}']"
    expect(page.locator(line.format(tokens["accent"])).first).to_be_attached()
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    other = stylesheet_tokens("dark" if scheme == "light" else "light")["accent"]
    expect(page.locator(line.format(other)).first).to_be_attached()


def test_the_keyboard_shows_where_it_is(page: Page, trained: str) -> None:
    page.goto(trained)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")

    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_an_address_of_nothing_has_a_page(page: Page) -> None:
    page.goto("/sweeps/none")

    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.get_by_role("link", name="All sweeps").click()
    expect(page.get_by_role("heading", name="No sweep yet")).to_be_visible()


def test_a_question_is_asked_in_sql_and_saved(page: Page, trained: str) -> None:
    page.goto("/")
    page.get_by_role("link", name="SQL", exact=True).first.click()
    expect(page.get_by_role("heading", name="Ask in SQL")).to_be_visible()
    page.get_by_label("Query").fill("SELECT seed, state FROM seed_results ORDER BY seed")
    page.get_by_role("button", name="Run").click()
    table = page.locator("#rows")
    expect(table.get_by_role("columnheader", name="state")).to_be_visible()
    expect(table.get_by_role("row").nth(1)).to_contain_text("0")

    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    assert saved.value.path().read_text().startswith("seed,state")

    page.get_by_label("Query").fill("DELETE FROM sweeps")
    page.get_by_label("Query").press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("changes nothing")

    page.get_by_role("button", name="How far seeds carry").click()
    expect(page.get_by_label("Query")).to_have_value(re.compile("carry_thresholds"))
    expect(page.locator("#summary")).to_contain_text("row")
