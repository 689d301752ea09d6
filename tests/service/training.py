"""Sweeps submitted over REST and trained for real, in this process, in seconds."""

from sqlalchemy import Engine
from starlette.testclient import TestClient

from db.engine import writing
from db.runners import register_runner
from db.transitions import finish_sweep, start_sweep
from service.control.recording import connect_queue, connect_recorder
from service.settings import Settings
from sweeps.local_runner import run_locally

#: Two configurations, two seeds each, tested on carries too and probed at lengths 7 and 9.
ADDITION = """
name: addition
base:
  model: {family: neural_gpu, filters: 2, height: 2, weight_copies: 2}
  training: {tasks: [badd], max_steps: 20, min_length: 5, max_length: 7, bins: [8],
             steps_per_epoch: 5, batch_size: 2}
  evaluation: {lengths: [7, 11], sequences: 4, every: 10, carry_limit: 4,
               probes: [lengths], length_limit: 9, length_sequences: 5}
grid:
  dropout: {"0": {training.dropout: 0.0}, "0.1": {training.dropout: 0.1}}
seeds: {count: 2}
success: {length: 11, below: 0.5}
"""


def submitted(web: TestClient, spec: str) -> str:
    """The id of a sweep submitted over REST."""
    answer = web.post("/api/v1/sweeps", content=spec, headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def train(settings: Settings, engine: Engine, sweep_id: str) -> None:
    """Train a sweep to its end, with a checkpoint every epoch."""
    with writing(engine) as conn:
        epoch = register_runner(conn, sweep_id, host="here", pid=1, pid_started=1, lease_seconds=15)
        start_sweep(conn, sweep_id)
    url = settings.database_url
    run_locally(
        connect_queue(url, sweep_id, epoch, "test"),
        lambda work: connect_recorder(url, work),
        settings.checkpoints,
        checkpoint_seconds=0.0,
    )
    with writing(engine) as conn:
        finish_sweep(conn, sweep_id)
