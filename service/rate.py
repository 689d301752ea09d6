"""How often one token or address may submit: a bucket that fills with time, in this process."""

import time
from collections import OrderedDict
from threading import Lock

from fastapi import Request

from service.refusals import TooManySubmits

#: Callers remembered; the one that asked least recently is forgotten first.
MOST_CALLERS = 10_000


class Rate:
    """So many calls a minute of each caller, as many at once.

    Args:
        per_minute: Calls; 0 is no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        # Per caller: calls it has left, and when that was so.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, caller: str, now: float) -> float:
        """Seconds until the caller may call; 0 if it may now, which is one call less."""
        if not self.per_minute:
            return 0.0
        with self._lock:
            left, at = self._left.pop(caller, (float(self.per_minute), now))
            left = min(self.per_minute, left + (now - at) * self.per_minute / 60)
            allowed = left >= 1
            self._left[caller] = (left - allowed, now)
            if len(self._left) > MOST_CALLERS:
                self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) * 60 / self.per_minute


def limit_submits(request: Request) -> None:
    """Refuse a token, or without tokens an address, that submits too often.

    Raises:
        TooManySubmits: Says when to come again.
    """
    holder = request.state.holder
    address = request.client.host if request.client else "?"
    rate: Rate = request.app.state.submits
    seconds = rate.wait(f"token {holder.id}" if holder else f"address {address}", time.monotonic())
    if seconds:
        raise TooManySubmits(rate.per_minute, seconds)
