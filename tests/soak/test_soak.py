"""A soak of minutes: random faults in the real service, and not one number lost or changed."""

import shutil
from pathlib import Path

import pytest

from tests.soak.soak import Soak
from tests.soak.stack import Postgres


@pytest.mark.skipif(shutil.which("pg_config") is None, reason="its own PostgreSQL is crashed")
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_minutes_of_faults_change_no_number(tmp_path: Path) -> None:
    database = Postgres()
    try:
        soak = Soak(tmp_path, database, seed=7, mean_seconds=15.0, seeds=2, steps=1500)
        try:
            report = soak.run(undisturbed_minutes=0.5, minutes=3)
        finally:
            soak.close()
    finally:
        database.close()
    assert report["faults_fired"] >= 5
    assert report["compared"]["seed_runs"] >= 3
    assert report["holds"], report
