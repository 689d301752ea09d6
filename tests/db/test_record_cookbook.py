"""The SQL cookbook tells the truth: every view and column is in it, and its queries run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from record import ask, claimed, end, epoch, evaluation, lease_of, submitted
from sqlalchemy import Engine, make_url

from db import queries
from db.console import read_only, run_query
from db.engine import writing
from db.recording import Rows, write_rows
from db.views import metadata

COOKBOOK = Path(__file__).parents[2] / "docs" / "sql.md"
QUERIES = re.findall(r"```sql\n(.*?)```", COOKBOOK.read_text(), flags=re.DOTALL)
_TYPES = {"TEXT": "text", "DOUBLE": "double", "BOOLEAN": "boolean", "JSON": "JSON"}


def _documented(view: str) -> list[tuple[str, str]]:
    """The columns and types of a view's table in the cookbook."""
    section = re.search(rf"^## {view}\n(.*?)^## ", COOKBOOK.read_text(), re.DOTALL | re.MULTILINE)
    assert section is not None, f"docs/sql.md has no section about {view}"
    return re.findall(r"^\| `(\w+)` \| (\w+) \| \S.*\|$", section.group(1), re.MULTILINE)


@pytest.mark.parametrize("view", metadata.tables)
def test_every_column_of_a_view_is_documented_in_its_order(view: str) -> None:
    def kind(column_type: str) -> str:
        if column_type in ("INTEGER", "BIGINT"):
            return "integer"
        return _TYPES.get(column_type, "time")

    columns = metadata.tables[view].columns
    assert _documented(view) == [(column.name, kind(str(column.type))) for column in columns]


_ASKED = (("padded_digits", 22, "2×2"), ("random_pairs", 128, "random"), ("carries", 12, "12"))


def _probed(seed: int, probe: str, point: int, label: str) -> dict[str, object]:
    counts = {"sequences": 2, "wrong_sequences": 1, "symbols": 402, "wrong_symbols": 15}
    asked = {"task": "mul", "probe": probe, "point": point, "label": label}
    return {"seed": seed, "step": 100, **asked, **counts, "first_wrong": 0, "last_wrong": 56}


def _filled(engine: Engine) -> str:
    """A sweep named as the cookbook's, with something in every view."""
    sweep_id = submitted(engine, configurations=2, seeds=3, together=3)
    for _ in range(2):
        pack = claimed(engine, sweep_id)
        carried = {"task": "badd", "step": 100}
        rows = Rows(
            evaluations=[evaluation(seed, 100, wrong=seed) for seed in pack.seeds],
            training_epochs=[epoch(seed, 100) for seed in pack.seeds],
            carry_trials=[
                {**carried, "seed": seed, "carry_length": 1, "trials": 8, "wrong": seed}
                for seed in pack.seeds
            ],
            carry_results=[
                {**carried, "seed": 0, "threshold": None, "carry_limit": 20},
                {**carried, "seed": 1, "threshold": 7, "carry_limit": 20},
            ],
            probe_results=[_probed(seed, *asked) for seed in pack.seeds for asked in _ASKED],
        )
        with writing(engine) as conn:
            write_rows(
                conn, lease_of(pack), rows, steps=dict.fromkeys(pack.seeds, 100), wall_seconds=1.0
            )
        end(engine, pack, 0)
        end(engine, pack, 1, "diverged", 100)
    return sweep_id


def test_every_query_of_the_cookbook_runs(engine: Engine, database_url: str) -> None:
    _filled(engine)
    console = read_only(database_url)
    assert len(QUERIES) > 10
    empty = [query for query in QUERIES if not run_query(console, query).rows]
    # Nothing was lost again, and the example grid has one variant: these two find nothing here.
    assert all("succeeded_final" in query or "without_dropout" in query for query in empty)
    assert len(empty) == 2


def _plain_client(database_url: str, query: str) -> list[str]:
    """What `sqlite3` or `psql` prints, a line a row."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        command = ["sqlite3", str(url.database), query]
    else:
        host = str(url.query["host"])
        command = ["psql", "-h", host, "-U", "postgres", "-d", str(url.database), "-Atc", query]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.check_output(command, text=True, timeout=60).splitlines()


def test_plain_clients_give_the_numbers_of_the_named_queries(
    engine: Engine, database_url: str
) -> None:
    sweep_id = _filled(engine)
    columns = ("requested", "counted", "succeeded", "fraction", "low", "high")
    query = f"SELECT {', '.join(columns)} FROM success_fractions ORDER BY position"
    printed = [
        [float(value) for value in line.split("|")] for line in _plain_client(database_url, query)
    ]
    assert printed == [
        pytest.approx([row[column] for column in columns], abs=1e-12)
        for row in ask(engine, queries.success, sweep_id)
    ]
