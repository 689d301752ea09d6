"""The science itself fails: one seed of many is poison."""

from pathlib import Path

import pytest

from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec, undisturbed
from tests.service.live import wait_until

POISON = 19


@pytest.mark.case(22, "One seed of a pack of 32 raises whenever it trains")
@pytest.mark.timeout(900)
def test_a_poison_seed_is_isolated(
    build: Build, entry: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fault = injections.in_every_worker(monkeypatch.setenv, tmp_path)
    fault.poison(POISON)
    text = spec(steps=640, seeds=32, together=32)
    stand = build("local")
    stand.submit(text)
    stand.start()
    wait_until(lambda: stand.service.state(stand.sweep) == "finished", 300, stand.service.log)
    entry.fired(f"process {fault.wait_until_fired()} raised")
    packs = stand.service.packs(stand.sweep)
    rounds = sum(row.state == "split" for row in packs)
    entry.fired(f"split {rounds} times until it stood alone", 1 <= rounds <= 6)
    stand.settle(expected=_with_a_failed_seed(undisturbed(text), stand.engine, stand.sweep))
    stand.end()


def _with_a_failed_seed(expected, engine, sweep):  # type: ignore[no-untyped-def]
    """The undisturbed results, less those of the poison seed, which has failed."""
    from tests.sweeps.tiny import results

    left = {table: [row for row in rows if row[1] != POISON] for table, rows in expected.items()}
    seeds = results(engine, sweep)["seeds"]
    failed = [row for row in seeds if row[1] == POISON]
    assert [row[2] for row in failed] == ["failed"]
    left["seeds"] = sorted(left["seeds"] + failed)
    # What it had measured before it raised may stay: it is a failed seed's.
    for table, rows in results(engine, sweep).items():
        if table != "seeds":
            left[table] = left[table] + [row for row in rows if row[1] == POISON]
    return left
