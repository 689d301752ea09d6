"""Processes: named for ever, never orphaned; runners that keep failing are held back."""

import os
import subprocess
import sys
import time
from pathlib import Path

from service.control import processes
from service.control.children import MOST_FAILURES, Child, Children
from service.control.processes import ProcessId, lives, this_process
from service.settings import Settings


def failed_child(code: int = 1) -> Child:
    """A process that has ended with an exit status."""
    process = subprocess.Popen([sys.executable, "-S", "-c", f"raise SystemExit({code})"])
    process.wait()
    return Child(process=process)


def test_a_process_lives_only_under_its_own_start_time() -> None:
    me = this_process()
    assert lives(me)
    assert not lives(ProcessId(host=me.host, pid=me.pid, started=me.started + 1))
    assert not lives(ProcessId(host="elsewhere", pid=me.pid, started=me.started))


def test_a_zombie_does_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    deadline = time.monotonic() + 30
    while processes.start_time(child.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}").exists(), "it has not been reaped"
    assert processes.start_time(child.pid) == 0
    child.wait()


def test_a_child_that_ignores_a_request_is_ended_all_the_same() -> None:
    program = "import signal,time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert processes.end(child, grace_seconds=0.2) == -9
    child.stdout.close()


def test_a_runner_that_keeps_failing_is_held_back_and_given_up(tmp_path: Path) -> None:
    children = Children(Settings(home=tmp_path))
    held = []
    for _ in range(MOST_FAILURES - 1):
        children._by_sweep["s"] = failed_child()
        assert list(children.reap()) == []
        held.append(children.held("s"))
    assert not held[0], "the first failure is followed by a new runner at once"
    assert all(held[2:])
    children._by_sweep["s"] = failed_child()
    assert list(children.reap()) == ["s"]
    assert not children.held("s")


def test_a_runner_killed_after_its_sweep_got_on_is_not_counted_with_those_before(
    tmp_path: Path,
) -> None:
    children = Children(Settings(home=tmp_path))
    for steps in range(1, 3 * MOST_FAILURES):
        children._by_sweep["s"] = failed_child(-9)
        assert list(children.reap(lambda _, steps=steps: float(steps))) == []
        assert not children.held("s")
    for _ in range(MOST_FAILURES - 2):
        children._by_sweep["s"] = failed_child(-9)
        assert list(children.reap(lambda _: float(steps))) == []
    children._by_sweep["s"] = failed_child(-9)
    assert list(children.reap(lambda _: float(steps))) == ["s"]


def test_a_runner_that_ends_in_order_or_was_asked_to_is_no_failure(tmp_path: Path) -> None:
    children = Children(Settings(home=tmp_path))
    children._by_sweep = {"a": failed_child(0), "b": failed_child(1)}
    children._by_sweep["b"].asked = time.monotonic()
    assert list(children.reap()) == []
    assert not children.held("a")
    assert not children.held("b")
    assert children.get("a") is children.get("b") is None


def test_only_a_process_that_lost_its_parent_is_orphaned() -> None:
    assert not processes.orphaned(os.getppid())
    assert processes.orphaned(os.getpid())
