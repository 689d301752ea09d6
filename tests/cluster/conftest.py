"""The Compose project with three workers, in namespaces of this machine; started once a module."""

import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.cluster.containers import Project, missing
from tests.cluster.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Everything of docker-compose.yml, with workers of two processors each."""
    if reason := missing():
        pytest.skip(f"no containers here: {reason}")
    token = f"ngpu_{secrets.token_hex(6)}_{secrets.token_hex(32)}"
    given = {
        "postgres_password": secrets.token_hex(16) + ":\\\n",
        "ray_token": secrets.token_hex(32) + "\n",
        "admin_token": token + "\n",
    }
    # Namespaces outlive an interrupted run; `down` must have its chance.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project = Project({"WORKER_CPUS": "2"}, given)
    try:
        made = Lab(project, token)
        yield made
        made.engine.dispose()
    finally:
        project.down()
