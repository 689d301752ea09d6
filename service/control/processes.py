"""Child processes: named for ever by pid and start time, ended with certainty, never orphaned."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at whether the parent still lives.
PARENT_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class ProcessId:
    """One process for ever: pids are used again, a pid with its start time is not."""

    host: str
    pid: int
    #: Clock ticks since the machine started; 0 where the system does not tell.
    started: int


def this_process() -> ProcessId:
    """The calling process."""
    return ProcessId(host=socket.gethostname(), pid=os.getpid(), started=start_time(os.getpid()))


def start_time(pid: int) -> int:
    """When a process started, in clock ticks; 0 when it does not run (zombies do not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name, in parentheses, may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def lives(process: ProcessId) -> bool:
    """Whether a process of this host still runs, and is the same one."""
    if process.host != socket.gethostname() or process.pid <= 0:
        return False
    if Path("/proc/self/stat").exists():
        return start_time(process.pid) == process.started != 0
    try:
        os.kill(process.pid, 0)
    except OSError:
        return False
    return True


def spawn(
    module: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path | None
) -> subprocess.Popen[bytes]:
    """Start `python -m module` in a session of its own, so that a Ctrl-C reaches only its parent.

    Args:
        module: Of this program.
        arguments: Its command line.
        environment: Variables added to this process's own.
        log: File its output is appended to; None shares this process's output.
    """
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", module, *arguments]
    if log is None:
        return subprocess.Popen(command, env=variables, start_new_session=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=variables,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def end(child: subprocess.Popen[bytes], *, grace_seconds: float) -> int:
    """Ask a child to end, insist after the grace, and return its exit status."""
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def orphaned(parent: int) -> bool:
    """Whether the process that started this one is gone."""
    return os.getppid() != parent


def exit_when_orphaned(parent: int, leave: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Watch the parent in a thread and leave when it dies, however it dies."""

    def watch() -> None:
        while not orphaned(parent):
            time.sleep(PARENT_POLL_SECONDS)
        leave()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT instead of dying; main thread only."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def usable_cpus() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
