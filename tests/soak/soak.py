"""The soak: an undisturbed run, then the same work under faults, then the account of both."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2

from db.engine import open_engine, reading, upgrade
from service import doctor
from service.client import TIMEOUT_SECONDS, Client
from service.collection import collect
from service.verification import verify
from tests.soak import record
from tests.soak.account import Comparison
from tests.soak.faults import Faults, Say
from tests.soak.load import OthersLoad
from tests.soak.stack import ForeignDatabase, Postgres, Stack
from tests.soak.user import Wish
from tests.soak.workload import STEPS, Workload

LOOK_SECONDS = 0.2
#: Seconds between two looks at how much waits; if it is less than a sweep, another one comes.
FEED_SECONDS = 1.0
#: Seed runs that must have ended before the undisturbed rate is measured: everything is warm.
WARM_SEED_RUNS = 6
REPORT_SECONDS = 60.0
#: Longest wait for the first seed runs and for all sweeps to end, and for all processes to.
DRAIN_SECONDS = 1800.0
LEAVE_SECONDS = 60.0


class Soak:
    """One soak.

    Args:
        home: Folder of the service under test.
        database: Its server.
        seed: Of the sweeps and the faults.
        cpus: Processors that trials may use.
        mean_seconds: Between two faults.
        seeds: Of a sweep's every configuration.
        steps: Of a seed run.
        say: Told what happens.
    """

    def __init__(
        self,
        home: Path,
        database: Postgres | ForeignDatabase,
        *,
        seed: int,
        cpus: int = 2,
        mean_seconds: float = 20.0,
        seeds: int = 12,
        steps: int = STEPS,
        say: Say = print,
    ) -> None:
        self._say = say
        self._seed = seed
        self._mean = mean_seconds
        self._engine = open_engine(database.url)
        upgrade(self._engine)
        self._began = time.monotonic()
        self._stack = Stack(home, database, cpus)
        self._load = OthersLoad(self._stack)
        url = self._stack.settings.server_url
        self._http = httpx2.Client(base_url=url, timeout=TIMEOUT_SECONDS)
        self._client = Client(url, http=self._http)
        self._workload = Workload(seed, seeds, steps)
        self._wishes: list[Wish] = []
        self._submitted = 0
        self._fed = self._reported = 0.0
        self._faults: Faults | None = None
        self._broken: dict[str, None] = {}

    def run(self, *, undisturbed_minutes: float, minutes: float) -> dict[str, Any]:
        """The whole soak; its report."""
        self._until(self._warm, seconds=DRAIN_SECONDS)
        calm = self._phase("undisturbed", undisturbed_minutes)
        reference = set(self._ended("finished"))
        faults = self._faults = Faults(
            self._stack, self._engine, seed=self._seed, mean_seconds=self._mean, say=self._strike
        )
        rough = self._phase("disturbed", minutes)
        faults.settle(at_once=True)
        self._faults = None
        drained = self._drain(faults.wishes)
        attempts = self._read(record.attempts)
        reference |= self._train_the_rest(reference)
        collected = len(collect(self._engine, self._stack.settings.checkpoints).files)
        complaints = self._doctor()
        statuses = self._stack.close()
        report = {
            "seed": self._seed,
            "mean_seconds_between_faults": self._mean,
            "undisturbed": calm,
            "disturbed": rough,
            "ratio": round(calm["seed_runs_a_minute"] / max(rough["seed_runs_a_minute"], 1e-9), 3),
            "drained_seconds": round(drained, 1),
            "faults": dict(faults.fired),
            "faults_fired": faults.fired.total(),
            "faults_without_a_victim": dict(faults.missed),
            "faults_never_fired": [kind for kind in faults.kinds if not faults.fired[kind]],
            "restarts": {
                "api": self._stack.api.restarts,
                "scheduler": self._stack.scheduler.restarts,
            },
            "exit_statuses": statuses,
            "checkpoints_collected": collected,
            "doctor": complaints,
            "attempts_a_seed_run": round(attempts[1] / max(attempts[0], 1), 3),
            **self._account(reference),
        }
        report["holds"] = _holds(report)
        return report

    def close(self) -> None:
        """End what is left, whatever has happened."""
        if self._faults is not None:
            self._faults.settle(at_once=True)
        self._stack.kill()
        self._http.close()
        self._engine.dispose()

    # phases

    def _phase(self, name: str, minutes: float) -> dict[str, Any]:
        """Keep it busy for a while; what was done, and what else the machine did meanwhile."""
        self._tell(f"{name} for {minutes:g} minutes")
        begin, began = self._read(record.clock), time.monotonic()
        self._load.reset()
        while time.monotonic() - began < 60 * minutes:
            self._look()
            self._feed()
            time.sleep(LOOK_SECONDS)
        if self._faults is not None:
            self._faults.settle(at_once=True)
        end = self._read(record.clock)
        done = self._read(lambda conn: record.results_between(conn, begin, end))
        elapsed = (end - begin).total_seconds() / 60
        return {
            "minutes": round(elapsed, 2),
            "seed_runs": done,
            "seed_runs_a_minute": round(done / elapsed, 2),
            "processors_used_by_others": round(self._load.processors, 2),
            "load_average": round(self._load.load_average, 2),
        }

    def _warm(self) -> bool:
        self._feed()
        count = record.ask(self._engine, record.attempts)
        return count is not None and count[0] >= WARM_SEED_RUNS

    def _drain(self, wishes: list[Wish]) -> float:
        """Every sweep to its end, the paused ones resumed; the seconds it took."""
        self._tell("no more faults: every sweep to its end")
        self._wishes += wishes
        wishes.clear()
        began = time.monotonic()

        def over() -> bool:
            if self._wishes:
                return False
            for sweep in record.ask(self._engine, record.paused) or []:
                self._wishes.append(
                    Wish("resume", lambda client, sweep=sweep: client.resume(sweep))
                )
            left = record.ask(self._engine, record.unended)
            return left is not None and not left

        self._until(over, seconds=DRAIN_SECONDS)
        return time.monotonic() - began

    def _train_the_rest(self, reference: set[str]) -> set[str]:
        """Train undisturbed what has no undisturbed twin yet; the sweeps that did."""
        wanted, there = set(), set()
        for sweep in self._ended("finished", "cancelled", "failed"):
            seeds = self._read(lambda conn, sweep=sweep: record.seeds_of(conn, sweep))
            (there if sweep in reference else wanted).update(seed for _, seed in seeds)
        missing = sorted(wanted - there)
        self._tell(f"{len(missing)} seeds are trained undisturbed, to compare with")
        before = set(self._ended("finished"))
        for first, count in _stretches(missing):
            body = self._workload.twins(first, count)
            self._wishes.append(Wish("submit", lambda client, body=body: self._send(client, body)))
        self._until(self._settled, seconds=DRAIN_SECONDS)
        return set(self._ended("finished")) - before

    def _settled(self) -> bool:
        return not self._wishes and record.ask(self._engine, record.unended) == []

    # the account

    def _account(self, reference: set[str]) -> dict[str, Any]:
        comparison = Comparison()
        twins: dict[record.Key, record.Measured] = {}
        for sweep in sorted(reference):
            twins |= self._read(lambda conn, sweep=sweep: record.measured(conn, sweep))
        others = [sweep for sweep in self._all() if sweep not in reference]
        for sweep in others:
            found = self._read(lambda conn, sweep=sweep: record.measured(conn, sweep))
            for key, rows in found.items():
                comparison.compare(sweep, key, rows, twins[key])
        states = self._read(record.by_state)
        proofs = [self._verify(sweep) for sweep in self._all()]
        return {
            "sweeps": states,
            "sweeps_submitted": self._submitted,
            "sweeps_disturbed": len(others),
            "compared": asdict(comparison),
            "verified": len(proofs),
            "not_whole": [found for found in proofs if found],
            "invariants_broken": list(self._broken),
            "processes_left": self._processes_left(),
        }

    def _doctor(self) -> list[str]:
        found = doctor.examine(self._stack.settings)
        return [f"{one.check}: {one.says}" for one in found if not one.ok]

    def _verify(self, sweep: str) -> list[str]:
        proof = self._read(lambda conn: verify(conn, sweep, self._stack.settings.checkpoints))
        open_runs = proof.running + proof.pending
        wrong = [f"{sweep}: {finding.message}" for finding in proof.findings]
        return wrong + ([f"{sweep}: {open_runs} seed runs did not end"] if open_runs else [])

    def _processes_left(self) -> list[str]:
        deadline = time.monotonic() + LEAVE_SECONDS
        while (left := self._stack.leftovers()) and time.monotonic() < deadline:
            time.sleep(1)
        return [" ".join(one.cmdline()) for one in left]

    # steps

    def _look(self) -> None:
        """Restart what died, send wishes, strike, sample, report."""
        self._stack.look()
        self._load.look()
        if self._faults is not None:
            self._faults.look()
            self._wishes += self._faults.wishes
            self._faults.wishes.clear()
        self._wishes = [wish for wish in self._wishes if not wish.look(self._client)]
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self._reported = time.monotonic()
            self._check()

    def _feed(self) -> None:
        """Submit another sweep when too little waits."""
        now = time.monotonic()
        if now - self._fed < FEED_SECONDS or any(wish.name == "submit" for wish in self._wishes):
            return
        self._fed = now
        waiting = record.ask(self._engine, record.waiting_seeds)
        if waiting is not None and waiting < self._workload.seed_runs:
            body = self._workload.draw()
            self._wishes.append(Wish("submit", lambda client: self._send(client, body)))
            self._submitted += 1

    def _send(self, client: Client, body: dict[str, Any]) -> None:
        client.submit(body, new=True, idempotency_key=f"soak {body['name']}")

    def _strike(self, kind: str) -> None:
        self._tell(f"fault: {kind}")

    def _check(self) -> None:
        found = record.ask(self._engine, record.broken)
        for what in found or []:
            self._tell(f"BROKEN: {what}")
            self._broken[what] = None
        states, done = (
            record.ask(self._engine, each) for each in (record.by_state, record.attempts)
        )
        if states is not None and done is not None:
            said = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
            self._tell(
                f"{done[0]} seed runs ended; sweeps: {said}; others use "
                f"{self._load.processors:.2f} processors"
            )

    def _until(self, condition: Callable[[], bool], *, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {self._read(record.by_state)}")
            self._look()
            time.sleep(LOOK_SECONDS)

    def _ended(self, *states: str) -> list[str]:
        return self._read(lambda conn: record.ended(conn, *states))

    def _all(self) -> list[str]:
        return self._ended(*("queued", "running", "paused", "finished", "cancelled", "failed"))

    def _read(self, question: Callable[[Any], Any]) -> Any:
        """The answer of a record that is there, or will be in a moment."""
        for _ in range(100):
            answer = record.ask(self._engine, question)
            if answer is not None:
                return answer
            time.sleep(0.3)
        with reading(self._engine) as conn:
            return question(conn)

    def _tell(self, text: str) -> None:
        self._say(f"{time.monotonic() - self._began:7.1f} s  {text}")


def _resume(sweep: str) -> Wish:
    return Wish("resume", lambda client: client.resume(sweep))


def _stretches(seeds: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, how many) without gaps."""
    found: list[tuple[int, int]] = []
    for seed in seeds:
        if found and sum(found[-1]) == seed:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((seed, 1))
    return found


def _holds(report: dict[str, Any]) -> bool:
    """Whether everything but the wall time is as it must be."""
    compared = report["compared"]
    wrong = ("lost", "doubled", "different")
    must_be_empty = ("not_whole", "doctor", "invariants_broken", "processes_left")
    return (
        compared["seed_runs"] > 0
        and not any(compared[key] for key in wrong)
        and not any(report[key] for key in must_be_empty)
        and not report["sweeps"].get("failed")
        and sum(report["sweeps"].values()) >= report["sweeps_submitted"]
        and report["exit_statuses"] == [0, 0]
    )
