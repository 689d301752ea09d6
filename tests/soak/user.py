"""What users ask of the service over REST; asked again while the service is away."""

import time
from collections.abc import Callable
from typing import Any

import httpx2

from service.client import Client, ServiceRefused, ServiceUnreachable

#: Seconds after which a wish nobody answered is asked again, and is given up as a finding.
AGAIN_SECONDS = 0.5
PATIENCE_SECONDS = 180.0
#: The wish came too late: its sweep is in another state, or has as many seeds as it may.
TOO_LATE = (404, 409, 422)


class Wish:
    """One request, idempotent, that is sent until it is answered."""

    def __init__(self, name: str, act: Callable[[Client], Any]) -> None:
        self.name = name
        self._act = act
        self._born = self._asked = time.monotonic()
        self._asked -= AGAIN_SECONDS
        self.sends = 0

    def look(self, client: Client) -> bool:
        """Send it if it is time; whether it is settled.

        Raises:
            TimeoutError: Nobody answered for `PATIENCE_SECONDS`.
            ServiceRefused: The service answered with what must not be.
        """
        now = time.monotonic()
        if now - self._asked < AGAIN_SECONDS:
            return False
        self._asked = now
        self.sends += 1
        try:
            self._act(client)
        except (ServiceUnreachable, httpx2.TransportError):
            pass
        except ServiceRefused as error:
            if error.status in TOO_LATE:
                return True
            if error.status != 503:
                raise
        else:
            return True
        if now - self._born > PATIENCE_SECONDS:
            raise TimeoutError(f"{self.name} was not answered for {PATIENCE_SECONDS:g} s")
        return False
