"""What the logs say about one seed run, in either format, through Ray, and over REST."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.control.processes import spawn
from service.seed_logs import read_log, seed_log
from service.settings import Settings
from tests.service.training import ADDITION, submitted

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])

PROGRAM = """
import structlog
from service.logs import configure_logging
configure_logging({format!r}, sweep="01A")
log = structlog.get_logger()
log.info("trial started", configuration=1, pack=5, seeds=[1, 11], resumed_at=0)
log.info("seed ended", configuration=1, pack=5, seeds=[11], reason='a "quoted" one')
log.info("trial started", configuration=2, pack=6, seeds=[1])
try:
    raise ValueError("two\\nlines")
except ValueError:
    log.exception("trial broke", configuration=1, pack=5, seeds=[1, 11])
"""


def written(log_format: str) -> str:
    program = PROGRAM.format(format=log_format)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "before", ["", "(Trainable.train pid=4711) ", "(train pid=1, ip=10.0.0.2) "]
)
def test_lines_of_either_format_are_read_back(log_format: str, before: str, tmp_path: Path) -> None:
    file = tmp_path / "01A.log"
    lines = written(log_format).splitlines()
    file.write_text("\n".join(f"{before}{line}" for line in ["from elsewhere", *lines]) + "\n")

    of_1 = seed_log(file, configuration_id=1, seed=1, limit=10)
    of_11 = seed_log(file, configuration_id=1, seed=11, limit=10)

    assert [line.event for line in of_1] == ["trial started", "trial broke"]
    assert [line.event for line in of_11] == ["trial started", "seed ended", "trial broke"]
    assert of_11[1].fields["reason"] == 'a "quoted" one'
    assert of_11[1].fields["sweep"] == "01A"
    assert of_1[0].level == "info"
    assert of_1[0].timestamp.startswith("20")
    assert "ValueError: two" in str(of_1[1].text)
    assert [line.event for line in seed_log(file, configuration_id=1, seed=11, limit=1)] == [
        "trial broke"
    ]
    assert seed_log(file, configuration_id=1, seed=2, limit=10) == []


def test_what_is_no_line_of_a_log_belongs_to_the_one_before() -> None:
    [line] = read_log(["{broken", "timestamp=1 level=info event=x seeds=[3]\n", "below\n", "{}\n"])
    assert (line.event, line.fields, line.text) == ("x", {"seeds": "[3]"}, "below\n{}")


@on_sqlite
def test_a_runner_s_log_is_told_by_seed_over_rest(
    web: TestClient, engine: Engine, settings: Settings
) -> None:
    sweep = submitted(web, ADDITION)
    seeds = web.get(f"/api/v1/sweeps/{sweep}/seeds").json()["items"]
    url = f"/api/v1/seeds/{seeds[0]['seed_run_id']}/logs"
    assert web.get(url).json() == {"items": [], "next_cursor": None}

    runner = spawn(
        "service.control.runner",
        ["--sweep", sweep],
        environment=settings.environment(),
        log=settings.logs / f"{sweep}.log",
    )
    assert runner.wait(timeout=120) == 0
    for seed in seeds:
        lines = web.get(f"/api/v1/seeds/{seed['seed_run_id']}/logs").json()["items"]
        assert [line["event"] for line in lines] == ["trial started", "seed ended", "trial ended"]
        ended = lines[1]["fields"]
        assert ended["sweep"] == sweep
        assert ended["configuration"] == str(seed["configuration_id"])
        assert (ended["seeds"], ended["outcome"]) == (f"[{seed['seed']}]", "finished")
    assert web.get(f"{url}?limit=1").json()["items"][0]["event"] == "trial ended"
    assert web.get("/api/v1/seeds/999999/logs").status_code == 404
