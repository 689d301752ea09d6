"""The login page in a real browser: a token opens the pages, and no script gets to see it."""

import re

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from db.engine import writing
from db.states import Role
from db.tokens import create_token
from service.settings import Settings
from tests.service.conftest import settings as open_settings  # noqa: F401


@pytest.fixture
def settings(open_settings: Settings) -> Settings:  # noqa: F811
    """A service that wants tokens."""
    return open_settings.model_copy(update={"require_tokens": True})


@pytest.fixture
def token(engine: Engine) -> str:
    """Of somebody who may read."""
    with writing(engine) as conn:
        return create_token(conn, "reader", Role.READ)


def test_a_reader_logs_in_looks_around_and_logs_out(page: Page, token: str) -> None:
    page.goto("/help?a=1")
    expect(page).to_have_url(re.compile("/login.after="))
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    assert field.get_attribute("type") == "password", "nobody reads it over a shoulder"

    field.fill("not a token")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong, or was revoked")

    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/help\?a=1$"))
    assert "ngpu_token" not in page.evaluate("document.cookie")
    assert page.evaluate("fetch('/api/v1/sweeps').then((answer) => answer.status)") == 200

    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login$"))
    page.goto("/")
    expect(page).to_have_url(re.compile("/login"))
