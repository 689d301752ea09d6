"""Trials over a real record: what they leave behind, undisturbed and disturbed anywhere."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from db.engine import writing
from db.giving_back import fail_pack
from db.submission import cancel, retry
from db.transitions import pause, rest_sweep, resume
from ngpu_core.checkpoint import CorruptCheckpoint
from ngpu_core.config import RunConfig
from service.collection import collect
from service.control.recording import LEASE_SECONDS
from sweeps.recorder import RecordUnreachable
from sweeps.trial import TrialEnd, trial_steps
from tests.sweeps.bench import Bench, KilledAtCall, claimed
from tests.sweeps.tiny import (
    REVERSE,
    checkpoint_paths,
    pack_rows,
    recorders,
    results,
)

ADDITION = replace(
    REVERSE,
    model=replace(REVERSE.model, filters=2, input_symbols=33, output_symbols=33),
    training=replace(REVERSE.training, tasks=("badd",), min_length=5, max_length=7, bins=(8,)),
    evaluation=replace(REVERSE.evaluation, lengths=(7, 11), carry_limit=4),
)
DIVERGING = replace(REVERSE, training=replace(REVERSE.training, divergence_factor=0.01))
RAISING = replace(REVERSE, training=replace(REVERSE.training, tasks=("nonesuch",)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@cache
def undisturbed(run: RunConfig, packs: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), run, [list(seeds) for seeds in packs])
        bench.finish(flush_seconds=1.0)
        found = results(bench.engine, bench.sweep)
        bench.engine.dispose()
        return found


@pytest.mark.parametrize("run", [REVERSE, ADDITION])
def test_every_seed_has_one_row_an_epoch_and_a_test_and_length(run: RunConfig) -> None:
    found = undisturbed(run, ((0, 1), (2,)))
    epochs = run.training.max_steps // run.training.steps_per_epoch
    assert len(found["training_epochs"]) == 3 * epochs
    last = [row for row in found["evaluations"] if run.training.max_steps in row]
    assert len(last) == 3 * len(run.evaluation.lengths)
    assert [row[2:4] for row in found["seeds"]] == [("finished", run.training.max_steps)] * 3
    assert len(found["carry_results"]) == (3 if run.evaluation.carry_limit else 0)
    assert len(found["probe_results"]) == (3 * 2 if run.evaluation.probes else 0)  # lengths 7, 9


kills = st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=4)


@given(kills, st.sampled_from([REVERSE, ADDITION]))
@settings(max_examples=12)
def test_a_trial_killed_at_any_writes_and_resumed_leaves_the_rows_of_an_undisturbed_one(
    kills: list[tuple[int, bool]], run: RunConfig
) -> None:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), run, [[0, 1], [2]])
        fired = [bench.trial_killed_at(call, committed) for call, committed in kills]
        bench.finish()
        assert results(bench.engine, bench.sweep) == undisturbed(run, ((0, 1), (2,)))
        pointed = set(checkpoint_paths(bench.engine, bench.sweep))
        assert pointed <= set(bench.files())
        # A kill between a seed's last commit and its tidying leaves the one file it replaced.
        after_commit = sum(committed for _, committed in kills)
        assert len(bench.files()) - len(pointed) <= after_commit
        collect(bench.engine, bench.checkpoints)
        assert set(bench.files()) == pointed
        assert fired[0]
        bench.engine.dispose()


def test_a_resumed_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0, 1]])
    assert bench.trial_killed_at(12)
    work = claimed(bench.queue())
    assert [ref.seed for ref in work.resume] == [0, 1]
    assert 0 < work.resume[0].step < REVERSE.training.max_steps
    assert work.wall_seconds > 0


def test_a_cancelled_pack_writes_nothing_more_and_ends_quietly(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0]])
    work = claimed(bench.queue())

    def cancel_sweep() -> None:
        with writing(bench.engine) as conn:
            cancel(conn, bench.sweep)

    recorder = KilledAtCall(recorders(bench.url)(work), 5, True, cancel_sweep)
    assert bench.trial(work, recorder) is TrialEnd.FENCED
    (seed,) = results(bench.engine, bench.sweep)["seeds"]
    assert seed[2] == "cancelled"
    assert seed[3] < REVERSE.training.max_steps
    assert bench.files() == checkpoint_paths(bench.engine, bench.sweep)


def test_training_that_raises_is_charged_and_split_until_each_seed_has_failed(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, RAISING, [[0, 1, 2]], max_failures=1)
    queue = bench.queue()
    ends = []
    while (work := queue.claim()) is not None:
        ends.append(bench.trial(work))
    assert ends == [TrialEnd.FAILED] * 5
    assert [row[2] for row in results(bench.engine, bench.sweep)["seeds"]] == ["failed"] * 3
    assert "nonesuch" in pack_rows(bench.engine, bench.sweep)[-1].error


def test_a_diverged_seed_is_a_result_without_a_checkpoint(tmp_path: Path) -> None:
    bench = Bench(tmp_path, DIVERGING, [[0, 1]])
    bench.finish()
    seeds = results(bench.engine, bench.sweep)["seeds"]
    assert [row[2] for row in seeds] == ["diverged", "diverged"]
    assert "times the first" in seeds[0][4]
    assert [pack.state for pack in pack_rows(bench.engine, bench.sweep)] == ["done"]
    assert bench.files() == []


@pytest.mark.parametrize("damage", ["cut", "altered", "deleted"])
def test_a_damaged_checkpoint_is_named_and_its_pack_starts_anew(
    tmp_path: Path, damage: str
) -> None:
    bench = Bench(tmp_path, REVERSE, [[0]])
    assert bench.trial_killed_at(12)
    (name,) = checkpoint_paths(bench.engine, bench.sweep)
    file = bench.checkpoints / name
    content = file.read_bytes()
    file.write_bytes(content[:-10] if damage == "cut" else content[:-1] + b"\1")
    if damage == "deleted":
        file.unlink()
    queue = bench.queue()
    work = claimed(queue)
    with pytest.raises(CorruptCheckpoint, match=file.name):
        bench.trial(work)
    queue.release(work.pack_id, work.fence, None)
    again = claimed(queue)
    assert again.resume == ()
    assert bench.trial(again) is TrialEnd.COMPLETE
    assert results(bench.engine, bench.sweep) == undisturbed(REVERSE, ((0,),))


def test_a_seed_retried_in_a_new_pack_goes_on_from_its_checkpoint_and_moves_it(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, REVERSE, [[0]], max_failures=1)
    assert all(bench.trial_killed_at(6) for _ in range(3))
    work = claimed(bench.queue())
    with writing(bench.engine) as conn:
        fail_pack(conn, work.pack_id, work.fence, "raised")
        assert retry(conn, bench.sweep) == 1
    bench.finish()
    assert results(bench.engine, bench.sweep) == undisturbed(REVERSE, ((0,),))
    (pointed,) = checkpoint_paths(bench.engine, bench.sweep)
    assert bench.files() == [pointed]
    assert f"/{REVERSE.training.max_steps}-" in pointed


def test_a_worker_that_comes_back_late_writes_nothing_and_deletes_no_checkpoint(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, REVERSE, [[0]])
    late = claimed(bench.queue())
    bench.finish()
    assert bench.trial(late) is TrialEnd.FENCED
    assert results(bench.engine, bench.sweep) == undisturbed(REVERSE, ((0,),))
    (pointed,) = checkpoint_paths(bench.engine, bench.sweep)
    assert pointed in bench.files()


def test_a_lease_is_renewed_while_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.lease.RENEW_SECONDS", 0.01)
    bench = Bench(tmp_path, REVERSE, [[0]])
    work = claimed(bench.queue())
    before = pack_rows(bench.engine, bench.sweep)[0].lease_until
    steps = trial_steps(
        work,
        recorders(bench.url)(work),
        checkpoints=bench.checkpoints,
        flush_seconds=float("inf"),
    )
    next(steps)
    time.sleep(0.3)
    after = pack_rows(bench.engine, bench.sweep)[0]
    assert after.lease_until > before
    assert after.lease_until > after.progress_at + timedelta(seconds=LEASE_SECONDS)
    with writing(bench.engine) as conn:
        cancel(conn, bench.sweep)
    time.sleep(0.3)
    rows = results(bench.engine, bench.sweep)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is TrialEnd.FENCED
    assert results(bench.engine, bench.sweep) == rows


class AwayFrom:
    """A recorder whose record is away for a number of writes that do not wait for it."""

    def __init__(self, recorder: Any, writes: int) -> None:
        self._recorder = recorder
        self.left = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._recorder, name)

    def record(self, *args: Any, wait: bool, **kwargs: Any) -> None:
        if not wait and self.left > 0:
            self.left -= 1
            raise RecordUnreachable("no answer")
        self._recorder.record(*args, wait=wait, **kwargs)


@given(st.integers(1, 40))
@settings(max_examples=6)
def test_rows_are_kept_while_the_record_is_away(writes: int) -> None:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), ADDITION, [[0, 1]])
        work = claimed(bench.queue())
        recorder = AwayFrom(recorders(bench.url)(work), writes)
        assert bench.trial(work, recorder) is TrialEnd.COMPLETE
        assert recorder.left < writes
        assert results(bench.engine, bench.sweep) == undisturbed(ADDITION, ((0, 1),))
        bench.engine.dispose()


def test_a_trial_told_to_leave_does_so_at_the_next_epoch_and_loses_no_step(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0, 1]])
    work = claimed(bench.queue())
    steps = trial_steps(
        work,
        recorders(bench.url)(work),
        checkpoints=bench.checkpoints,
        checkpoint_seconds=float("inf"),
        told_to_leave=lambda: True,
    )
    assert _rest(steps) is TrialEnd.RELEASED
    (pack,) = pack_rows(bench.engine, bench.sweep)
    assert (pack.state, pack.user_attempts, pack.infra_attempts) == ("pending", 0, 0)
    again = claimed(bench.queue())
    epoch = REVERSE.training.steps_per_epoch
    assert [ref.step for ref in again.resume] == [epoch, epoch]
    bench.trial(again)
    assert results(bench.engine, bench.sweep) == undisturbed(REVERSE, ((0, 1),))


def _rest(steps: Generator[int, None, TrialEnd]) -> TrialEnd:
    """How a trial ends when it is followed from here on."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_a_trial_of_a_sweep_that_pauses_leaves_at_a_checkpoint_and_loses_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.lease.RENEW_SECONDS", 0.01)
    bench = Bench(tmp_path, REVERSE, [[0, 1]])
    work = claimed(bench.queue())
    steps = trial_steps(
        work,
        recorders(bench.url)(work),
        checkpoints=bench.checkpoints,
        flush_seconds=0.0,
        checkpoint_seconds=float("inf"),
    )
    next(steps)
    with writing(bench.engine) as conn:
        pause(conn, bench.sweep)
    time.sleep(0.3)
    assert _rest(steps) is TrialEnd.RELEASED
    (pack,) = pack_rows(bench.engine, bench.sweep)
    assert (pack.state, pack.user_attempts, pack.infra_attempts) == ("pending", 0, 0)
    before = results(bench.engine, bench.sweep)
    assert 0 < before["seeds"][0][3] < REVERSE.training.max_steps
    with writing(bench.engine) as conn:
        assert rest_sweep(conn, bench.sweep)
        assert resume(conn, bench.sweep)
    again = claimed(bench.queue())
    assert [ref.step for ref in again.resume] == [before["seeds"][0][3]] * 2
    assert results(bench.engine, bench.sweep)["training_epochs"] == before["training_epochs"]
    bench.trial(again)
    assert results(bench.engine, bench.sweep) == undisturbed(REVERSE, ((0, 1),))
