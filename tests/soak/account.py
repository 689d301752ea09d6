"""The soak's account: every number held against those of an undisturbed run."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

from tests.soak.record import Key, Measured

#: Differences spelled out.
SHOWN = 20


@dataclass(kw_only=True)
class Comparison:
    """What comparing the disturbed seed runs with undisturbed ones found."""

    seed_runs: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    different: int = 0
    differences: list[str] = field(default_factory=list)

    def compare(self, sweep: str, key: Key, found: Measured, reference: Measured) -> None:
        """Hold one seed run's rows against the reference's."""
        self.seed_runs += 1
        for table in sorted({*found, *reference}):
            there, wanted = Counter(found.get(table, [])), Counter(reference.get(table, []))
            self.rows += there.total()
            more, less = there - wanted, wanted - there
            if not more and not less:
                continue
            self.lost += max(0, wanted.total() - there.total())
            self.doubled += max(0, there.total() - wanted.total())
            self.different += min(more.total(), less.total())
            if len(self.differences) < SHOWN:
                row = next(chain(more, less))
                self.differences.append(f"{sweep} {key[0][:8]} seed {key[1]}: {table} {row}")
