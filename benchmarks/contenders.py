"""Processes that compete, and the rounds in which they take turns.

All contenders are started first and then stepped one after the other, round by round, so that
whatever else happens on the machine meets all of them; medians are compared.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def progress(message: str) -> None:
    """Tell a person; results go to standard output."""
    print(message, file=sys.stderr, flush=True)


class Failed(RuntimeError):
    """A contender's process ended."""


class Contender:
    """One or several processes that step together; `wait` before the first step.

    Args:
        name: What the results call it.
        commands: What each process runs, in the repository's root.
        seeds: Seed-steps that one step of one process makes.
        environment: Variables to set.
    """

    def __init__(
        self,
        name: str,
        commands: Sequence[Sequence[str]],
        *,
        seeds: int = 1,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.seeds = seeds * len(commands)
        self._processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )
            for command in commands
        ]
        #: What the first process says of itself once it stands: versions, engine, device.
        self.about: dict[str, Any] = {}

    def wait(self) -> None:
        """Until every process stands.

        Raises:
            Failed: One ended instead.
        """
        told = [self._answer(one)["about"] for one in self._processes]
        self.about = told[0]

    def run(self, steps: int) -> float:
        """Let every process take that many steps; seconds until the last is done."""
        start = time.perf_counter()
        self._ask({"steps": steps})
        return time.perf_counter() - start

    def peak_bytes(self) -> int:
        """Peak memory above what the imports took, one process's mean."""
        answers = self._ask({"peak": 1})
        return round(statistics.mean(answer["peak_bytes"] for answer in answers))

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _ask(self, command: dict[str, int]) -> list[dict[str, Any]]:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
        return [self._answer(process) for process in self._processes]

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise Failed(f"{self.name}: its process ended with code {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Something a second, over the rounds."""

    median: float
    #: Lower and upper quartile.
    quartiles: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Rate":
        """Median and quartiles of a few values."""
        if len(values) == 1:
            return cls(median=values[0], quartiles=(values[0], values[0]))
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median=median, quartiles=(low, high))


def steps_for(contender: Contender, seconds: float) -> int:
    """How many steps fill that many seconds; warms the contender up on the way."""
    contender.run(1)
    steps, taken = 1, _shorter(contender, 1)
    while taken < seconds / 4:
        steps = max(steps + 1, min(8 * steps, int(seconds / max(taken, 1e-6) * steps / 2)))
        taken = _shorter(contender, steps)
    return max(1, round(steps * seconds / taken))


def _shorter(contender: Contender, steps: int) -> float:
    """The shorter of two turns: one may have met something else."""
    return min(contender.run(steps), contender.run(steps))


def compete(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    seconds: float,
    between: Callable[[], float] | None = None,
    fixed: Mapping[str, int] | None = None,
) -> tuple[dict[str, Rate], list[float]]:
    """Rounds in which every contender takes a turn.

    Args:
        contenders: Who takes part.
        rounds: How many turns each has.
        seconds: About how long a turn is; at least one step.
        between: Something measured once a round beside them.
        fixed: Steps a turn of some contenders, by name, whatever the time.

    Returns:
        Seed-steps a second of each by name, and what `between` gave.
    """
    steps = dict(fixed or {})
    for one in contenders:
        if one.name in steps:
            one.run(1)
        else:
            steps[one.name] = steps_for(one, seconds)
        progress(f"  {one.name}: {steps[one.name]} steps a turn")
    rates: dict[str, list[float]] = {one.name: [] for one in contenders}
    beside = []
    for turn in range(rounds):
        for one in contenders:
            taken = one.run(steps[one.name])
            rates[one.name].append(one.seeds * steps[one.name] / taken)
        if between:
            beside.append(between())
        now = ", ".join(f"{name} {values[-1]:.4g}/s" for name, values in rates.items())
        progress(f"  round {turn + 1} of {rounds}: {now}")
    return {name: Rate.of(values) for name, values in rates.items()}, beside
