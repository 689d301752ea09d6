"""`/sweeps`: submit, list, show, change and delete."""

import shutil
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from db import queries
from db.deletion import delete_sweep
from db.engine import writing
from db.states import SweepState
from db.submission import retry, submit
from db.transitions import cancel, pause, prioritize, resume, stop
from service import submission
from service.api.body import SPEC_BODY, SpecDep
from service.api.parameters import Cursor, Limit, SweepId
from service.api.rows import estimate, sweep_of, sweep_summary
from service.dependencies import ConnectionDep, EngineDep, SettingsDep
from service.problems import responses
from service.rate import limit_submits
from service.schemas import (
    ChangedSweep,
    Extension,
    Page,
    Priority,
    SubmittedSweep,
    Sweep,
    SweepPreview,
    SweepSummary,
)

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

DryRun = Annotated[bool, Query(description="Answer with the preview; store nothing.")]
New = Annotated[bool, Query(description="Another sweep, even if this spec was submitted before.")]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="The same key gives the same sweep."),
]


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": SubmittedSweep | SweepPreview, "description": "Was there, or a dry run"},
        **responses(400, 409, 413, 415, 422, 429),
    },
    dependencies=[Depends(limit_submits)],
    openapi_extra={"requestBody": SPEC_BODY},
)
def submit_sweep(
    spec: SpecDep,
    engine: EngineDep,
    response: Response,
    dry_run: DryRun = False,
    new: New = False,
    idempotency_key: IdempotencyKey = None,
) -> SubmittedSweep | SweepPreview:
    """Submit a spec, as YAML or JSON. The same spec again gives the sweep that is there."""
    if dry_run:
        response.status_code = 200
        return estimate(engine, spec)
    row = submission.new_sweep(spec, idempotency_key=idempotency_key)
    with writing(engine) as conn:
        sweep_id, created = submit(conn, row, new=new)
        sweep = sweep_of(conn, sweep_id)
    response.status_code = 201 if created else 200
    response.headers["Location"] = f"/api/v1/sweeps/{sweep_id}"
    return SubmittedSweep(**sweep.model_dump(), created=created)


@router.get("", responses=responses(400, 422))
def list_sweeps(
    conn: ConnectionDep,
    state: SweepState | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[SweepSummary]:
    """Every sweep, the newest first."""
    page = queries.list_sweeps(conn, state=state, cursor=cursor, limit=limit)
    items = [sweep_summary(row) for row in page.items]
    return Page(items=items, next_cursor=page.next_cursor)


@router.get("/{sweep_id}", responses=responses(404, 422))
def show_sweep(sweep_id: SweepId, conn: ConnectionDep) -> Sweep:
    """One sweep with its spec, its rule and its progress."""
    return sweep_of(conn, sweep_id)


@router.delete("/{sweep_id}", status_code=204, responses=responses(404, 409, 422))
def remove_sweep(sweep_id: SweepId, engine: EngineDep, settings: SettingsDep) -> None:
    """Delete a sweep that has ended, with all its rows and checkpoints."""
    with writing(engine) as conn:
        delete_sweep(conn, sweep_id)
    shutil.rmtree(settings.checkpoints / sweep_id, ignore_errors=True)


@router.post("/{sweep_id}/cancel", responses=responses(404, 409, 422))
def cancel_sweep(sweep_id: SweepId, engine: EngineDep) -> Sweep:
    """End a sweep now: no row of it is written after the answer."""
    with writing(engine) as conn:
        cancel(conn, sweep_id)
        return sweep_of(conn, sweep_id)


@router.post("/{sweep_id}/pause", responses=responses(404, 409, 422))
def pause_sweep(sweep_id: SweepId, engine: EngineDep) -> Sweep:
    """Give every pack back at its next checkpoint and wait; `resume` goes on from there."""
    with writing(engine) as conn:
        pause(conn, sweep_id)
        return sweep_of(conn, sweep_id)


@router.post("/{sweep_id}/resume", responses=responses(404, 409, 422))
def resume_sweep(sweep_id: SweepId, engine: EngineDep) -> Sweep:
    """Take a paused sweep up again."""
    with writing(engine) as conn:
        resume(conn, sweep_id)
        return sweep_of(conn, sweep_id)


@router.post("/{sweep_id}/stop", responses=responses(404, 409, 422))
def stop_sweep(sweep_id: SweepId, engine: EngineDep) -> Sweep:
    """Let the packs in training finish, and cancel all others."""
    with writing(engine) as conn:
        stop(conn, sweep_id)
        return sweep_of(conn, sweep_id)


@router.post("/{sweep_id}/priority", responses=responses(404, 409, 422))
def prioritize_sweep(sweep_id: SweepId, body: Priority, engine: EngineDep) -> Sweep:
    """Let a sweep go before those of a smaller priority; what is in training is not disturbed."""
    with writing(engine) as conn:
        prioritize(conn, sweep_id, body.priority)
        return sweep_of(conn, sweep_id)


@router.post(
    "/{sweep_id}/retry",
    responses=responses(404, 409, 422, 429),
    dependencies=[Depends(limit_submits)],
)
def retry_sweep(
    sweep_id: SweepId,
    engine: EngineDep,
    cancelled: Annotated[bool, Query(description="Cancelled seed runs too.")] = False,
) -> ChangedSweep:
    """Queue the failed seed runs again."""
    with writing(engine) as conn:
        queued = retry(conn, sweep_id, include_cancelled=cancelled)
        return ChangedSweep(**sweep_of(conn, sweep_id).model_dump(), queued=queued)


@router.post(
    "/{sweep_id}/extend",
    responses=responses(404, 409, 413, 422, 429),
    dependencies=[Depends(limit_submits)],
)
def extend_sweep(sweep_id: SweepId, body: Extension, engine: EngineDep) -> ChangedSweep:
    """Add the next `count` seeds to every configuration."""
    with writing(engine) as conn:
        queued = submission.extend(conn, sweep_id, body.count)
        return ChangedSweep(**sweep_of(conn, sweep_id).model_dump(), queued=queued)
