"""Templates to HTML responses: the environment, its filters, and the headers every page carries."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from inspect import isawaitable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from service import formats
from service.dashboard.success_table import too_few
from service.headers import SECURE
from service.outcomes import outcome, outcome_words, standing
from service.sentences import carry, digits, measured, no_carries, verdict, why

HERE = Path(__file__).parent.parent
STATIC = HERE / "static"

#: Nothing from outside, nothing inline. Vega positions its text by style attributes.
HEADERS: Mapping[str, str] = {
    **SECURE,
    "Content-Security-Policy": "default-src 'self'; style-src 'self'; style-src-attr "
    "'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    # A page shows the record as it is now.
    "Cache-Control": "no-store",
}

#: Seed runs by state, as a progress bar draws them: colour, column, words.
BAR = (
    ("finished", "finished", "finished"),
    ("diverged", "diverged", "diverged"),
    ("failed", "failed", "failed"),
    ("cancelled", "cancelled", "cancelled"),
    ("running", "running", "running"),
    ("pending", "pending", "waiting"),
)


def bar_parts(
    counts: Mapping[str, Any], max_steps: float | None = None
) -> list[tuple[str, int, str, float]]:
    """Counts by state as (colour, count, words, seed runs' worth of colour), as they are drawn.

    Args:
        counts: A row of `progress`.
        max_steps: Of a seed run, the mean over the configurations: the running ones are filled by
            the steps they have taken. None fills them like the others.
    """
    parts = [(fill, counts[column] or 0, words) for fill, column, words in BAR]
    return [
        (fill, count, words, count * _filled(counts, max_steps) if fill == "running" else count)
        for fill, count, words in parts
    ]


def _filled(counts: Mapping[str, Any], max_steps: float | None) -> float:
    """The share of the running seed runs' steps that is done, in [0, 1]."""
    whole = counts["running"] * (max_steps or 0)
    if not whole:
        return 1.0
    # What has ended has no steps left, and what waits has all of its own.
    left = counts["steps_total"] - counts["steps_done"] - counts["pending"] * (max_steps or 0)
    return float(min(1.0, max(0.0, 1 - left / whole)))


def ended(counts: Mapping[str, Any]) -> int:
    """Seed runs that will not change any more."""
    return sum(counts[state] for state in ("finished", "diverged", "failed", "cancelled"))


def outcome_counts(seeds: Iterable[Mapping[str, Any]]) -> str:
    """Outcomes of some seeds in words: ``5 generalized, 2 diverged``."""
    counted = Counter(outcome_words(outcome(seed)) for seed in seeds)
    return ", ".join(f"{count} {words}" for words, count in counted.most_common())


@cache
def static(name: str) -> str:
    """Address of a static file, with its digest: a browser may keep it until it changes."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    named = (formats.percent, formats.interval, formats.number, formats.error, formats.duration)
    more = (formats.about, formats.moment, formats.clock, formats.plain, formats.rate)
    words = (carry, digits, measured, no_carries, verdict, why)
    ours = (bar_parts, ended, outcome_counts, outcome, outcome_words, standing, too_few)
    for function in (*named, *more, *words, *ours):
        environment.filters[function.__name__] = function
    environment.globals["static"] = static
    return Jinja2Templates(env=environment)


def render(
    request: Request, template: str, context: Mapping[str, Any], *, status: int = 200
) -> HTMLResponse:
    """One template as a response. Everything a template shows is escaped."""
    return _templates().TemplateResponse(
        request, template, dict(context), status_code=status, headers=dict(HEADERS)
    )


def error_pages(app: FastAPI, login_address: Callable[[Request], str]) -> None:
    """Answer browsers with a page where the app's handlers answer programs with a problem."""
    for kind, handler in list(app.exception_handlers.items()):
        app.exception_handlers[kind] = _for_people(handler, login_address)


def _for_people(
    handler: Callable[..., Any], login_address: Callable[[Request], str]
) -> Callable[..., Any]:
    async def answer(request: Request, error: Exception) -> Response:
        response = handler(request, error)
        if isawaitable(response):
            response = await response
        if request.url.path.startswith("/api/") or not _reads_html(request):
            return response
        if response.status_code == 401:
            return RedirectResponse(login_address(request), status_code=303)
        problem = json.loads(response.body)
        # A mistyped address is, to a reader, an address of nothing.
        status = 404 if response.status_code == 422 else response.status_code
        title = "There is no such page" if status == 404 else problem["title"]
        context = {"title": title, "detail": problem["detail"]}
        page = render(request, "problem.html", context, status=status)
        page.headers.update({k: v for k, v in response.headers.items() if k == "retry-after"})
        return page

    return answer


def _reads_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
