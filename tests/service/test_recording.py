"""The record behind the recorder's protocol: patient with an outage, strict with a lost lease."""

import math
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from db.engine import writing
from ngpu_core.events import CarryThreshold, Outcome, SeedEnded, TrainingEpoch
from service.control.recording import SqlRecorder, persist, rows_of
from sweeps.recorder import Fenced, RecordUnreachable
from tests.sweeps.tiny import REVERSE, open_record, pack_rows, queue_of, results, submit_sweep

EPOCH = TrainingEpoch(
    seed=0, step=4, task="rev", length=6, curriculum_length=3, loss=math.nan, sequences=8,
    wrong_sequences=8, symbols=16, wrong_symbols=12, learning_rate=0.001, pull=0.0,
)  # fmt: skip


def away(conn: Connection) -> None:
    raise OperationalError("SELECT 1", {}, sqlite3.OperationalError("the server closed"))


def test_a_record_that_comes_back_in_time_is_written(tmp_path: Path) -> None:
    _, engine = open_record(tmp_path)
    answers = iter([away, away, lambda conn: conn.execute(text("SELECT 7")).scalar_one()])
    assert persist(engine, lambda conn: next(answers)(conn), seconds=30) == 7


def test_a_record_that_stays_away_is_given_up_after_the_lease_and_its_grace(
    tmp_path: Path,
) -> None:
    _, engine = open_record(tmp_path)
    began = time.monotonic()
    with pytest.raises(RecordUnreachable, match="no answer for"):
        persist(engine, away, seconds=0.5)
    assert time.monotonic() - began < 10


def test_a_writer_waits_while_another_holds_the_record(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0]])
    work = queue_of(url, engine, sweep).claim()
    assert work is not None
    recorder = SqlRecorder(engine, work)
    write = threading.Thread(
        target=recorder.record, args=([EPOCH],), kwargs={"steps": {0: 4}, "wall_seconds": 1.0}
    )
    with writing(engine):
        write.start()
        time.sleep(0.5)
        assert write.is_alive()
    write.join(timeout=30)
    assert len(results(engine, sweep)["training_epochs"]) == 1


def test_every_method_of_a_recorder_refuses_a_fence_of_the_past(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0]])
    work = queue_of(url, engine, sweep).claim()
    assert work is not None
    assert queue_of(url, engine, sweep).claim() is not None
    late = SqlRecorder(engine, work)
    for act in (
        lambda: late.note_engine([0], engine="native", instruction_set=None),
        lambda: late.record([EPOCH], steps={0: 4}, wall_seconds=1.0),
        lambda: late.checkpoint([EPOCH], [], steps={0: 4}, wall_seconds=1.0),
        late.complete,
        late.forget_checkpoints,
        late.renew,
        lambda: late.fail("raised"),
    ):
        with pytest.raises(Fenced):
            act()
    assert results(engine, sweep)["training_epochs"] == []


def test_measurements_go_to_their_tables_under_their_columns_names() -> None:
    threshold = CarryThreshold(seed=0, step=4, task="badd", threshold=None, limit=9)
    rows = rows_of([EPOCH, threshold])
    assert [row["step"] for row in rows.training_epochs] == [4]
    assert rows.carry_results == [
        {"seed": 0, "step": 4, "task": "badd", "threshold": None, "carry_limit": 9}
    ]


def test_the_last_seeds_end_completes_its_pack_and_may_be_repeated(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0, 1]])
    work = queue_of(url, engine, sweep).claim()
    assert work is not None
    recorder = SqlRecorder(engine, work)
    for seed, state in ((0, "leased"), (1, "done"), (1, "done")):
        ended = SeedEnded(seed=seed, outcome=Outcome.DIVERGED, step=4, reason="loss")
        recorder.end_seed([], ended, None, wall_seconds=1.0)
        [pack] = pack_rows(engine, sweep)
        assert pack.state == state
    recorder.complete()
    assert recorder.renew()


def test_a_seed_cannot_end_in_a_pack_that_another_completed(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0]])
    late, work = (queue_of(url, engine, sweep).claim() for _ in range(2))
    assert late is not None
    assert work is not None
    ended = SeedEnded(seed=0, outcome=Outcome.DIVERGED, step=4, reason="loss")
    SqlRecorder(engine, work).end_seed([], ended, None, wall_seconds=1.0)
    with pytest.raises(Fenced):
        SqlRecorder(engine, late).end_seed([], ended, None, wall_seconds=1.0)
