"""How busy the machine is with other things than the soak."""

import os
import time

import psutil

from tests.soak.stack import Stack

#: Seconds between two samples.
SAMPLE_SECONDS = 10.0


class OthersLoad:
    """Processors that processes outside the soak use: the mean since the last `reset`."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ours: dict[tuple[int, float], bool] = {}
        self._seconds = self._used = 0.0
        self._loads: list[float] = []
        self._at = time.monotonic()
        self._times = self._others()

    def reset(self) -> None:
        """Begin anew."""
        self._seconds = self._used = 0.0
        self._loads = []

    def look(self) -> None:
        """Sample, if it is time."""
        now = time.monotonic()
        if now - self._at < SAMPLE_SECONDS:
            return
        times = self._others()
        self._used += sum(
            max(0.0, seconds - self._times.get(one, 0.0)) for one, seconds in times.items()
        )
        self._seconds += now - self._at
        self._loads.append(os.getloadavg()[0])
        self._at, self._times = now, times

    @property
    def processors(self) -> float:
        """Processors used by others, in the mean."""
        return self._used / self._seconds if self._seconds else 0.0

    @property
    def load_average(self) -> float:
        """The machine's load average of a minute, in the mean; the soak is in it."""
        return sum(self._loads) / len(self._loads) if self._loads else os.getloadavg()[0]

    def _others(self) -> dict[tuple[int, float], float]:
        """Processor seconds used so far, by process."""
        found = {}
        for one in psutil.process_iter(["pid", "create_time", "cpu_times"]):
            info = one.info
            if info["cpu_times"] is None or self._is_ours(one):
                continue
            key = (info["pid"], info["create_time"])
            found[key] = info["cpu_times"].user + info["cpu_times"].system
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        key = (process.info["pid"], process.info["create_time"])
        if key not in self._ours:
            self._ours[key] = process.pid == os.getpid() or self._belongs(process)
        return self._ours[key]

    def _belongs(self, process: psutil.Process) -> bool:
        if self._stack.owns(process):
            return True
        try:
            # The database server's processes stand in the folder of its data.
            folder = getattr(self._stack.database, "folder", None)
            return folder is not None and process.cwd().startswith(str(folder))
        except psutil.Error:
            return False
