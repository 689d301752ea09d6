"""Leases: a process in which no thread can run ends itself, and says where it was."""

import subprocess
import sys
import time

PROGRAM = """
import ctypes
from sweeps import lease

lease.FROZEN_SECONDS, lease.RENEW_SECONDS = 1.0, 0.1
watch = lease.FreezeWatch()
watch.start()
ctypes.{library}(None).sleep({seconds})
watch.close()
ctypes.PyDLL(None).sleep(2)
"""


def run(library: str, seconds: int) -> tuple[subprocess.CompletedProcess[str], float]:
    program = PROGRAM.format(library=library, seconds=seconds)
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    return ended, time.monotonic() - began


def test_a_process_whose_interpreter_is_held_ends_itself_and_says_where() -> None:
    ended, seconds = run("PyDLL", 60)
    assert ended.returncode == 1
    assert "Timeout (0:00:01)!" in ended.stderr
    assert seconds < 60


def test_a_process_that_computes_without_the_interpreter_is_left_alone() -> None:
    # Longer than the clock runs; and once closed, the clock has stopped.
    ended, _ = run("CDLL", 2)
    assert ended.returncode == 0, ended.stderr
