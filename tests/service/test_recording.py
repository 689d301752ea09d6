"""The record behind the recorder's protocol: patient with an outage, strict with a lost lease."""

import math
import sqlite3
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from db.engine import writing
from ngpu_core.events import CarryThreshold, Outcome, ProbeResult, SeedEnded, TrainingEpoch
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
    probed = ProbeResult(
        seed=0, step=4, task="mul", probe="padded_digits", point=22, label="2×2", sequences=1,
        wrong_sequences=1, symbols=201, wrong_symbols=15, first_wrong=0, last_wrong=56,
    )  # fmt: skip
    rows = rows_of([EPOCH, threshold, probed])
    assert [row["step"] for row in rows.training_epochs] == [4]
    assert rows.carry_results == [
        {"seed": 0, "step": 4, "task": "badd", "threshold": None, "carry_limit": 9}
    ]
    assert rows.probe_results == [asdict(probed)]


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


def end_of(seed: int) -> SeedEnded:
    return SeedEnded(seed=seed, outcome=Outcome.DIVERGED, step=4, reason="loss")


def test_a_trial_goes_on_with_the_next_pack_until_it_wants_none(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0], [1], [2, 3]])
    work = queue_of(url, engine, sweep).claim("t1")
    trained = []
    while work is not None:
        recorder = SqlRecorder(engine, work, lambda: len(trained) < 2)
        for seed in work.seeds:
            assert recorder.next_pack() is None
            recorder.end_seed([], end_of(seed), None, wall_seconds=1.0)
        recorder.complete()
        trained.append(work.seeds)
        work = recorder.next_pack()
    assert trained == [(0,), (1,), (2, 3)]
    assert [pack.state for pack in pack_rows(engine, sweep)] == ["done"] * 3


def test_a_trial_whose_answer_was_lost_holds_the_next_pack_once(tmp_path: Path) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0], [1], [2]])
    work = queue_of(url, engine, sweep).claim("t1")
    assert work is not None
    following = []
    for _ in range(2):
        recorder = SqlRecorder(engine, work, lambda: True)
        recorder.end_seed([], end_of(0), None, wall_seconds=1.0)
        following.append(recorder.next_pack())
    first, second = following
    assert first is not None
    assert second is not None
    assert (second.pack_id, second.fence) == (first.pack_id, first.fence + 1)
    assert [pack.state for pack in pack_rows(engine, sweep)] == ["done", "leased", "pending"]


def test_a_trial_that_was_given_up_loses_what_it_holds_now_and_gets_no_more(
    tmp_path: Path,
) -> None:
    url, engine = open_record(tmp_path)
    sweep = submit_sweep(engine, [REVERSE], [[0], [1], [2]])
    queue = queue_of(url, engine, sweep)
    work, other = queue.claim("t1"), queue.claim("t2")
    assert work is not None
    assert other is not None
    recorder = SqlRecorder(engine, work, lambda: True)
    recorder.end_seed([], end_of(0), None, wall_seconds=1.0)
    held = recorder.next_pack()
    assert held is not None
    queue.release_held(work.holder, "its process died")
    states = {pack.id: (pack.state, pack.infra_attempts) for pack in pack_rows(engine, sweep)}
    assert states == {
        work.pack_id: ("done", 0),
        held.pack_id: ("pending", 1),
        other.pack_id: ("leased", 0),
    }
    late = SqlRecorder(engine, held, lambda: True)
    with pytest.raises(Fenced):
        late.end_seed([], end_of(held.seeds[0]), None, wall_seconds=1.0)
    assert late.next_pack() is None
