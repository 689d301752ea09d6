"""A world in which sweeps are trained: a fake clock, a record in memory, and processes that die.

The record's functions and `reconcile` are the real ones; runners and workers are a few lines each.
A run is a list of numbers, each deciding one step, so that it can be repeated and shrunk.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from db import guards, models, runners, submission, transitions
from db.engine import _begin_sqlite, reading, writing
from db.errors import LeaseLost, WrongState
from db.giving_back import (
    Fate,
    expire_leases,
    fail_pack,
    release_held,
    release_pack,
    take_stalled,
)
from db.leasing import (
    ClaimedPack,
    claim_pack,
    complete_pack,
    exhausted,
    forget_checkpoints,
    is_done,
    renew,
)
from db.recording import Ended, Lease, Rows, end_seed, move_checkpoint, rewind, write_rows
from db.states import TRAINING, Desired, PackState
from db.submission import NewPack
from service.control.reconcile import (
    Finish,
    Forget,
    Rest,
    RunnerFacts,
    Start,
    Stop,
    SweepFacts,
    reconcile,
)
from tests.db.record import evaluation, new_sweep
from tests.service.queue_rules import look

#: Steps of every seed run.
STEPS = 4
LEASE_SECONDS = 30.0
RUNNER_SECONDS = 15.0
STALL_SECONDS = 100.0
#: Seeds whose training raises, whatever they are packed with.
POISON = (3,)
#: Trials that the cluster has room for.
SLOTS = 3
EPOCH = datetime(2026, 1, 1)


class Clock:
    """The record's time, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def strftime(self, form: str, moment: str, change: str = "0 seconds") -> str:
        """SQLite's function of the name, as far as `db.clock` calls it."""
        assert moment == "now"
        return self.text(float(change.split()[0]))

    def text(self, later: float = 0.0) -> str:
        """A time so many seconds from now, as the record writes it."""
        then = EPOCH + timedelta(seconds=self.seconds + later)
        return then.isoformat(sep=" ", timespec="milliseconds")


def memory_record(clock: Clock) -> Engine:
    """An empty record in this process's memory that takes its time from the clock."""
    engine = create_engine("sqlite://", poolclass=StaticPool)

    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("strftime", -1, clock.strftime)

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", _begin_sqlite)
    with writing(engine) as conn:
        models.metadata.create_all(conn)
        guards.create_guards(conn)
    return engine


@dataclass(eq=False, kw_only=True)
class Worker:
    """A process that trains a line of packs, one after the other."""

    pack: ClaimedPack
    step: int
    #: Its name in the record, and its runner's epoch.
    owner: str
    epoch: int
    ended: set[int] = field(default_factory=set)
    leaving: bool = False
    hung: bool = False

    @property
    def lease(self) -> Lease:
        return Lease(pack_id=self.pack.pack_id, fence=self.pack.fence, seconds=LEASE_SECONDS)

    @property
    def active(self) -> list[int]:
        return [seed for seed in self.pack.seeds if seed not in self.ended]


@dataclass(eq=False, kw_only=True)
class Runner:
    """A process that claims the packs of one sweep."""

    sweep_id: str
    epoch: int
    workers: list[Worker] = field(default_factory=list)
    #: Looks since it was asked to end.
    asked: int = 0


class Simulation:
    """One world. `step` does something at random, `check` holds the record against the model."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.engine = memory_record(self.clock)
        #: The same connection without SQLAlchemy, whose looks would take most of the time.
        self.direct: sqlite3.Connection = self.engine.raw_connection().driver_connection  # type: ignore[assignment]
        self.runners: dict[str, Runner] = {}
        #: Workers whose runner is gone, and which do not know that their packs are.
        self.zombies: list[Worker] = []
        #: Runners that everyone thinks dead, or that another has replaced, and which go on.
        self.ghosts: list[Runner] = []
        #: The model: who holds which pack, and what may not change any more.
        self.holders: dict[int, Worker] = {}
        self.expected: dict[str, int] = {}
        self.final: dict[int, str] = {}
        #: Lines whose pack was given back on their behalf, as their process had died.
        self.over: set[str] = set()
        self.names = count()
        self.serial = count()
        self.submit(Random(0))
        self.tick(Random(0))

    @contextmanager
    def deterministic(self) -> Iterator[None]:
        """Sweeps are named in their order, not by chance."""
        with patch.object(submission, "new_id", lambda: f"sweep-{next(self.serial):04}"):
            yield

    def close(self) -> None:
        """Drop the record."""
        self.direct.close()
        self.engine.dispose()

    def write(self, act: Callable[[Connection], Any]) -> Any:
        """One transaction."""
        with writing(self.engine) as conn:
            return act(conn)

    def rows(self, sql: str) -> list[Any]:
        """What the record says."""
        return self.direct.execute(sql).fetchall()

    # steps

    def step(self, number: int) -> None:
        """One thing happens."""
        random = Random(number)
        weighted: list[tuple[int, Callable[[Random], None]]] = [
            (3, self.user),
            (4, self.tick),
            (6, self.runner),
            (12, self.worker),
            (6, self.zombie),
            (2, self.ghost),
            (1, self.stale),
            (3, self.crash),
            (2, self.wait),
        ]
        acts = [act for weight, act in weighted for _ in range(weight)]
        random.choice(acts)(random)

    def wait(self, random: Random) -> None:
        """Time passes."""
        self.clock.seconds += random.choice([0.5, 2.0, 5.0, 31.0])

    def user(self, random: Random) -> None:
        """Somebody wishes something."""
        ids = sorted(self.expected)
        if not ids or (len(ids) < 3 and random.random() < 0.5):
            return self.submit(random)
        sweep_id = random.choice(ids)
        wishes: list[Callable[[], Any]] = [
            lambda: self.write(lambda conn: transitions.pause(conn, sweep_id)),
            lambda: self.write(lambda conn: transitions.resume(conn, sweep_id)),
            lambda: self.write(lambda conn: transitions.resume(conn, sweep_id)),
            lambda: self.write(lambda conn: transitions.stop(conn, sweep_id)),
            lambda: self.cancel(sweep_id),
            lambda: self.retry(sweep_id, random.random() < 0.7),
            lambda: self.extend(sweep_id),
            lambda: self.write(
                lambda conn: transitions.prioritize(conn, sweep_id, random.randrange(3))
            ),
        ]
        try:
            random.choice(wishes)()
        except WrongState:
            return None

    def submit(self, random: Random) -> None:
        """Another sweep."""
        seeds, together = random.randrange(1, 7), random.randrange(1, 4)
        new = new_sweep(
            seeds=seeds,
            together=together,
            max_steps=STEPS,
            max_failures=random.randrange(1, 3),
            max_failed_seeds=random.choice([None, None, 0, 2]),
            max_concurrent_trials=random.choice([None, None, 1]),
            priority=random.randrange(2),
        )
        with self.deterministic():
            sweep_id, _ = self.write(lambda conn: submission.submit(conn, new))
        self.expected[sweep_id] = seeds

    def cancel(self, sweep_id: str) -> None:
        """The end, at once."""
        self.write(lambda conn: transitions.cancel(conn, sweep_id))
        for pack_id, worker in list(self.holders.items()):
            if worker.pack.sweep_id == sweep_id:
                del self.holders[pack_id]

    def retry(self, sweep_id: str, cancelled: bool) -> None:
        """Another chance for what has no result."""
        act = lambda conn: submission.retry(conn, sweep_id, include_cancelled=cancelled)  # noqa: E731
        self.write(act)

    def extend(self, sweep_id: str) -> None:
        """One seed more."""
        pack = NewPack(configuration=0, seeds=[self.expected[sweep_id]])
        act = lambda conn: submission.extend(  # noqa: E731
            conn, sweep_id, spec={}, packs=[pack], code_version="v"
        )
        self.expected[sweep_id] += self.write(act)

    # the scheduler

    def tick(self, random: Random) -> None:
        """One look of the scheduler, which may die between any two of its actions."""
        leased = self.rows("SELECT id FROM packs WHERE state = 'leased'")
        before = {pack_id: self.charged(pack_id) for (pack_id,) in leased}
        expired = self.write(expire_leases)
        for pack_id in expired:
            self.taken_back(pack_id, before[pack_id], fault=True)
        stalled = self.write(lambda conn: take_stalled(conn, STALL_SECONDS))
        for pack_id in (*expired, *stalled):
            self.holders.pop(pack_id, None)
        with reading(self.engine) as conn:
            rows = {row["id"]: row for row in runners.sweeps_to_reconcile(conn)}
        for action in reconcile([self.facts(row) for row in rows.values()]):
            if random.random() < 0.1:
                return
            try:
                self.perform(action, rows[action.sweep_id])
            except WrongState:
                continue

    def stale(self, random: Random) -> None:
        """Another scheduler, or one whose facts are old, acts: the guards decide, not the facts."""
        ids = sorted(self.expected)
        if not ids:
            return
        sweep_id = random.choice(ids)
        acts: list[Callable[[], Any]] = [
            lambda: self.write(lambda conn: transitions.finish_sweep(conn, sweep_id)),
            lambda: self.write(lambda conn: transitions.rest_sweep(conn, sweep_id)),
            lambda: self.write(lambda conn: transitions.start_sweep(conn, sweep_id)),
            lambda: self.replace(sweep_id),
        ]
        try:
            random.choice(acts)()
        except WrongState:
            return

    def replace(self, sweep_id: str) -> None:
        """A second runner registers itself while the first one lives."""
        former = self.runners.get(sweep_id)
        self.start(sweep_id)
        if former is not None:
            self.ghosts.append(former)

    def facts(self, row: dict[str, Any]) -> SweepFacts:
        """What the real scheduler would know."""
        runner = self.runners.get(row["id"])
        known = None
        if runner is not None or row["epoch"] is not None:
            known = RunnerFacts(
                here=True,
                alive=runner is not None,
                fresh=bool(row["runner_alive"]),
                current=runner is not None and runner.epoch == row["runner_epoch"],
                adoptable=True,
            )
        return SweepFacts(
            sweep_id=row["id"],
            state=row["state"],
            desired=row["desired"],
            priority=row["priority"],
            most_trials=row["max_concurrent_trials"],
            pending=row["packs_claimable"] + row["packs_waiting"],
            leased=row["packs_leased"],
            runner=known,
        )

    def perform(self, action: Any, row: dict[str, Any]) -> None:
        """What the real scheduler does."""
        sweep_id = action.sweep_id
        match action:
            case Start():
                self.start(sweep_id)
            case Stop(at_once=at_once):
                runner = self.runners[sweep_id]
                runner.asked += 1
                if at_once or runner.asked > 2:
                    self.end_runner(runner, in_order=at_once)
            case Finish():
                self.write(lambda conn: transitions.finish_sweep(conn, sweep_id))
            case Rest():
                self.write(lambda conn: transitions.rest_sweep(conn, sweep_id))
            case Forget():
                self.write(lambda conn: runners.drop_runner(conn, sweep_id, row["epoch"]))

    def start(self, sweep_id: str) -> None:
        """A runner registers itself."""

        def register(conn: Connection) -> int:
            epoch = runners.register_runner(
                conn, sweep_id, host="h", pid=1, pid_started=1, lease_seconds=RUNNER_SECONDS
            )
            transitions.start_sweep(conn, sweep_id)
            return epoch

        former = self.rows(f"SELECT runner_epoch FROM sweeps WHERE id = '{sweep_id}'")[0][0]
        epoch = self.write(register)
        assert epoch > former, "a new runner must fence the former ones off"
        self.runners[sweep_id] = Runner(sweep_id=sweep_id, epoch=epoch)

    def end_runner(self, runner: Runner, *, in_order: bool) -> None:
        """It ends: in order with its packs given back, or killed with its workers left over."""
        if self.runners.get(runner.sweep_id) is runner:
            del self.runners[runner.sweep_id]
        if not in_order:
            self.ghosts.append(runner)
            return
        for worker in runner.workers:
            self.give_back(worker)
        self.write(lambda conn: runners.drop_runner(conn, runner.sweep_id, runner.epoch))

    # runners and workers

    def runner(self, random: Random) -> None:
        """A runner shows life, and claims a pack or ends."""
        if not self.runners:
            return None
        runner = random.choice(sorted(self.runners.values(), key=lambda each: each.sweep_id))
        renewed = self.write(
            lambda conn: runners.renew_runner(conn, runner.sweep_id, runner.epoch, RUNNER_SECONDS)
        )
        if renewed is None:
            return self.end_runner(runner, in_order=False)
        if sum(len(each.workers) for each in self.runners.values()) < SLOTS:
            self.claim(runner)
        return None

    def ghost(self, random: Random) -> None:
        """A runner that everyone thinks dead goes on, or really dies and leaves its workers."""
        if not self.ghosts:
            return
        runner = random.choice(self.ghosts)
        if random.random() < 0.4:
            self.ghosts.remove(runner)
            self.zombies += runner.workers
        elif runner.workers and random.random() < 0.5:
            worker = random.choice(runner.workers)
            if not self.act(worker, random):
                runner.workers.remove(worker)
        else:
            self.claim(runner)

    def claim(self, runner: Runner) -> None:
        """One look of the searcher at the queue."""
        before = look(self.direct, self.clock.text())
        owner = f"line {next(self.names)}"
        pack = self.write(lambda conn: lease(conn, runner.sweep_id, owner, runner.epoch))
        if pack is None:
            with reading(self.engine) as conn:
                over = exhausted(conn, runner.sweep_id)
            if over and not runner.workers and runner not in self.ghosts:
                self.end_runner(runner, in_order=True)
            return
        broken = before.broken(runner.sweep_id, pack.pack_id, runner.epoch)
        assert not broken, f"a claim broke a rule: {broken}"
        step = self.begin(pack)
        worker = Worker(pack=pack, step=step, owner=owner, epoch=runner.epoch)
        self.holders[pack.pack_id] = worker
        runner.workers.append(worker)

    def begin(self, pack: ClaimedPack) -> int:
        """What must hold of a pack just leased; the step it begins at."""
        former = self.holders.get(pack.pack_id)
        assert former is None or not self.holds(former) or former.pack.fence < pack.fence
        assert len({ref.step for ref in pack.resume}) <= 1
        step = pack.resume[0].step if pack.resume else 0
        beyond = self.rows(
            f"SELECT 1 FROM evaluations e JOIN seed_runs r ON r.id = e.seed_run_id "
            f"WHERE r.pack_id = {pack.pack_id} AND r.state = 'running' AND e.step > {step}"
        )
        assert not beyond, "a curve must not mix two executions"
        return step

    def holds(self, worker: Worker) -> bool:
        """Whether the record says that this worker holds its pack."""
        (found,) = self.rows(
            f"SELECT state = 'leased' AND fence = {worker.pack.fence} FROM packs "
            f"WHERE id = {worker.pack.pack_id}"
        )
        return bool(found[0])

    def worker(self, random: Random) -> None:
        """Some worker does the next thing."""
        workers = [(each, one) for each in self.runners.values() for one in each.workers]
        if not workers:
            return
        runner, worker = random.choice(workers)
        if not self.act(worker, random):
            runner.workers.remove(worker)

    def zombie(self, random: Random) -> None:
        """A worker that everyone thinks dead does the next thing."""
        if self.zombies:
            worker = random.choice(self.zombies)
            if not self.act(worker, random):
                self.zombies.remove(worker)

    def crash(self, random: Random) -> None:
        """A worker dies silently, hangs or is noticed dead; or a runner is killed."""
        if not self.runners:
            return None
        runner = random.choice(sorted(self.runners.values(), key=lambda each: each.sweep_id))
        if not runner.workers or random.random() < 0.2:
            return self.end_runner(runner, in_order=random.random() < 0.3)
        worker = random.choice(runner.workers)
        fate = random.choice(["silent", "hung", "noticed", "zombie"])
        if fate == "hung":
            worker.hung = True
            return None
        runner.workers.remove(worker)
        if fate == "zombie":
            self.zombies.append(worker)
        elif fate == "noticed":
            self.end_line(worker)
            if random.random() < 0.5:
                self.zombies.append(worker)  # it had only been cut off
        return None

    def give_back(self, worker: Worker, error: str | None = None) -> None:
        """Release a pack, harmlessly when it is another's."""
        pack = worker.pack
        charged = self.charged(pack.pack_id)
        fate = self.write(lambda conn: release_pack(conn, pack.pack_id, pack.fence, error))
        if fate != Fate.LOST:
            assert self.holders.pop(pack.pack_id) is worker
            self.taken_back(pack.pack_id, charged, fault=error is not None)

    def end_line(self, worker: Worker) -> None:
        """Release what a worker holds now, as its runner would, which knows only its name."""
        held = [pack for pack, holder in self.holders.items() if holder is worker]
        before = {pack: self.charged(pack) for pack in held}
        fate = self.write(
            lambda conn: release_held(
                conn,
                worker.pack.sweep_id,
                owner=worker.owner,
                epoch=worker.epoch,
                error="the worker died",
            )
        )
        self.over.add(worker.owner)
        if fate != Fate.LOST:
            assert held == [worker.pack.pack_id], "another's pack was given back"
            del self.holders[held[0]]
            self.taken_back(held[0], before[held[0]], fault=True)

    def charged(self, pack_id: int) -> tuple[int, int]:
        """How many faults of its training, and of others, a pack was charged with."""
        ((own, others),) = self.rows(
            f"SELECT user_attempts, infra_attempts FROM packs WHERE id = {pack_id}"
        )
        return own, others

    def taken_back(self, pack_id: int, before: tuple[int, int], *, fault: bool) -> None:
        """A pack that waits again after somebody else's fault: counted as that, and rested."""
        ((state, rest),) = self.rows(f"SELECT state, not_before FROM packs WHERE id = {pack_id}")
        if state != "pending":
            return
        assert self.charged(pack_id) == (before[0], before[1] + fault), "charged to the wrong one"
        rested = rest is not None and rest > self.clock.text()
        assert rested == fault, "a pack rests after a fault, and only then"

    def act(self, worker: Worker, random: Random) -> bool:
        """What a trial does next; whether the worker goes on."""
        try:
            if worker.hung or random.random() < 0.2:
                return self.show_life(worker)
            return self.train(worker, random)
        except LeaseLost:
            return False

    def show_life(self, worker: Worker) -> bool:
        wish = self.accepted(
            worker,
            lambda conn: renew(conn, worker.pack.pack_id, worker.pack.fence, LEASE_SECONDS),
        )
        worker.leaving = wish not in TRAINING
        return True

    def train(self, worker: Worker, random: Random) -> bool:
        """One step of all seeds that go on, with its rows; perhaps a checkpoint; the end."""
        pack, active = worker.pack, worker.active
        if not active:
            return self.complete(worker, random)
        if random.random() < 0.05:
            early = self.accepted(
                worker,
                lambda conn: complete_pack(conn, pack.pack_id, pack.fence),
                renews=False,
            )
            assert not early, "a pack was done before its seeds"
        if worker.step == 2 and set(active) & set(POISON):
            self.accepted_if_held(
                worker, lambda conn: fail_pack(conn, pack.pack_id, pack.fence, "it raised")
            )
            return False
        if worker.step == STEPS:
            self.end(worker, active[0], random)
            return True
        if random.random() < 0.05:
            return self.go_back(worker, random)
        worker.step += 1
        rows = Rows(evaluations=[evaluation(seed, worker.step) for seed in active])
        steps = dict.fromkeys(active, worker.step)
        if worker.leaving or random.random() < 0.5:
            refs = [
                {"seed": seed, "step": worker.step, "path": "f", "sha256": "0"} for seed in active
            ]
            self.accepted(
                worker,
                lambda conn: move_checkpoint(
                    conn, worker.lease, rows, refs, steps=steps, wall_seconds=1.0
                ),
                repeat=random.random() < 0.3,
            )
            if worker.leaving:
                self.give_back(worker)
                return False
        else:
            self.accepted(
                worker,
                lambda conn: write_rows(conn, worker.lease, rows, steps=steps, wall_seconds=1.0),
                repeat=random.random() < 0.3,
            )
        return True

    def complete(self, worker: Worker, random: Random) -> bool:
        """The pack is done, or was found to be by a claim that looked for open seeds."""
        pack, held = worker.pack, self.holds(worker)
        if not worker.leaving and random.random() < 0.7:
            return self.go_on(worker, repeat=random.random() < 0.3)
        assert self.write(lambda conn: complete_pack(conn, pack.pack_id, pack.fence))
        holder = self.holders.pop(pack.pack_id, None)
        assert holder is worker or not held, "a pack was completed under an old fence"
        if random.random() < 0.2:
            # Its process dies before Tune hears of the end.
            fate = self.write(lambda conn: release_pack(conn, pack.pack_id, pack.fence, "died"))
            assert fate == Fate.LOST, "a pack that is done was given back"
        return False

    def go_on(self, worker: Worker, *, repeat: bool) -> bool:
        """Complete the pack and lease the next, in one transaction; whether there was one."""
        done, held = worker.pack, self.holds(worker)
        before = look(self.direct, self.clock.text())
        before.packs[done.pack_id]["state"] = PackState.DONE

        def act(conn: Connection) -> ClaimedPack | None:
            again = is_done(conn, done.pack_id, done.fence)
            assert again or complete_pack(conn, done.pack_id, done.fence)
            return lease(conn, done.sweep_id, worker.owner, worker.epoch, again=again)

        pack = self.write(act)
        holder = self.holders.pop(done.pack_id, None)
        assert holder is worker or not held, "a pack was completed under an old fence"
        if pack is None:
            return False
        broken = before.broken(done.sweep_id, pack.pack_id, worker.epoch)
        assert not broken, f"a line went on against a rule: {broken}"
        assert worker.owner not in self.over, "a line went on that was ended"
        step = self.begin(pack)
        if repeat:  # the answer to the commit was lost
            pack, first = self.write(act), pack
            assert (pack.pack_id, pack.fence) == (first.pack_id, first.fence + 1)
        worker.pack, worker.step, worker.ended = pack, step, set()
        self.holders[pack.pack_id] = worker
        return True

    def end(self, worker: Worker, seed: int, random: Random) -> None:
        """One seed has ended."""
        state = "diverged" if seed == 1 else "finished"
        ended = Ended(seed=seed, state=state, step=STEPS, reason="the last step")
        self.accepted(
            worker,
            lambda conn: end_seed(conn, worker.lease, Rows(), ended, wall_seconds=1.0),
            repeat=random.random() < 0.3,
        )
        worker.ended.add(seed)
        if random.random() < 0.3:
            # A scheduler looks just now.
            self.write(lambda conn: transitions.finish_sweep(conn, worker.pack.sweep_id))

    def go_back(self, worker: Worker, random: Random) -> bool:
        """Out of memory: again from the start, or a damaged checkpoint."""
        pack = worker.pack
        if random.random() < 0.5:
            self.accepted(
                worker,
                lambda conn: forget_checkpoints(conn, pack.pack_id, pack.fence),
                renews=False,
            )
            self.give_back(worker, "a damaged checkpoint")
            return False
        at = self.rows(
            f"SELECT MIN(COALESCE(k.step, 0)) FROM seed_runs r LEFT JOIN checkpoints k "
            f"ON k.seed_run_id = r.id WHERE r.pack_id = {pack.pack_id} AND r.state = 'running'"
        )[0][0]
        if at is not None:
            step = int(at)
            self.accepted(worker, lambda conn: rewind(conn, worker.lease, worker.active, step))
            worker.step = step
        return True

    def accepted(
        self,
        worker: Worker,
        act: Callable[[Connection], Any],
        *,
        repeat: bool = False,
        renews: bool = True,
    ) -> Any:
        """A write that the record took; the model must agree that the worker was the holder."""
        result = self.write(act)
        holder = self.holders.get(worker.pack.pack_id)
        assert holder is worker, "a row was written under an old fence"
        if self.holds(worker) and renews:
            ((until,),) = self.rows(
                f"SELECT lease_until FROM packs WHERE id = {worker.pack.pack_id}"
            )
            assert until == self.clock.text(LEASE_SECONDS), "a write must renew the lease"
        if repeat:  # the answer to the commit was lost
            self.write(act)
        return result

    def accepted_if_held(self, worker: Worker, act: Callable[[Connection], Any]) -> None:
        """A fate that is decided only for the holder."""
        if self.write(act) != Fate.LOST:
            assert self.holders.pop(worker.pack.pack_id) is worker

    # what must hold

    def check(self) -> None:
        """The invariants, after every step."""
        for sql, what in BROKEN.items():
            found = self.rows(sql)
            assert not found, f"{what}: {found}"
        for sweep_id, seeds in self.rows("SELECT sweep_id, COUNT(*) FROM seed_runs GROUP BY 1"):
            assert seeds == self.expected[sweep_id], "a seed was lost"
        for seed_run, state in self.rows(
            "SELECT id, state FROM seed_runs WHERE state IN ('finished', 'diverged')"
        ):
            assert self.final.setdefault(seed_run, state) == state
        known = len(self.rows("SELECT 1 FROM seed_runs WHERE state IN ('finished', 'diverged')"))
        assert known == len(self.final), "a result was taken back"

    def settle(self) -> None:
        """Everybody does his work until nothing is left to do; then everything has ended."""
        random = Random(0)
        for _ in range(400):
            for sweep_id in self.expected:
                self.write(lambda conn, sweep_id=sweep_id: _resume_if_paused(conn, sweep_id))
            self.clock.seconds += 5.0
            self.tick(Random(1))
            for runner in list(self.runners.values()):
                self.write(
                    lambda conn, runner=runner: runners.renew_runner(
                        conn, runner.sweep_id, runner.epoch, RUNNER_SECONDS
                    )
                )
                if sum(len(each.workers) for each in self.runners.values()) < SLOTS:
                    self.claim(runner)
            for runner in list(self.runners.values()):
                for worker in list(runner.workers):
                    worker.leaving = False
                    if worker.hung and not self.holds(worker):
                        runner.workers.remove(worker)  # it noticed that its lease is lost
                    elif not self.act(worker, random):
                        runner.workers.remove(worker)
            self.check()
            if not self.runners and not self.unended():
                break
        assert not self.unended(), self.unended()
        assert not self.runners
        assert not self.rows("SELECT 1 FROM seed_runs WHERE state IN ('pending', 'running')")
        poisoned = ", ".join(map(str, POISON))
        assert not self.rows(
            f"SELECT 1 FROM seed_runs WHERE seed IN ({poisoned}) AND state = 'finished'"
        )
        incomplete = self.rows(
            "SELECT r.id, COUNT(e.step) FROM seed_runs r LEFT JOIN evaluations e "
            f"ON e.seed_run_id = r.id WHERE r.state IN ('finished', 'diverged') GROUP BY r.id "
            f"HAVING COUNT(e.step) <> {STEPS}"
        )
        assert not incomplete, "a finished seed has a row for every step"

    def unended(self) -> list[Any]:
        """Sweeps that have not ended."""
        return self.rows(
            "SELECT id, state, desired FROM sweeps "
            "WHERE state NOT IN ('finished', 'cancelled', 'failed')"
        )


def lease(
    conn: Connection, sweep_id: str, owner: str, epoch: int, *, again: bool = False
) -> ClaimedPack | None:
    """One claim, as runners and trials make it."""
    return claim_pack(
        conn, sweep_id, owner=owner, epoch=epoch, lease_seconds=LEASE_SECONDS, again=again
    )


def _resume_if_paused(conn: Connection, sweep_id: str) -> None:
    if transitions.lock_sweep(conn, sweep_id).desired == Desired.PAUSE:
        try:
            transitions.resume(conn, sweep_id)
        except WrongState:
            return


#: Queries that must find nothing, and what it would mean if they did.
BROKEN = {
    "SELECT r.id FROM seed_runs r JOIN packs p ON p.id = r.pack_id WHERE r.state IN "
    "('pending', 'running') AND p.state NOT IN ('pending', 'leased')": "an open seed is nobody's",
    "SELECT r.id FROM seed_runs r JOIN packs p ON p.id = r.pack_id "
    "WHERE r.state = 'running' AND p.state <> 'leased'": "a seed runs that nobody trains",
    "SELECT s.id FROM sweeps s JOIN packs p ON p.sweep_id = s.id WHERE s.state IN "
    "('finished', 'cancelled', 'failed') AND p.state IN ('pending', 'leased')": (
        "an ended sweep has open packs"
    ),
    "SELECT s.id FROM sweeps s WHERE s.state NOT IN ('failed', 'cancelled') "
    "AND s.max_failed_seeds < (SELECT COUNT(*) FROM seed_runs r WHERE r.sweep_id = s.id "
    "AND r.state = 'failed')": "too many seeds have failed",
    "SELECT s.id FROM sweeps s JOIN seed_runs r ON r.sweep_id = s.id WHERE s.state IN "
    "('finished', 'cancelled', 'failed') AND r.state IN ('pending', 'running')": (
        "an ended sweep has open seeds"
    ),
    "SELECT s.id FROM sweeps s JOIN packs p ON p.sweep_id = s.id "
    "WHERE s.state = 'paused' AND p.state = 'leased'": "a paused sweep is trained",
    "SELECT s.id FROM sweeps s WHERE (SELECT COUNT(*) FROM packs p WHERE p.sweep_id = s.id "
    "AND p.state = 'leased') > COALESCE(s.max_concurrent_trials, 1000)": "too many trials",
    "SELECT s.id FROM sweeps s WHERE (SELECT COUNT(*) FROM events e WHERE e.sweep_id = s.id) "
    "<> s.revision": "events have a gap",
    "SELECT r.id FROM seed_runs r JOIN evaluations e ON e.seed_run_id = r.id "
    "WHERE e.step > r.steps": "a row lies beyond its seed's steps",
}
