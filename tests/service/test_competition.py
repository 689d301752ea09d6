"""Two real sweeps on one local Ray: who goes first, and how many trials each may have."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select

from db.engine import reading
from db.models import packs
from sweeps.local_runner import run_locally
from tests.service.live import LONG, Service, running, wait_for_end, wait_for_rows, wait_until
from tests.sweeps.tiny import open_record, queue_of, recorders, results, submit_sweep

PACKS = [[0], [1], [2]]


@dataclass
class Looks:
    """What was seen of two sweeps while they were trained."""

    greater: str
    smaller: str
    #: Most trials seen at once, by sweep.
    most: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def look(self, service: Service) -> bool:
        """One look at both; whether both have ended."""
        with reading(service.engine) as conn:
            query = select(packs.c.sweep_id, packs.c.state, func.count())
            rows = conn.execute(query.group_by(packs.c.sweep_id, packs.c.state)).all()
        number = {(sweep, state): count for sweep, state, count in rows}
        for sweep in (self.greater, self.smaller):
            self.most[sweep] = max(self.most[sweep], number.get((sweep, "leased"), 0))
        waits, trained = (self.greater, "pending"), (self.smaller, "leased")
        if number.get(waits) and number.get(trained):
            self.wrong.append(f"{number}")
        return {service.state(sweep) for sweep in (self.greater, self.smaller)} == {"finished"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_greater_priority_goes_first_and_no_sweep_has_more_trials_than_it_may(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "ray") as service:
        smaller = submit_sweep(service.engine, [LONG], PACKS, priority=0, max_concurrent_trials=1)
        greater = submit_sweep(service.engine, [LONG], PACKS, priority=1)
        looks = Looks(greater, smaller)
        service.start()
        wait_until(lambda: looks.look(service), 600, service.log)
        assert not looks.wrong, "the smaller one was trained while the greater one waited"
        # There is room for two: the first limit is what the machine has, the second is the sweep's.
        assert looks.most == {greater: 2, smaller: 1}
        alone = _alone(tmp_path / "alone")
        assert results(service.engine, greater) == alone
        assert results(service.engine, smaller) == alone
        assert service.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_gives_its_only_processor_to_one_that_goes_first(tmp_path: Path) -> None:
    with running(tmp_path, "ray", cpus=1) as service:
        # Many packs: the greater one's runner takes as long to start as some of them to train.
        many = [[seed] for seed in range(10)]
        smaller = submit_sweep(service.engine, [LONG], many, priority=0)
        service.start()
        wait_for_rows(service, smaller, seconds=300)
        greater = submit_sweep(service.engine, [LONG], PACKS, priority=1)
        wait_for_end(service, greater, seconds=400)
        assert service.state(smaller) == "running"
        wait_for_end(service, smaller, seconds=400)
        assert service.stop() == 0


def _alone(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """What such a sweep measures when nobody competes."""
    folder.mkdir()
    url, engine = open_record(folder)
    sweep = submit_sweep(engine, [LONG], PACKS)
    run_locally(queue_of(url, engine, sweep), recorders(url), folder)
    found = results(engine, sweep)
    engine.dispose()
    return found
