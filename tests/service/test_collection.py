"""Garbage collection of checkpoints: deletes what nothing needs, and nothing else."""

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from db.engine import writing
from db.models import packs
from db.submission import cancel
from service.collection import collect, find_orphans
from service.control.collector import Collector
from service.settings import Settings
from tests.service.live import wait_until
from tests.service.test_cli import Ngpu, ngpu  # noqa: F401
from tests.sweeps.bench import Bench
from tests.sweeps.tiny import REVERSE, checkpoint_paths

on_sqlite = pytest.mark.parametrize("backend", ["sqlite"])


def beside(bench: Bench, name: str, of: int = 0) -> Path:
    """A file next to the checkpoint of a seed."""
    path = bench.checkpoints / checkpoint_paths(bench.engine, bench.sweep)[of]
    path.with_name(name).write_bytes(b"x" * 10)
    return path.with_name(name)


def lease(bench: Bench) -> tuple[int, int]:
    with bench.engine.connect() as conn:
        row = conn.execute(select(packs.c.id, packs.c.fence)).one()
    return row.id, row.fence


def test_files_of_leases_that_are_over_go_and_those_pointed_to_stay(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0, 1]])
    bench.finish()
    pointed = set(bench.files())
    pack, fence = lease(bench)
    orphans = {
        beside(bench, f"4-{pack}-{fence}.pt"),
        beside(bench, f"8-{pack}-{fence - 1}.pt"),
        beside(bench, f"8-{pack}-{fence}.pt.4711.tmp", of=1),
    }
    stranger = beside(bench, "notes.txt")

    found = find_orphans(bench.engine, bench.checkpoints)
    assert {one.path for one in found.files} == orphans
    assert found.bytes == 30
    assert orphans <= set(bench.checkpoints.rglob("*"))

    collect(bench.engine, bench.checkpoints)
    assert set(bench.files()) == pointed | {str(stranger.relative_to(bench.checkpoints))}


def test_what_a_live_lease_writes_stays_until_the_lease_is_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0]])
    assert bench.trial_killed_at(12)
    pack, fence = lease(bench)
    written = beside(bench, f"400-{pack}-{fence}.pt")

    collect(bench.engine, bench.checkpoints)
    assert written.exists()

    with writing(bench.engine) as conn:
        cancel(conn, bench.sweep)
    collect(bench.engine, bench.checkpoints)
    assert bench.files() == checkpoint_paths(bench.engine, bench.sweep)


def test_collecting_while_seeds_train_changes_no_result(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0, 1], [2]])
    collector = Collector(bench.engine, bench.checkpoints, seconds=0.0)
    queue = bench.queue()
    while (work := queue.claim()) is not None:
        from sweeps.trial import trial_steps
        from tests.sweeps.tiny import recorders

        steps = trial_steps(
            work,
            recorders(bench.url)(work),
            checkpoints=bench.checkpoints,
            flush_seconds=0.0,
            checkpoint_seconds=0.0,
        )
        for _ in steps:
            collector.look()
            collect(bench.engine, bench.checkpoints)
    assert bench.files() == checkpoint_paths(bench.engine, bench.sweep)
    assert len(bench.files()) == 3


def test_the_scheduler_s_collector_collects_when_it_is_due(tmp_path: Path) -> None:
    bench = Bench(tmp_path, REVERSE, [[0]])
    bench.finish()
    pack, fence = lease(bench)
    orphan = beside(bench, f"4-{pack}-{fence}.pt")
    Collector(bench.engine, bench.checkpoints).look()
    time.sleep(0.1)
    assert orphan.exists()
    Collector(bench.engine, bench.checkpoints, seconds=0.0).look()
    wait_until(lambda: not orphan.exists(), 10, lambda: "the orphan is still there")


@on_sqlite
def test_folders_of_unknown_sweeps_go_on_request_only(
    ngpu: Ngpu,  # noqa: F811
    settings: Settings,
) -> None:
    settings.make_home()
    file = settings.checkpoints / "01NONESUCH" / "1" / "0" / "4-1-1.pt"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * 7)

    code, out, err = ngpu("checkpoints", "collect", "-o", "json")
    assert (code, json.loads(out)) == (0, [])
    assert "1 folders belong to sweeps this record does not know" in err
    _, out, _ = ngpu("checkpoints", "collect", "--unknown", "--dry-run", "-o", "json")
    assert json.loads(out) == [{"path": "01NONESUCH", "bytes": 7}]
    assert file.exists()
    ngpu("checkpoints", "collect", "--unknown")
    assert not file.exists()
