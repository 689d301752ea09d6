"""What a sweep under fault must have recorded in the end, and what was ever seen of it before."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from db.engine import reading, writing
from db.models import packs, seed_runs, sweeps, training_epochs
from db.states import PackState
from db.submission import submit
from service.submission import new_sweep
from sweeps.local_runner import run_locally
from sweeps.spec import load_spec
from sweeps.text import read_document
from tests.sweeps.tiny import open_record, queue_of, recorders, results

#: Packs of seeds that train in seconds, or for as long as each epoch is told to pause.
SPEC = """
name: fault
base:
  model: {family: neural_gpu, filters: 2, height: 2, weight_copies: 2}
  training: {tasks: [rev], max_steps: STEPS, batch_size: 8, min_length: 1, max_length: 3,
             bins: [3, 6], steps_per_epoch: 40}
  evaluation: {tasks: [rev], lengths: [2, 6], sequences: 8, every: 80}
seeds: {count: SEEDS}
resources: {seeds_per_trial: TOGETHER}
retry: {max_failures: 1}
success: {length: 6, below: 0.5}
"""

Rows = dict[str, list[tuple[Any, ...]]]


def spec(steps: int = 4000, seeds: int = 4, together: int = 2) -> str:
    """A sweep of one configuration.

    Args:
        steps: Of each seed, 40 an epoch.
        seeds: Of the configuration.
        together: Seeds of a pack.
    """
    values = {"STEPS": steps, "SEEDS": seeds, "TOGETHER": together}
    text = SPEC
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


def submitted(engine: Engine, text: str) -> str:
    """The id of a new sweep of a spec."""
    with writing(engine) as conn:
        return submit(conn, new_sweep(load_spec(read_document(text, "yaml"))), new=True)[0]


@cache
def undisturbed(text: str) -> Mapping[str, list[tuple[Any, ...]]]:
    """What a spec measures when nothing happens to it; trained once a session, in this process."""
    with TemporaryDirectory() as folder:
        url, engine = open_record(Path(folder))
        sweep = submitted(engine, text)
        run_locally(queue_of(url, engine, sweep), recorders(url), Path(folder))
        found = results(engine, sweep)
        engine.dispose()
        return found


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is wrong with a sweep's rows; all 0 when nothing is."""

    #: Rows in the record in the end.
    rows: int
    #: Rows that a reader had seen committed and that are not there, or with another value.
    lost: int
    #: Rows beyond those of the undisturbed run.
    doubled: int
    #: Rows of the undisturbed run that are missing, or have another value.
    wrong: int


class Witness(threading.Thread):
    """Reads a sweep's rows again and again, and remembers each it has ever seen committed."""

    def __init__(self, engine: Engine, sweep_id: str) -> None:
        super().__init__(name="witness", daemon=True)
        self._engine = engine
        self._sweep = sweep_id
        self._closed = threading.Event()
        self._seen: dict[str, set[tuple[Any, ...]]] = {}

    def run(self) -> None:
        """Look until closed; a record that is away is looked at again."""
        while not self._closed.wait(0.3):
            try:
                found = results(self._engine, self._sweep)
            except DBAPIError:
                continue
            del found["seeds"]
            for table, rows in found.items():
                self._seen.setdefault(table, set()).update(rows)

    def judge(self, expected: Mapping[str, list[tuple[Any, ...]]]) -> Loss:
        """End, and hold what is there against what was seen and what should be."""
        self._closed.set()
        self.join()
        found = results(self._engine, self._sweep)
        lost = doubled = wrong = 0
        for table, rows in found.items():
            there, due = set(rows), set(expected[table])
            lost += len(self._seen.get(table, set()) - there)
            doubled += len(rows) - len(there) + len(there - due)
            wrong += len(due - there)
        return Loss(rows=sum(map(len, found.values())), lost=lost, doubled=doubled, wrong=wrong)


def held_fences(engine: Engine, sweep_id: str) -> dict[int, int]:
    """Pack -> fence of the packs that a worker of the newest runner holds now.

    A dead runner's pack stays leased until somebody is free for it: nobody trains it meanwhile.
    """
    p, s = packs.c, sweeps.c
    held = (
        select(p.id, p.fence)
        .join(sweeps, s.id == p.sweep_id)
        .where(s.id == sweep_id, p.state == PackState.LEASED, p.epoch == s.runner_epoch)
    )
    with reading(engine) as conn:
        return {row.id: row.fence for row in conn.execute(held)}


def written_fences(engine: Engine, sweep_id: str) -> dict[int, int]:
    """Pack -> the newest fence under which a training row was written."""
    s, t = seed_runs.c, training_epochs.c
    newest = (
        select(s.pack_id, func.max(t.fence).label("fence"))
        .join(training_epochs, t.seed_run_id == s.id)
        .where(s.sweep_id == sweep_id)
        .group_by(s.pack_id)
    )
    with reading(engine) as conn:
        return {row.pack_id: row.fence for row in conn.execute(newest)}


def answers(act: Callable[[], bool]) -> bool:
    """What an act says of the record; no, while the record is away."""
    try:
        return act()
    except DBAPIError:
        return False
