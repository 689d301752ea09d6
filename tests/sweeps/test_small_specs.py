"""Every `-small` spec of `sweeps/specs` runs through Ray to its end.

Cut to a few steps and one seed a configuration: whole they take hours of two cores (`make
small-sweeps`), and what may break in a spec that validates, breaks at the first step or the last:
the network, the curriculum, the tests, the probes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import func, select

from db.engine import reading, writing
from db.models import configurations, evaluations, probe_results, seed_runs
from db.submission import submit
from service.submission import new_sweep
from sweeps.spec import SweepSpec, load_spec
from tests.sweeps.real_ray import Ray

pytestmark = pytest.mark.slow

PATHS = sorted((Path(__file__).parents[2] / "sweeps" / "specs").glob("*-small.yaml"))
STEPS = 3


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ray]:
    made = Ray(tmp_path_factory.mktemp("ray"))
    yield made
    made.cluster.close()
    made.engine.dispose()


@pytest.mark.timeout(1800)  # the carries of figure6-left-small are minutes of a core
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_to_the_end(ray: Ray, path: Path) -> None:
    spec = cut(yaml.safe_load(path.read_text()))
    with writing(ray.engine) as conn:
        sweep, _ = submit(conn, new_sweep(spec), new=True)
    log = ray.run(sweep, seconds=1500)

    assert ray.sweep_row(sweep)[1] is None, log
    for name, run, state, lengths, probes in ended(ray, sweep):
        assert state == "finished", f"{name}: {log}"
        assert lengths >= set(run["evaluation"]["lengths"]), name
        assert probes == set(run["evaluation"]["probes"]), name


def cut(document: dict[str, Any]) -> SweepSpec:
    """The same sweep with one seed and a few steps."""
    document["seeds"] = {"count": 1}
    document["base"]["training"]["max_steps"] = STEPS
    return load_spec(document)


def ended(ray: Ray, sweep: str) -> Iterator[tuple[str, dict[str, Any], str, set[int], set[str]]]:
    """Of each seed run: configuration, what it ran, state, lengths tested, probes asked."""
    joined = configurations.c.id == seed_runs.c.configuration_id
    query = (
        select(seed_runs.c.id, configurations.c.label, configurations.c.run, seed_runs.c.state)
        .join(configurations, joined)
        .where(seed_runs.c.sweep_id == sweep)
    )
    with reading(ray.engine) as conn:
        rows = list(conn.execute(query))
        assert (
            len(rows)
            == conn.execute(
                select(func.count()).where(configurations.c.sweep_id == sweep)
            ).scalar_one()
        )
        for seed_run, label, run, state in rows:
            lengths = select(evaluations.c.length).where(evaluations.c.seed_run_id == seed_run)
            probes = select(probe_results.c.probe).where(probe_results.c.seed_run_id == seed_run)
            yield (
                label,
                run,
                state,
                set(conn.execute(lengths).scalars()),
                set(conn.execute(probes).scalars()),
            )
