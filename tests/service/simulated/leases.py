"""Leases: how a pack is taken, and what must hold of it then."""

from sqlalchemy import Connection

from db.leasing import ClaimedPack, claim_pack
from tests.service.simulated.processes import LEASE_SECONDS
from tests.service.simulated.world import World


def lease(
    conn: Connection, sweep_id: str, owner: str, epoch: int, *, again: bool = False
) -> ClaimedPack | None:
    """One claim, as runners and trials make it."""
    return claim_pack(
        conn, sweep_id, owner=owner, epoch=epoch, lease_seconds=LEASE_SECONDS, again=again
    )


def begun(world: World, pack: ClaimedPack, due: int) -> int:
    """The step a leased pack goes on from: all its seeds from the same, with nothing beyond."""
    former = world.holders.get(pack.pack_id)
    assert former is None or not world.holds(former) or former.pack.fence < pack.fence
    resumed = {ref.seed: ref.step for ref in pack.resume} or dict.fromkeys(pack.seeds, 0)
    assert resumed == dict.fromkeys(pack.seeds, due), "the seeds of a pack resume at other steps"
    beyond = world.rows(
        f"SELECT 1 FROM evaluations e JOIN seed_runs r ON r.id = e.seed_run_id "
        f"WHERE r.pack_id = {pack.pack_id} AND r.state = 'running' AND e.step > {due}"
    )
    assert not beyond, "a curve must not mix two executions"
    return due
