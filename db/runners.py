"""Runners and the scheduler's leadership: leases on processes, told by the database's clock."""

from typing import Any

from sqlalchemy import Connection, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.clock import in_seconds, now
from db.errors import WrongState
from db.models import checkpoints, leases, packs, runners, seed_runs, sweeps
from db.paging import Row, rows_of
from db.states import (
    OPEN_SEEDS,
    OPEN_SWEEPS,
    TRAINING,
    UNENDED_SWEEPS,
    Desired,
    PackState,
)
from db.transitions import lock_sweep, require_state


def register_runner(
    conn: Connection,
    sweep_id: str,
    *,
    host: str,
    pid: int,
    pid_started: float,
    lease_seconds: float,
) -> int:
    """Make a process the sweep's runner, in the place of any before it.

    Args:
        conn: A write transaction.
        sweep_id: A sweep that is queued or running.
        host: Where the process is.
        pid: Its id there.
        pid_started: Its start, in the unit its host tells; with the pid it names one process.
        lease_seconds: How long it counts as alive unless renewed.

    Returns:
        Its epoch: what earlier epochs hold may be claimed at once, and they may claim no more.

    Raises:
        SweepNotFound: There is no such sweep.
        WrongState: The sweep is not to run.
    """
    sweep = lock_sweep(conn, sweep_id)
    require_state(sweep, "have a runner", OPEN_SWEEPS)
    if sweep.desired not in TRAINING:
        raise WrongState(sweep_id, sweep.desired, "have a runner", TRAINING)
    epoch = sweep.runner_epoch + 1
    conn.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(runner_epoch=epoch))
    conn.execute(delete(runners).where(runners.c.sweep_id == sweep_id))
    row = {"sweep_id": sweep_id, "epoch": epoch, "host": host, "pid": pid}
    until = in_seconds(lease_seconds)
    conn.execute(runners.insert().values(**row, pid_started=float(pid_started), lease_until=until))
    return epoch


def renew_runner(
    conn: Connection, sweep_id: str, epoch: int, lease_seconds: float
) -> Desired | None:
    """A runner's sign of life.

    Returns:
        What the user wants of the sweep; None: a newer runner has taken over, stop.
    """
    renewed = conn.execute(
        update(runners)
        .where(runners.c.sweep_id == sweep_id, runners.c.epoch == epoch)
        .values(lease_until=in_seconds(lease_seconds))
    )
    if renewed.rowcount == 0:
        return None
    wanted = conn.execute(select(sweeps.c.desired).where(sweeps.c.id == sweep_id)).scalar_one()
    return Desired(wanted)


def drop_runner(conn: Connection, sweep_id: str, epoch: int) -> bool:
    """Forget a runner that has ended (or was seen dead); a newer one stays."""
    dropped = conn.execute(
        delete(runners).where(runners.c.sweep_id == sweep_id, runners.c.epoch == epoch)
    )
    return dropped.rowcount == 1


def acquire_lease(conn: Connection, name: str, owner: str, seconds: float) -> bool:
    """Take or renew a named lease, such as the scheduler's leadership.

    Returns:
        Whether the owner holds it now, for `seconds`; False: another holds it.
    """
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(leases).values(name=name, owner=owner, until=in_seconds(seconds))
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": statement.excluded.owner, "until": statement.excluded.until},
        where=(leases.c.owner == statement.excluded.owner) | (leases.c.until < now()),
    )
    return conn.execute(statement.returning(leases.c.name)).first() is not None


def lease_owner(conn: Connection, name: str) -> str | None:
    """Who last took a named lease, whether it has run out or not."""
    return conn.execute(select(leases.c.owner).where(leases.c.name == name)).scalar()


def lease_is_held(conn: Connection, name: str) -> bool:
    """Whether somebody holds a named lease that has not run out."""
    held = select(leases.c.name).where(leases.c.name == name, leases.c.until >= now())
    return conn.execute(held).first() is not None


def release_lease(conn: Connection, name: str, owner: str) -> None:
    """Give a named lease up, so that another need not wait for its end."""
    conn.execute(delete(leases).where(leases.c.name == name, leases.c.owner == owner))


def sweeps_to_reconcile(conn: Connection) -> list[Row]:
    """Every sweep that has not ended or has a runner, oldest first, with what decides its fate.

    Returns:
        Rows of `id, name, state, desired, priority, max_concurrent_trials, cpu, gpu,
        runner_epoch`; `seeds_open`; `packs_claimable` (pending and due), `packs_waiting` (pending,
        not due yet), `packs_leased`; the latest `progress_at` of its packs; and its runner's
        `epoch, host, pid, pid_started, lease_until, runner_alive` (None without one).
    """
    s, r = sweeps.c, runners.c
    found = (
        select(
            s.id, s.name, s.state, s.desired, s.priority, s.max_concurrent_trials,
            s.cpu, s.gpu, s.runner_epoch,
            _open_seeds().label("seeds_open"),
            *_pack_counts(),
            r.epoch, r.host, r.pid, r.pid_started, r.lease_until,
            (r.lease_until >= now()).label("runner_alive"),
        )
        .outerjoin(runners, r.sweep_id == s.id)
        .where(s.state.in_(UNENDED_SWEEPS) | r.sweep_id.is_not(None))
        .order_by(s.id)
    )  # fmt: skip
    return rows_of(conn.execute(found))


def lasting_steps(conn: Connection, sweep_id: str) -> int:
    """Steps of a sweep that no fault takes back: of checkpoints, and of seeds that ended."""
    s, c = seed_runs.c, checkpoints.c
    lasting = func.coalesce(case((s.state.in_(OPEN_SEEDS), c.step), else_=s.steps), 0)
    query = (
        select(func.coalesce(func.sum(lasting), 0))
        .select_from(seed_runs.outerjoin(checkpoints, c.seed_run_id == s.id))
        .where(s.sweep_id == sweep_id)
    )
    return int(conn.execute(query).scalar_one())


def _open_seeds() -> Any:
    s = seed_runs.c
    return (
        select(func.count())
        .where(s.sweep_id == sweeps.c.id, s.state.in_(OPEN_SEEDS))
        .scalar_subquery()
    )


def _pack_counts() -> list[Any]:
    p = packs.c
    pending = p.state == PackState.PENDING
    due = p.not_before.is_(None) | (p.not_before <= now())
    wanted = {
        "packs_claimable": func.count(case((pending & due, 1))),
        "packs_waiting": func.count(case((pending & ~due, 1))),
        "packs_leased": func.count(case((p.state == PackState.LEASED, 1))),
        "progress_at": func.max(p.progress_at),
    }
    return [
        select(column).where(p.sweep_id == sweeps.c.id).scalar_subquery().label(name)
        for name, column in wanted.items()
    ]
