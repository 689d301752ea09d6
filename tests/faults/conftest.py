"""Fixtures of the fault matrix: a killable PostgreSQL, the case's entry, and the service."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.injections import Postgres, in_every_worker
from tests.faults.ledger import Entry, keep
from tests.faults.stand import Stand, free_port, standing

_serial = count()
Build = Callable[..., Stand]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is of the fault matrix, and slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that tests may kill and start again."""
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database; a test is parametrized with it where both matter."""
    return "postgresql"


@pytest.fixture
def database(backend: str, request: pytest.FixtureRequest) -> str:
    """URL of an empty database; of SQLite the one in the service's home."""
    if backend == "sqlite":
        return ""
    server: Postgres = request.getfixturevalue("postgres")
    return server.create(f"fault_{next(_serial)}")


@pytest.fixture
def entry(request: pytest.FixtureRequest, backend: str) -> Iterator[Entry]:
    """The case's entry, kept when its test has passed."""
    marker = request.node.get_closest_marker("case")
    assert marker is not None, "each test names its case: @pytest.mark.case(number, injected)"
    number, injected = marker.args
    made = Entry(case=number, test=request.node.name, injected=injected, database=backend)
    yield made
    if request.node.stash.get(PASSED, False):
        assert made.proof, "a case must prove that its fault fired"
        keep(made)


PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Note on each test whether its body passed."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def build(
    tmp_path: Path, entry: Entry, database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Build]:
    """Makes stands on the test's database: `build(runner="ray", pace=0.2, **settings)`."""
    with ExitStack() as stack:

        def make(runner: str = "ray", pace: float = 0.2, **settings: Any) -> Stand:
            fault = in_every_worker(monkeypatch.setenv, tmp_path, pace=pace)
            values = {"home": tmp_path / "home", "database": database, "port": free_port()}
            context: AbstractContextManager[Stand] = standing(
                entry=entry, runner=runner, **{**values, **settings}
            )
            stand = stack.enter_context(context)
            stand.fault = fault
            return stand

        yield make
