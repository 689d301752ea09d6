"""A real Chromium against the real app over a real record."""

import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.service.conftest import server_url, settings  # noqa: F401

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: A loaded machine trains slowly; a page that is right does not wait for this.
PATIENCE_MS = 60_000
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture
def backend() -> str:
    """The pages ask the named queries, which db's own tests run on both databases."""
    return "sqlite"


@pytest.fixture(scope="module")  # its event loop must end before other tests run theirs
def browser() -> Iterator[Browser]:
    """One Chromium with a fresh profile for all tests."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: install it with `apt-get install chromium`")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        expect.set_options(timeout=PATIENCE_MS)
        yield opened
        opened.close()


class Watched:
    """What went wrong in a page, and whom it asked."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str | None] = set()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium itself reports an answer of 401, 404 or 422, which some tests ask for.
        refusal = re.search("the server responded with a status of 4(01|04|22)", message.text)
        if message.type in ("error", "warning") and not refusal:
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).hostname)


@pytest.fixture
def page(browser: Browser, server_url: str) -> Iterator[Page]:  # noqa: F811
    """A page of 1280 px; afterwards it had no error and asked nobody but the service."""
    context = browser.new_context(base_url=server_url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    opened = context.new_page()
    watched = Watched(opened)
    yield opened
    context.close()
    assert watched.errors == []
    assert watched.hosts <= {"127.0.0.1"}
