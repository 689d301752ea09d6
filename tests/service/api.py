"""The API as tests ask it: addresses, a spec, what the record holds afterwards."""

from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from starlette.testclient import TestClient

from db import models
from db.engine import reading

YAML = {"Content-Type": "application/yaml"}
SWEEPS = "/api/v1/sweeps"
on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])

#: Two seed runs, tested on carries too; trained within a second.
ADDITION = """
name: addition
base:
  model: {family: diagonal_neural_gpu, filters: 4}
  training: {max_steps: 20, tasks: [badd], bins: [9], steps_per_epoch: 10, batch_size: 2}
  evaluation: {tasks: [badd], lengths: [7, 15], sequences: 4, every: 10, carry_limit: 2,
               probes: [lengths], length_limit: 11, length_sequences: 3}
seeds: {count: 2}
success: {length: 15, below: 0.5}
"""


def submitted(web: TestClient, spec_text: str) -> dict[str, Any]:
    """The sweep that a spec makes."""
    response = web.post(SWEEPS, content=spec_text, headers=YAML)
    assert response.status_code == 201, response.text
    return response.json()


def rows(engine: Engine) -> dict[str, int]:
    """How many rows each table holds."""
    with reading(engine) as conn:
        tables = models.metadata.sorted_tables
        return {each.name: conn.scalar(select(func.count()).select_from(each)) for each in tables}


def all_items(web: TestClient, url: str, limit: int) -> list[dict[str, Any]]:
    """A whole list, page by page."""
    items: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = web.get(url, params=params).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        params["cursor"] = page["next_cursor"]
