"""Webhooks: the end of a sweep, posted to the address of the settings, signed, until it is taken.

The signature is HMAC-SHA256, with the secret of the settings, over the time, a full stop and the
body: who has the secret knows that the words are ours and how old they are.
"""

import hashlib
import hmac
import json
import time
from typing import Any

import httpx2
import structlog
from sqlalchemy import Engine

from db import queries
from db.deliveries import due_deliveries, note_delivery
from db.engine import reading, writing
from db.errors import SweepNotFound
from db.paging import Row
from service.control.background import Background
from service.settings import Settings
from service.version import code_version

#: Seconds between two looks at what is to be told.
LOOK_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
#: Characters of an answer that explain a refusal.
TAIL = 200


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What the header `X-Ngpu-Signature` holds."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class Webhooks:
    """Tells the ends of sweeps while its scheduler leads; without an address it does nothing."""

    def __init__(
        self, engine: Engine, settings: Settings, *, seconds: float = LOOK_SECONDS
    ) -> None:
        self._engine = engine
        self._url = settings.webhook_url
        self._secret = settings.webhook_secret or ""
        self._background = Background(
            self._tell_all, name="telling webhooks", seconds=seconds, at_once=True
        )

    def look(self) -> None:
        """Start telling what is due, unless that is going on."""
        if self._url is not None:
            self._background.look()

    def _tell_all(self) -> None:
        with reading(self._engine) as conn:
            due = due_deliveries(conn)
        for end in due:
            self.tell(end)

    def tell(self, end: Row) -> None:
        """Tell one end, and note what became of it."""
        try:
            body = json.dumps(self._body(end), ensure_ascii=False, allow_nan=False).encode()
        except SweepNotFound:
            return  # deleted meanwhile
        error = self._post(end, body)
        with writing(self._engine) as conn:
            note_delivery(conn, end, error)
        log = structlog.get_logger().bind(sweep=end["sweep_id"], revision=end["revision"])
        if error is None:
            log.info("webhook delivered", kind=end["kind"])
        else:
            log.warning("webhook not delivered", kind=end["kind"], error=error)

    def _body(self, end: Row) -> dict[str, Any]:
        with reading(self._engine) as conn:
            sweep = queries.sweep(conn, end["sweep_id"])
            progress = queries.progress(conn, end["sweep_id"])
            success = queries.success(conn, end["sweep_id"])
        shown = ("id", "name", "state", "digest", "labels", "error")
        counts = ("configuration", "requested", "counted", "succeeded", "fraction", "low", "high")
        return {
            "event": end["kind"],
            "revision": end["revision"],
            "at": end["created_at"].isoformat(),
            "sweep": {key: sweep[key] for key in shown},
            "seed_runs": {
                key: progress[key]
                for key in ("requested", "finished", "diverged", "failed", "cancelled")
            },
            "success": [{key: row[key] for key in counts} for row in success],
        }

    def _post(self, end: Row, body: bytes) -> str | None:
        """Post a body; None, or why it was not taken."""
        assert self._url is not None
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ngpu/{code_version()}",
            "X-Ngpu-Event": str(end["kind"]),
            "X-Ngpu-Delivery": f"{end['sweep_id']}-{end['revision']}",
            "X-Ngpu-Timestamp": timestamp,
            "X-Ngpu-Signature": signature(self._secret, timestamp, body),
        }
        try:
            answer = httpx2.post(self._url, content=body, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx2.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        if answer.is_success:
            return None
        return f"answered {answer.status_code}: {answer.text[:TAIL]}"
