"""`/seeds/{id}/logs`: what the log says about one seed run."""

from fastapi import APIRouter

from db import queries
from service.api.parameters import Limit
from service.api.seeds import SeedRunId
from service.dependencies import ConnectionDep, SettingsDep
from service.problems import responses
from service.schemas import Page
from service.seed_logs import LogLine, seed_log

router = APIRouter(prefix="/seeds/{seed_run_id}", tags=["seeds"], responses=responses(404, 422))


@router.get("/logs")
def seed_logs(
    seed_run_id: SeedRunId, conn: ConnectionDep, settings: SettingsDep, limit: Limit = 100
) -> Page[LogLine]:
    """The last lines of the log that name it; none where this process has no folder of logs."""
    seed = queries.seed(conn, seed_run_id)
    lines = seed_log(
        settings.logs / f"{seed['sweep_id']}.log",
        configuration_id=seed["configuration_id"],
        seed=seed["seed"],
        limit=limit,
    )
    return Page(items=lines, next_cursor=None)
