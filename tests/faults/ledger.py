"""What each case of the fault matrix showed, kept as JSON for `docs/reliability.md`."""

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from service.version import code_version

#: Names the file that results are kept in; without it nothing is kept.
VARIABLE = "NGPU_FAULT_RECORD"
#: Multiplies every goal and every wait, on a machine that has other work; 1 where it is not set.
PATIENCE = "NGPU_FAULT_PATIENCE"


@dataclass(kw_only=True)
class Entry:
    """One case as it went."""

    #: Number in the matrix.
    case: int
    #: The test that ran it.
    test: str
    #: What it ran on: `ray` or `local` or `web`, and the database.
    runner: str = ""
    database: str = ""
    #: What was done, and what proves that it was.
    injected: str = ""
    proof: list[str] = field(default_factory=list)
    #: Seconds from the fault (or its end, see `recovery_from`) to the first row written after it.
    recovery_seconds: float | None = None
    recovery_from: str = "fault"
    #: Most seconds permitted.
    goal_seconds: float | None = None
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    at: str = ""
    #: Processes that wanted a processor, averaged over the last minute of the case.
    load: float = 0.0
    #: Version of the code it ran.
    code: str = ""

    def fired(self, fact: str, holds: object = True) -> None:
        """Note a proof that the fault was real.

        Raises:
            AssertionError: It does not hold.
        """
        assert holds, f"the fault did not fire: {fact}"
        self.proof.append(fact)

    def recovered(self, seconds: float, goal: float | None = None, *, since: str = "fault") -> None:
        """Note the longest recovery of the case.

        Raises:
            AssertionError: It took longer than the goal.
        """
        self.recovery_seconds = round(max(seconds, self.recovery_seconds or 0.0), 2)
        self.recovery_from = since
        self.goal_seconds = goal
        most = None if goal is None else goal * patience()
        assert most is None or seconds <= most, f"recovered after {seconds:.1f} s, goal {goal:g} s"


def patience() -> float:
    """How many times longer than on a machine of its own a case may take."""
    return float(os.environ.get(PATIENCE, "1"))


def keep(entry: Entry) -> None:
    """Put an entry of a case that held into the file, in the place of its last one."""
    name = os.environ.get(VARIABLE)
    if not name:
        return
    path = Path(name)
    entry.code = code_version()
    entry.load = round(os.getloadavg()[0], 1)
    entry.at = datetime.now(UTC).isoformat(timespec="seconds")
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [one for one in kept if one["test"] != entry.test] + [asdict(entry)]
    kept.sort(key=lambda one: (one["case"], one["test"]))
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
