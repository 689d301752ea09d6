"""`/sweeps/{id}/verify`: the proof that a sweep is whole."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.parameters import SweepId
from service.dependencies import ConnectionDep, SettingsDep
from service.problems import responses
from service.verification import Verification
from service.verification import verify as run

router = APIRouter(prefix="/sweeps/{sweep_id}", tags=["sweeps"], responses=responses(404, 422))

Checkpoints = Annotated[
    bool, Query(description="Read the checkpoints too, where this process has their folder.")
]


@router.get("/verify")
def verify(
    sweep_id: SweepId, conn: ConnectionDep, settings: SettingsDep, checkpoints: Checkpoints = True
) -> Verification:
    """Hold every row of a sweep against its spec: none missing, none twice, none too many."""
    return run(conn, sweep_id, settings.checkpoints if checkpoints else None)
