"""The web process dies while it is asked; the network is not there; the service is replaced."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from db.engine import reading
from db.models import sweeps
from service.client import Client
from tests.faults import injections
from tests.faults.conftest import Build
from tests.faults.ledger import Entry
from tests.faults.record import spec
from tests.faults.stand import Stand

both_databases = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
GOAL = 10.0
KILLS, POSTS = 10, 5


def start_api(stand: Stand) -> float:
    """Start the web process alone, and wait until it answers; seconds."""
    began = time.monotonic()
    stand.service.start("service.cli", "api", "--port", str(stand.service.settings.port))

    def ready() -> bool:
        try:
            return stand.client().ready()
        except Exception:
            return False

    stand.wait(ready, 60)
    return time.monotonic() - began


def kill_api(stand: Stand) -> int:
    assert stand.service.process is not None
    stand.service.process.kill()
    return stand.service.process.wait()


@pytest.mark.case(1, "SIGKILL to the web process during 5 submissions at once, 10 times")
@both_databases
@pytest.mark.timeout(900)
def test_submissions_while_the_api_dies(build: Build, entry: Entry) -> None:
    stand = build("local", submits_per_minute=0)
    start_api(stand)
    url = f"{stand.service.settings.server_url}/api/v1/sweeps"
    answered: dict[str, str] = {}
    cut = 0

    def post(number: int) -> None:
        nonlocal cut
        key = f"key {number}"
        headers = {"Content-Type": "application/yaml", "Idempotency-Key": key}
        text = spec().replace("name: fault", f"name: fault {number}")
        try:
            answer = httpx2.post(url, content=text, headers=headers, timeout=30)
        except httpx2.HTTPError:
            cut += 1
            return
        if answer.is_success:
            known = answered.setdefault(key, answer.json()["id"])
            assert known == answer.json()["id"], "one key, one sweep"

    for kill in range(KILLS):
        numbers = range(kill * POSTS, (kill + 1) * POSTS)
        with ThreadPoolExecutor(POSTS) as pool:
            posts = [pool.submit(post, number) for number in numbers]
            time.sleep(0.03 * kill)
            assert kill_api(stand) == -9
            [one.result() for one in posts]
        entry.recovered(start_api(stand), GOAL)
        for number in numbers:
            post(number)
    entry.fired(f"{KILLS} pids gone, {cut} answers cut off", cut > 0)
    with reading(stand.engine) as conn:
        found = dict(
            conn.execute(
                select(sweeps.c.idempotency_key, func.count()).group_by(sweeps.c.idempotency_key)
            ).all()
        )
    assert found == {f"key {number}": 1 for number in range(KILLS * POSTS)}
    assert len(set(answered.values())) == KILLS * POSTS
    entry.rows = len(found)
    assert stand.service.stop() == 0


@pytest.mark.case(2, "SIGKILL to the web process under 20 listeners, 2 times")
@both_databases
@pytest.mark.timeout(600)
def test_listeners_while_the_api_dies(build: Build, entry: Entry) -> None:
    stand, scheduler = build("local"), build("local")
    stand.submit(spec())
    start_api(stand)
    heard: list[list[int]] = [[] for _ in range(20)]

    def listen(place: int) -> None:
        with Client(stand.service.settings.server_url) as client:
            for event in client.events(stand.sweep):
                if event.revision is not None:
                    heard[place].append(event.revision)

    threads = [threading.Thread(target=listen, args=(place,)) for place in range(20)]
    for one in threads:
        one.start()
    for _ in range(2):
        time.sleep(2)
        assert kill_api(stand) == -9
        entry.recovered(start_api(stand), GOAL)
    entry.fired("2 pids gone under 20 streams")
    scheduler.start()
    stand.wait_for_training()
    assert kill_api(stand) == -9
    start_api(stand)
    stand.settle(seconds=240)
    for one in threads:
        one.join(timeout=60)
        assert not one.is_alive()
    last = len(stand.service.kinds(stand.sweep))
    assert heard == [list(range(1, last + 1))] * 20, "no gap, no repeat"
    scheduler.end()
    assert stand.service.stop() == 0


@pytest.mark.case(32, "A network namespace in which there is nothing but loopback")
@both_databases
def test_there_is_no_network(build: Build, entry: Entry) -> None:
    stand = build()
    stand.submit(spec())
    line = [
        "unshare", "--net", "sh", "-c",
        'ip link set lo up && exec "$0" -m service.control.scheduler', sys.executable,
    ]  # fmt: skip
    paths = [str(Path(__file__).resolve().parents[2]), os.environ["PYTHONPATH"]]
    variables = {
        **os.environ,
        **stand.service.settings.environment(),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    with (stand.service.settings.logs / "service.log").open("wb") as log:
        stand.service.process = subprocess.Popen(
            line, env=variables, stdout=log, stderr=log, start_new_session=True
        )
    stand.wait_for_training(packs=2)
    worker = stand.workers()[0]
    table = Path(f"/proc/{worker.pid}/net/dev").read_text().splitlines()[2:]
    links = [row.partition(":")[0].strip() for row in table]
    entry.fired(f"a worker's network is {links}", links == ["lo"])
    stand.settle()
    stand.end()


@pytest.mark.case(33, "The service ended in order and started again in the middle, 3 times")
@both_databases
@pytest.mark.timeout(600)
def test_the_service_is_replaced(build: Build, entry: Entry) -> None:
    stand = build()
    stand.submit(spec())
    for _ in range(3):
        stand.start()
        stand.wait_for_training()
        stand.end()
    packs = stand.service.packs(stand.sweep)
    entry.fired(
        f"fences {[row.fence for row in packs]}, no fault counted",
        sum(row.fence for row in packs) > 3
        and not any(row.infra_attempts or row.user_attempts for row in packs),
    )
    held_before = {row.id: row.fence for row in packs}
    stand.start()
    entry.recovered(stand.wait_for_new_fences({min(held_before): 1}), 60.0)
    stand.settle()
    stand.end()
    assert not injections.descendants(stand.pid)
