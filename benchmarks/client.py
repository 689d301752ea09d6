"""The web process on a record, and a client that times its answers over HTTP."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import psutil

from benchmarks.contenders import ROOT
from service.settings import Settings

#: Seconds the web process may take to answer first, and any answer at most.
START_SECONDS = 60.0
ANSWER_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running web process."""

    http: httpx2.Client
    process: psutil.Process

    def milliseconds(self, address: str, repeats: int) -> list[float]:
        """How long each of some answers took, to the last byte."""
        return [self._once(address) for _ in range(repeats)]

    def _once(self, address: str) -> float:
        began = time.perf_counter()
        answer = self.http.get(address)
        took = time.perf_counter() - began
        answer.raise_for_status()
        return 1000 * took

    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        return int(self.process.memory_info().rss)

    def streamed(self, address: str) -> dict[str, Any]:
        """Read an answer as it comes; its size, its lines, and the process's largest memory."""
        before = most = self.resident_bytes()
        size = lines = 0
        began = time.perf_counter()
        first = 0.0
        with self.http.stream("GET", address) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                first = first or time.perf_counter() - began
                size += len(chunk)
                lines += chunk.count(b"\n")
                most = max(most, self.resident_bytes())
        return {
            "milliseconds": 1000 * (time.perf_counter() - began),
            "first_byte_milliseconds": 1000 * first,
            "bytes": size,
            "rows": lines - 1,
            "resident_bytes_before": before,
            "resident_bytes_peak": most,
        }


@contextmanager
def serving(database_url: str, port: int) -> Iterator[Served]:
    """`ngpu api` on a record, ended afterwards."""
    with TemporaryDirectory(prefix="ngpu-bench-") as home:
        settings = Settings(home=Path(home), database_url=database_url, port=port)
        command = [sys.executable, "-m", "service.cli", "api"]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **settings.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with httpx2.Client(base_url=settings.server_url, timeout=ANSWER_SECONDS) as http:
                _wait(http, process)
                yield Served(http=http, process=psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _wait(http: httpx2.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit("the web process ended at once: is the record migrated?")
        try:
            http.get("/api/v1/readyz").raise_for_status()
            return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise SystemExit(f"the web process did not answer within {START_SECONDS:g} s")


def summarized(milliseconds: Sequence[float]) -> Mapping[str, float]:
    """The first, when nothing was read before; the middle; the slowest."""
    return {
        "first": milliseconds[0],
        "median": median(milliseconds),
        "slowest": max(milliseconds),
    }
