"""The real service on a record of its own, with a sweep on it that a test does harm to."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from db import invariants
from db.engine import reading
from service.client import Client
from service.collection import collect
from service.doctor import examine
from service.verification import verify
from tests.faults import injections
from tests.faults.ledger import Entry, patience
from tests.faults.record import (
    Witness,
    answers,
    held_fences,
    submitted,
    undisturbed,
    written_fences,
)
from tests.service.live import Service, running, wait_until

#: Checks of `ngpu doctor` that a settled record passes.
SETTLED = {"database", "schema", "leases", "states", "checkpoints"}


class Stand:
    """A running service, one sweep of it, and a witness of every row it ever had.

    Args:
        service: Not yet started.
        entry: Where the case is noted.
    """

    def __init__(self, service: Service, entry: Entry) -> None:
        self.service = service
        self.entry = entry
        self.engine = service.engine
        #: Set by who builds it.
        self.fault: injections.WorkerFault
        self.sweep = ""
        self._text = ""
        self._witness: Witness | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started first."""
        assert self.service.process is not None
        return self.service.process.pid

    def submit(self, text: str) -> None:
        """Submit the sweep, and watch its rows."""
        self._text = text
        self.sweep = submitted(self.engine, text)
        self._witness = Witness(self.engine, self.sweep)
        self._witness.start()

    def start(self, *, web: bool = False) -> None:
        """Start the scheduler, or `ngpu serve`."""
        if web:
            port = str(self.service.settings.port)
            self.service.start("service.cli", "serve", "--port", port)
        else:
            self.service.start()

    def client(self) -> Client:
        """A client of the served API."""
        return Client(self.service.settings.server_url)

    def workers(self) -> list[psutil.Process]:
        """The processes that train now."""
        runner = self.service.settings.runner
        part = injections.RUNNER if runner == "local" else injections.WORKER
        return self.service.named(part)

    def held(self) -> dict[int, int]:
        """Pack -> fence of the packs that a worker holds."""
        return held_fences(self.engine, self.sweep)

    def wait_for_training(self, packs: int = 1, seconds: float = 120) -> None:
        """Wait until so many packs, held at once, have written rows under their fences."""

        def train() -> bool:
            written = written_fences(self.engine, self.sweep)
            return sum(written.get(p) == f for p, f in self.held().items()) >= packs

        self.wait(train, seconds)
        self.service.descendants()

    def wait_for_new_fences(self, old: dict[int, int], seconds: float = 120) -> float:
        """Wait until as many packs as were held have rows under new fences; seconds.

        Not the same packs: while the database still ends a dead worker's session, the next one
        takes another pack first.
        """
        assert old, "no pack was held"
        before = written_fences(self.engine, self.sweep)
        known = {pack: max(before.get(pack, 0), old.get(pack, 0)) for pack in {*before, *old}}

        def recovered() -> bool:
            written = written_fences(self.engine, self.sweep)
            return sum(f > known.get(pack, 0) for pack, f in written.items()) >= len(old)

        return self.wait(recovered, seconds)

    def wait_for_rows(self, seconds: float = 120) -> float:
        """Wait until a row more is there than now; seconds."""
        before = self.service.rows(self.sweep)
        return self.wait(lambda: self.service.rows(self.sweep) > before, seconds)

    def wait(self, condition: Callable[[], bool], seconds: float) -> float:
        """Wait for what the record says; a record that is away says nothing."""
        began, most = time.monotonic(), seconds * patience()
        while not answers(condition):
            assert time.monotonic() - began < most, f"not in {most:g} s\n{self.service.log()}"
            time.sleep(0.05)
        return time.monotonic() - began

    def settle(self, seconds: float = 180, expected: Any = None) -> None:
        """Wait for the sweep's end, and hold everything against the undisturbed run.

        Args:
            seconds: To wait for the end.
            expected: The results, where they are not those of the undisturbed sweep.
        """
        self.wait(lambda: self.service.state(self.sweep) == "finished", seconds)
        assert self._witness is not None
        due = undisturbed(self._text) if expected is None else expected
        loss = self._witness.judge(due)
        entry = self.entry
        entry.rows += loss.rows
        entry.lost, entry.doubled, entry.wrong = loss.lost, loss.doubled, loss.wrong
        assert (loss.lost, loss.doubled, loss.wrong) == (0, 0, 0), self.service.log()
        self.check_record()

    def check_record(self) -> None:
        """`ngpu sweep verify`, the invariants, and the doctor find nothing."""
        folder = self.service.settings.checkpoints
        with reading(self.engine) as conn:
            proof = verify(conn, self.sweep, folder)
            assert proof.holds, proof.findings
            assert invariants.broken(conn) == []
        # The scheduler does so every ten minutes.
        collect(self.engine, folder)
        found = [one for one in examine(self.service.settings) if one.check in SETTLED]
        assert {one.check for one in found} == SETTLED
        assert all(one.ok for one in found), found

    def end(self) -> None:
        """End the service in order; nothing may be left of it."""
        assert self.service.stop() == 0, self.service.log()
        left = self.service.leftovers
        wait_until(lambda: not left(), 45, lambda: "\n".join(left()))


@contextmanager
def standing(
    home: Path, entry: Entry, *, runner: str, database: str, **more: Any
) -> Iterator[Stand]:
    """A stand that leaves nothing behind."""
    entry.runner = entry.runner or runner
    with running(home, runner, database_url=database, **more) as service:
        stand = Stand(service, entry)
        try:
            yield stand
        finally:
            if stand._witness is not None:
                stand._witness._closed.set()
                stand._witness.join()


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
