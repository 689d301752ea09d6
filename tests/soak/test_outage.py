"""A runner and a record that is away just when it begins."""

import shutil
import time
from pathlib import Path

import pytest

from db.engine import open_engine, upgrade
from service.control.processes import spawn
from service.settings import Settings
from tests.soak.stack import Postgres
from tests.sweeps.tiny import REVERSE, results, submit_sweep


@pytest.mark.skipif(shutil.which("pg_config") is None, reason="its own PostgreSQL is crashed")
@pytest.mark.slow
def test_a_runner_that_begins_while_the_record_is_away_waits_for_it(tmp_path: Path) -> None:
    database = Postgres()
    try:
        settings = Settings(home=tmp_path, database_url=database.url, runner="local")
        settings.make_home()
        engine = open_engine(database.url)
        upgrade(engine)
        sweep = submit_sweep(engine, [REVERSE], [[0]])
        database.crash()
        log = settings.logs / "runner.log"
        runner = spawn(
            "service.control.runner",
            ["--sweep", sweep],
            environment=settings.environment(),
            log=log,
        )
        try:
            while "record away" not in (text := log.read_text()):
                assert runner.poll() is None, text
                time.sleep(0.1)
            database.start()
            assert runner.wait(timeout=120) == 0, log.read_text()
        finally:
            runner.kill()
        assert [row[2] for row in results(engine, sweep)["seeds"]] == ["finished"]
        engine.dispose()
    finally:
        database.close()
