"""Which packs may be claimed, said a second time: plainly, from all rows, without SQL's help."""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.states import OPEN_SWEEPS, TRAINING, Desired, PackState

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The rows that decide about a claim, just before it; times are texts that compare."""

    now: str
    sweeps: dict[str, Row]
    packs: dict[int, Row]
    runners: dict[str, Row]
    #: Pack -> the steps of its open seed runs' checkpoints; None where one has none.
    checkpointed: dict[int, list[int | None]]

    def broken(self, sweep_id: str, pack_id: int, epoch: int) -> list[str]:
        """The rules that a runner of this epoch breaks by claiming this pack."""
        sweep, pack = self.sweeps[sweep_id], self.packs[pack_id]
        inherited = pack["state"] == PackState.LEASED
        began = pack["fence"] > 0 or pack["parent_id"] is not None
        rules = {
            "its sweep is to be trained": self._wanted(sweep),
            "the runner is the newest": sweep["runner_epoch"] <= epoch,
            "a held pack is a former runner's": not inherited or pack["epoch"] < epoch,
            "nobody holds it, or a former runner": pack["state"] in ("pending", "leased"),
            "a pack that failed has rested": inherited or self._due(pack),
            "a stopping sweep begins nothing": sweep["desired"] != Desired.STOP or began,
            "it has room for one more trial": inherited or self._room(sweep, epoch),
            "none of a greater priority waits": inherited or not self._outranked(sweep),
        }
        return [rule for rule, holds in rules.items() if not holds]

    def resumes_at(self, pack_id: int) -> int:
        """The newest step that all open seeds of a pack can go on from; each has one at most."""
        steps = set(self.checkpointed[pack_id])
        common = steps.pop()
        return common or 0 if not steps else 0

    def _wanted(self, sweep: Row) -> bool:
        return sweep["state"] in OPEN_SWEEPS and sweep["desired"] in TRAINING

    def _due(self, pack: Row) -> bool:
        return pack["not_before"] is None or pack["not_before"] <= self.now

    def _of(self, sweep: Row) -> Sequence[Row]:
        return [pack for pack in self.packs.values() if pack["sweep_id"] == sweep["id"]]

    def _room(self, sweep: Row, epoch: int = 0) -> bool:
        most = sweep["max_concurrent_trials"]
        trained = [
            pack
            for pack in self._of(sweep)
            # A claim closes what a former runner's worker had only to say was done.
            if pack["state"] == PackState.LEASED
            and (pack["id"] in self.checkpointed or pack["epoch"] >= epoch)
        ]
        return most is None or most > len(trained)

    def _outranked(self, sweep: Row) -> bool:
        return any(
            other["priority"] > sweep["priority"]
            and self._wanted(other)
            and self._room(other)
            and other["id"] in self.runners
            and self.runners[other["id"]]["lease_until"] >= self.now
            and any(pack["state"] == "pending" and self._due(pack) for pack in self._of(other))
            for other in self.sweeps.values()
        )


def look(connection: sqlite3.Connection, now: str) -> Moment:
    """The record at this moment."""

    def rows(table: str, key: str) -> dict[Any, Row]:
        found = connection.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in found.description]
        listed = [dict(zip(names, row, strict=True)) for row in found]
        return {row[key]: row for row in listed}

    checkpointed = defaultdict(list)
    for pack_id, step in connection.execute(
        "SELECT r.pack_id, k.step FROM seed_runs r LEFT JOIN checkpoints k "
        "ON k.seed_run_id = r.id WHERE r.state IN ('pending', 'running')"
    ):
        checkpointed[pack_id].append(step)
    return Moment(
        checkpointed=checkpointed,
        now=now,
        sweeps=rows("sweeps", "id"),
        packs=rows("packs", "id"),
        runners=rows("runners", "sweep_id"),
    )
