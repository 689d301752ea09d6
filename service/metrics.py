"""`/metrics`: the record and the web process in Prometheus' text format.

Numbers about the record are asked for when they are scraped, at most once in `FRESH_SECONDS`
however many ask, so every web process tells the same. Requests and database errors are those of
this process.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.engine import reading
from db.metrics import RecordMetrics, record_metrics
from service.access import authorize
from service.control.scheduler import LEADERSHIP

#: Seconds for which an answer of the record is told again.
FRESH_SECONDS = 2.0
#: Label of requests to what is no route: every made-up address must not become a series.
NO_ROUTE = "none"
#: And of those to the folder of static files.
FILES = "files"

router = APIRouter(include_in_schema=False)

_BY_STATE = {
    "sweeps": "Sweeps by state",
    "packs": "Packs by state",
    "seed_runs": "Seed runs by state",
}
_NUMBERS = {
    "seed_steps": "Training steps of all seed runs in the record; falls when one starts over",
    "seed_steps_per_second": "Training steps a second, added up over the seed runs that train",
    "queue_age_seconds": "How long the pack has waited that has waited longest, 0 without one",
    "writer_lag_seconds": "How long ago the most silent worker wrote, 0 when none trains",
    "leases_expired": "Packs held under a lease that has run out",
    "leads": "Whether a scheduler holds the leadership",
}


class _Record(Collector):
    """The record's numbers, asked for by the scrape."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._last: RecordMetrics | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One family a number; without the record only that it does not answer."""
        found = self._ask()
        up = "Whether the record answered"
        yield GaugeMetricFamily("ngpu_record_up", up, value=found is not None)
        if found is None:
            return
        for name, help_text in _BY_STATE.items():
            family = GaugeMetricFamily(f"ngpu_{name}", help_text, labels=["state"])
            for state, number in getattr(found, name).items():
                family.add_metric([state], number)
            yield family
        for name, help_text in _NUMBERS.items():
            public = "ngpu_scheduler_leads" if name == "leads" else f"ngpu_{name}"
            yield GaugeMetricFamily(public, help_text, value=getattr(found, name))

    def _ask(self) -> RecordMetrics | None:
        with self._lock:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._last = self._read()
                self._asked = time.monotonic()
            return self._last

    def _read(self) -> RecordMetrics | None:
        if self.engine is None:
            return None
        try:
            with reading(self.engine) as conn:
                return record_metrics(conn, leadership=LEADERSHIP)
        except SQLAlchemyError:
            return None


@dataclass(frozen=True)
class Metrics:
    """The metrics of one web process."""

    registry: CollectorRegistry
    record: _Record
    requests: Counter
    seconds: Histogram
    database_errors: Counter

    def watch(self, engine: Engine) -> None:
        """Tell about this record, and count what goes wrong with its database."""
        self.record.engine = engine
        event.listen(engine, "handle_error", self._count_error)

    def _count_error(self, context: ExceptionContext) -> None:
        self.database_errors.labels(kind=type(context.original_exception).__name__).inc()


def install(app: FastAPI) -> Metrics:
    """Count the app's requests, and serve `/metrics`."""
    disable_created_metrics()
    registry = CollectorRegistry()
    record = _Record()
    registry.register(record)
    ProcessCollector(registry=registry)
    metrics = Metrics(
        registry=registry,
        record=record,
        requests=Counter(
            "ngpu_http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=registry,
        ),
        seconds=Histogram(
            "ngpu_http_request_seconds",
            "Time until an answer began",
            ["method", "route"],
            registry=registry,
        ),
        database_errors=Counter(
            "ngpu_database_errors",
            "What the database raised in this web process",
            ["kind"],
            registry=registry,
        ),
    )
    app.state.metrics = metrics
    app.add_middleware(_Counting, metrics=metrics)
    app.include_router(router)
    return metrics


@router.get("/metrics", dependencies=[Depends(authorize)])
def show_metrics(request: Request) -> Response:
    """Everything in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


class _Counting:
    """Counts each request when its answer begins: a stream may last for days."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counted)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = _method(scope), _route(scope)
        self._metrics.requests.labels(method=method, route=route, status=str(status)).inc()
        self._metrics.seconds.labels(method=method, route=route).observe(seconds)


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return scope["method"] if scope["method"] in known else "other"


def _route(scope: Scope) -> str:
    """The address with its parameters unfilled, so that series stay few."""
    route: Any = scope.get("route")
    if route is None:
        return FILES if "endpoint" in scope else NO_ROUTE
    # The route knows its address below its router's prefix only; no parameter holds a slash.
    here, own = scope["path"].split("/"), route.path.split("/")[1:]
    return "/".join([*here[: len(here) - len(own)], *own])
