"""The science itself fails: one seed of many is poison."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec, undisturbed
from tests.sweeps.tiny import results

POISON = 19
Rows = list[tuple[Any, ...]]


@pytest.mark.case(22, "One seed of a pack of 32 raises whenever it trains")
@pytest.mark.timeout(900)
def test_a_poison_seed_is_isolated(build: Build, entry: Entry) -> None:
    text = spec(steps=400, seeds=32, together=32)
    stand = build("local", pace=0.05)
    stand.fault.poison(POISON)
    stand.submit(text)
    stand.start()
    stand.wait(lambda: stand.service.state(stand.sweep) == "finished", 300)
    entry.fired(f"process {stand.fault.wait_until_fired()} raised")
    packs = stand.service.packs(stand.sweep)
    rounds = sum(row.state == "split" for row in packs)
    entry.fired(f"split {rounds} times until it stood alone", 1 <= rounds <= 6)
    stand.settle(expected=_with_a_failed_seed(undisturbed(text), stand.engine, stand.sweep))
    stand.end()


def _with_a_failed_seed(
    expected: Mapping[str, Rows], engine: Engine, sweep: str
) -> dict[str, Rows]:
    """The undisturbed results, less those of the poison seed, which has failed."""
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
