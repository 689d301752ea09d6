"""The real app over a real record, in this process and behind a real socket."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.app import create_app
from service.client import Client
from service.control.recording import SqlQueue, connect_recorder
from service.settings import Settings
from tests.service.api import ADDITION, SWEEPS, submitted

TINY = """
name: tiny
labels: {purpose: test}
base:
  model: {family: diagonal_neural_gpu}
  training: {max_steps: 20, tasks: [dup], bins: [8], steps_per_epoch: 10, batch_size: 2}
  evaluation: {tasks: [dup], lengths: [8, 16], sequences: 4, every: 10}
grid:
  filters: {4: {model.filters: 4}, 6: {model.filters: 6}}
seeds: {count: 3}
success: {length: 16, below: 0.5}
"""


@pytest.fixture
def spec_text() -> str:
    """Two configurations, three seeds each: seconds to train, if anybody does."""
    return TINY


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a service whose record and folder are this test's own."""
    return Settings(
        home=tmp_path / "home",
        database_url=database_url,
        runner="local",
        server_url="http://testserver",  # the name by which `TestClient` asks
    )


@pytest.fixture
def web(settings: Settings) -> Iterator[TestClient]:
    """The app in this process; what it did not expect is a 500, as for any client."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def trained_sweep(web: TestClient, engine: Engine, settings: Settings) -> str:
    """Two seed runs that were really trained, and one that was cancelled after."""
    from sweeps.local_runner import run_locally

    sweep = submitted(web, ADDITION)
    queue = SqlQueue(engine, sweep["id"], 1, "test")
    run_locally(queue, lambda work: connect_recorder(settings.database_url, work), settings.home)
    web.post(f"{SWEEPS}/{sweep['id']}/extend", json={"count": 1})
    web.post(f"{SWEEPS}/{sweep['id']}/cancel")
    return sweep["id"]


@pytest.fixture
def server_url(settings: Settings) -> Iterator[str]:
    """Address of the app behind a socket of this machine."""
    config = uvicorn.Config(
        create_app(settings),
        host="127.0.0.1",
        port=0,
        log_level="error",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended while it started"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(server_url: str) -> Iterator[Client]:
    """A client of the served app."""
    with Client(server_url) as opened:
        yield opened
