"""The processes that may die: workers and the runners that claim for them."""

from dataclasses import dataclass, field

from db.leasing import ClaimedPack
from db.recording import Lease

LEASE_SECONDS = 30.0
RUNNER_SECONDS = 15.0
STALL_SECONDS = 100.0


@dataclass(eq=False, kw_only=True)
class Worker:
    """A process that trains a line of packs, one after the other."""

    pack: ClaimedPack
    step: int
    #: Its name in the record, and its runner's epoch.
    owner: str
    epoch: int
    ended: set[int] = field(default_factory=set)
    leaving: bool = False
    hung: bool = False

    @property
    def lease(self) -> Lease:
        """What its writes name."""
        return Lease(pack_id=self.pack.pack_id, fence=self.pack.fence, seconds=LEASE_SECONDS)

    @property
    def active(self) -> list[int]:
        """Its seeds that go on."""
        return [seed for seed in self.pack.seeds if seed not in self.ended]


@dataclass(eq=False, kw_only=True)
class Runner:
    """A process that claims the packs of one sweep."""

    sweep_id: str
    epoch: int
    workers: list[Worker] = field(default_factory=list)
    #: Looks since it was asked to end.
    asked: int = 0
