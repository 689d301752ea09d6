"""What can go wrong in the record; each error carries the identity of its thing."""

from collections.abc import Sequence


class RecordError(Exception):
    """Base of every error of this package."""


class NotFound(RecordError):
    """Base of what is asked for and is not there."""


class SweepNotFound(NotFound):
    """There is no such sweep."""

    def __init__(self, sweep_id: str) -> None:
        super().__init__(f"there is no sweep {sweep_id!r}")
        self.sweep_id = sweep_id


class SeedRunNotFound(NotFound):
    """There is no such seed run."""

    def __init__(self, seed_run_id: int) -> None:
        super().__init__(f"there is no seed run {seed_run_id}")
        self.seed_run_id = seed_run_id


#: What can be done with a sweep in a state that does not permit what was asked.
_INSTEAD = {
    "queued": "cancel or stop it first",
    "running": "cancel or stop it first",
    "paused": "resume, stop or cancel it first",
    "finished": "extend it, or retry its failed seed runs",
    "cancelled": "retry it with its cancelled seed runs to take it up again",
    "failed": "retry its failed seed runs",
}


class WrongState(RecordError):
    """The sweep's state does not permit what was asked."""

    def __init__(self, sweep_id: str, state: str, verb: str, permitted: Sequence[str]) -> None:
        rule = f"only a {' or '.join(permitted)} sweep can {verb}"
        instead = f"; {_INSTEAD[state]}" if state in _INSTEAD else ""
        super().__init__(f"sweep {sweep_id} is {state}: {rule}{instead}")
        self.sweep_id = sweep_id
        self.state = state
        self.verb = verb
        self.permitted = tuple(permitted)


class SeedsExist(RecordError):
    """Seeds to be added are in the sweep already."""

    def __init__(self, sweep_id: str, seeds: Sequence[int]) -> None:
        shown = ", ".join(map(str, seeds[:10])) + (", …" if len(seeds) > 10 else "")
        super().__init__(f"sweep {sweep_id} has these seeds already: {shown}")
        self.sweep_id = sweep_id
        self.seeds = tuple(seeds)


class IdempotencyConflict(RecordError):
    """An idempotency key was used before, for another spec."""

    def __init__(self, key: str, sweep_id: str) -> None:
        super().__init__(
            f"the idempotency key {key!r} belongs to sweep {sweep_id}, which has another spec"
        )
        self.key = key
        self.sweep_id = sweep_id


class LeaseLost(RecordError):
    """The pack is no longer this worker's; nothing was written."""

    def __init__(self, pack_id: int, fence: int) -> None:
        super().__init__(f"pack {pack_id} is no longer held under fence {fence}")
        self.pack_id = pack_id
        self.fence = fence


class BadCursor(RecordError):
    """A page cursor that this service did not make for this list."""

    def __init__(self, cursor: str) -> None:
        super().__init__(f"{cursor!r} is not a cursor of this list: pass a next_cursor unchanged")
        self.cursor = cursor


class QueryRefused(RecordError):
    """A user's SQL query was refused or stopped by the database."""


class QueryStopped(QueryRefused):
    """A user's SQL query went beyond a limit of time, size or memory."""


class QueryImpossible(RecordError):
    """No session for a user's SQL query can be had; says what to do."""
