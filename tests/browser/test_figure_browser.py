"""The figures of a sweep as a reader meets them."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from tests.browser.test_dashboard import stylesheet_tokens
from tests.service.figure_record import learned, measured

SPEC = """
name: variants
base:
  training: {tasks: [bmul], max_steps: 400}
  evaluation: {lengths: [21, 201], every: 100}
grid:
  variant: {classical: {}, without dropout: {training.dropout: 0.0}}
seeds: {count: 3}
success: {length: 201, below: 0.01}
"""


@pytest.fixture
def sweep(engine: Engine) -> str:
    return measured(engine, SPEC, lambda run, seed: (learned(run, seed, at=0.4), "finished"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_figure_is_found_drawn_and_saved(
    page: Page, sweep: str, scheme: str, tmp_path: Path
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"/sweeps/{sweep}")
    page.get_by_role("link", name=re.compile("Tables and figures")).click()
    expect(page.get_by_role("heading", name="Figures of variants")).to_be_visible()
    page.get_by_role("link", name="figure2", exact=True).click()

    expect(page.locator(".chart[data-drawn=yes]")).to_be_visible()
    tokens = stylesheet_tokens(scheme)
    for token in ("accent", "paper"):
        mark = page.locator(f".chart svg path[fill='{tokens[token]}']")
        expect(mark.first).to_be_visible()
    expect(page.get_by_text("n = 6 of 6 seed runs requested")).to_be_visible()

    with page.expect_download() as saved:
        page.get_by_role("link", name="PNG").click()
    saved.value.save_as(tmp_path / "figure2.png")
    assert (tmp_path / "figure2.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_cannot_be_drawn_says_why(page: Page, sweep: str) -> None:
    page.goto("/figures")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("this sweep has no carry thresholds")).to_be_visible()
    page.goto(f"/sweeps/{sweep}/figures/figure6-right")
    expect(page.get_by_text("cannot show this figure")).to_be_visible()


def test_a_figure_fits_a_phone(page: Page, sweep: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"/sweeps/{sweep}/figures/figure2")
    expect(page.locator(".chart[data-drawn=yes]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
