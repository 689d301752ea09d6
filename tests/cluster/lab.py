"""A lab that uses the deployed service: submits over REST, reads the record, breaks things."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, func, select

from db.engine import open_engine, reading, writing
from db.events import events_since
from db.models import packs, seed_runs, sweeps, training_epochs
from db.states import PackState
from db.submission import submit
from service.submission import new_sweep
from sweeps.local_runner import run_locally
from sweeps.spec import load_spec
from sweeps.text import read_document
from tests.cluster.containers import Container, Project, wait_until
from tests.sweeps.tiny import open_record, queue_of, recorders, results

#: Four seeds that train for about half a minute each when two cores are theirs.
SPEC = """
name: cluster
base:
  model: {filters: 2, height: 2, input_symbols: 5, output_symbols: 5, weight_copies: 2}
  training: {tasks: [rev], max_steps: STEPS, batch_size: 8, min_length: 1, max_length: 3,
             bins: [3, 6], steps_per_epoch: 800}
  evaluation: {tasks: [rev], lengths: [2, 6], sequences: 8, every: 1600}
seeds: {count: 4}
success: {length: 6, below: 0.5}
resources: {cpu: 1, seeds_per_trial: 1}
"""
ACTOR = "Trainable"
_DEATH = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ")


def spec_of(steps: int) -> str:
    """The sweep, with so many training steps."""
    return SPEC.replace("STEPS", str(steps))


@cache
def undisturbed(steps: int) -> dict[str, list[tuple[Any, ...]]]:
    """What the sweep measures in one process, on SQLite, when nothing happens to it."""
    with TemporaryDirectory() as folder:
        url, engine = open_record(Path(folder))
        with writing(engine) as conn:
            sweep = submit(conn, new_sweep(load_spec(read_document(spec_of(steps), "yaml"))))[0]
        run_locally(queue_of(url, engine, sweep), recorders(url), Path(folder))
        found = results(engine, sweep)
        engine.dispose()
        return found


class Lab:
    """The project, and what a user and an operator do with it."""

    def __init__(self, project: Project, token: str) -> None:
        self.project = project
        self.token = token
        project.up("api", "scheduler", "ray-worker")
        self.workers = project.scale("ray-worker", 3)
        self.engine: Engine = open_engine(project.record_url)
        self.await_nodes(5)

    @property
    def head(self) -> Container:
        return self.project.containers["ray-head"]

    @property
    def api(self) -> Container:
        return self.project.containers["api"]

    @property
    def scheduler(self) -> Container:
        return self.project.containers["scheduler"]

    def ngpu(self, *words: str, text: str | None = None, check: bool = True) -> Any:
        """`ngpu` beside the web process, as `docker compose exec api ngpu …`; what it prints."""
        done = self.api.run(
            "ngpu", *words, "-o", "json", text=text, check=check, NGPU_TOKEN=self.token
        )
        return json.loads(done.stdout)

    def spec(self, steps: int, *, seeds: int) -> str:
        """The sweep, with more seeds."""
        return spec_of(steps).replace("count: 4", f"count: {seeds}")

    def submit(self, steps: int) -> str:
        """The id of a new sweep, submitted over REST."""
        return self.ngpu("sweep", "submit", "-", "--new", text=spec_of(steps))["id"]

    def tokens(self) -> list[dict[str, Any]]:
        """Who may use the service."""
        return json.loads(self.api.run("ngpu", "token", "list", "-o", "json").stdout)

    def state(self, sweep: str) -> str:
        with reading(self.engine) as conn:
            return conn.execute(select(sweeps.c.state).where(sweeps.c.id == sweep)).scalar_one()

    def rows(self, sweep: str) -> int:
        """Training rows written so far."""
        query = select(func.count()).select_from(training_epochs.join(seed_runs))
        with reading(self.engine) as conn:
            return conn.execute(query.where(seed_runs.c.sweep_id == sweep)).scalar_one()

    def rows_again(self, sweep: str) -> int:
        """Training rows written by those who took over a pack from others."""
        query = select(func.count()).select_from(training_epochs.join(seed_runs))
        again = (seed_runs.c.sweep_id == sweep) & (training_epochs.c.fence > 1)
        with reading(self.engine) as conn:
            return conn.execute(query.where(again)).scalar_one()

    def fences(self, sweep: str) -> list[int]:
        """How often each pack was leased."""
        query = select(packs.c.fence).where(packs.c.sweep_id == sweep).order_by(packs.c.id)
        with reading(self.engine) as conn:
            return list(conn.execute(query).scalars())

    def leased_again(self, sweep: str) -> bool:
        """Whether a worker holds a pack that another held before."""
        p = packs.c
        query = select(p.id).where(p.sweep_id == sweep, p.state == PackState.LEASED, p.fence > 1)
        with reading(self.engine) as conn:
            return conn.execute(query).first() is not None

    def kinds(self, sweep: str) -> list[str]:
        """What has happened to the sweep."""
        with reading(self.engine) as conn:
            return [event["kind"] for event in events_since(conn, sweep)]

    def busy(self) -> list[Container]:
        """Workers with an actor, those with the most first."""
        found = [(len(one.processes(ACTOR)), one) for one in self.workers]
        return [one for count, one in sorted(found, key=lambda it: -it[0]) if count]

    def await_rows(self, sweep: str, more: int = 8, seconds: float = 240) -> float:
        """Wait until more rows are there than now; the seconds it took."""
        before = self.rows(sweep)
        return self.until(lambda: self.rows(sweep) >= before + more, seconds)

    def await_end(self, sweep: str, seconds: float = 480) -> float:
        return self.until(lambda: self.state(sweep) == "finished", seconds)

    def until(self, condition: Callable[[], bool], seconds: float) -> float:
        return wait_until(condition, seconds, self.project.logs)

    def assert_whole(self, sweep: str, steps: int) -> None:
        """Every row once, with the values of the undisturbed run, and proven by `verify`."""
        assert results(self.engine, sweep) == undisturbed(steps), self.project.logs()
        report = self.ngpu("sweep", "verify", sweep)
        assert report["holds"], report
        assert report["checkpoints_read"] == 4

    def alive_nodes(self) -> list[str]:
        """Addresses of the nodes that Ray counts as alive."""
        asked = self.head.run("python", "-c", _NODES, check=False)
        return asked.stdout.split() if asked.returncode == 0 else []

    def await_nodes(self, count: int, seconds: float = 180) -> float:
        return self.until(lambda: len(self.alive_nodes()) == count, seconds)

    def declared_dead(self, node: Container, after: float) -> float | None:
        """When Ray's head gave a node up, by its own log; None while it has not."""
        first = self.head.init()
        if first is None:
            return None
        logs = Path(f"/proc/{first.pid}/root/tmp/ray").glob("session_2*/logs/gcs_server.out")
        for line in (line for one in logs for line in one.read_text().splitlines()):
            if "death reason" in line and line.endswith(f"node_name={node.addresses[0]}"):
                moment = _DEATH.match(line)
                assert moment is not None, line
                when = datetime.fromisoformat(moment[1].replace(",", ".")).timestamp()
                if when >= after:
                    return when
        return None


_NODES = """
import ray
ray.init("ray-head:6379", logging_level="error", log_to_driver=False)
print(*[node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]])
"""
