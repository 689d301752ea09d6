"""A log that cannot be written costs its lines and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import structlog
from service.logs import configure_logging

configure_logging("json", process="runner")
for number in range(1000):
    structlog.get_logger().warning("record away", number=number)
print("trained on")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_on_a_full_disk_ends_nothing() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=full, text=True
        )
    assert done.stdout == "trained on\n"


def test_a_log_that_can_be_written_has_every_line() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 1000
    assert '"number": 999' in lines[-1]
    assert '"process": "runner"' in lines[-1]
