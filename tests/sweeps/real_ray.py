"""A local Ray cluster with a record, and runners on it, in processes of their own."""

import os
import time
from pathlib import Path

from sqlalchemy import select

from db.engine import reading
from db.models import sweeps
from service.control.local_ray import LocalCluster, ray_environment
from service.control.processes import spawn
from service.settings import Settings
from tests.sweeps.tiny import open_record


class Ray:
    """A local cluster and a record."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, cpus=2)
        self.settings.make_home()
        self.url, self.engine = open_record(home)
        self.cluster = LocalCluster(self.settings)

    def address(self) -> str:
        """Where the cluster is, once it is up."""
        deadline = time.monotonic() + 90
        while (address := self.cluster.address()) is None:
            assert not self.cluster.died(), (self.settings.logs / "ray.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return address

    def run(self, sweep: str, *, seconds: float = 150) -> str:
        """A runner from its start to its end; its log."""
        log = self.settings.logs / f"{sweep}.log"
        arguments = ["--sweep", sweep, "--address", self.address(), "--parent", str(os.getpid())]
        environment = {**self.settings.environment(), **ray_environment(self.settings)}
        runner = spawn("service.control.runner", arguments, environment=environment, log=log)
        try:
            assert runner.wait(timeout=seconds) == 0, log.read_text()
        finally:
            runner.kill()
        return log.read_text()

    def sweep_row(self, sweep: str) -> tuple[str, str | None]:
        """State and error."""
        with reading(self.engine) as conn:
            query = select(sweeps.c.state, sweeps.c.error).where(sweeps.c.id == sweep)
            state, error = conn.execute(query).one()
            return state, error
