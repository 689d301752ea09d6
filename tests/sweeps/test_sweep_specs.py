"""The specs in `sweeps/specs`: each is one, and has the seed runs that its source had."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml

from ngpu_core.config import RunConfig
from ngpu_core.cost import forward_flop
from ngpu_core.evaluation.probes import PROBES
from ngpu_core.tasks.registry import TASKS
from sweeps.duration import gflop_per_second
from sweeps.expansion import Configuration, configurations
from sweeps.preview import preview
from sweeps.spec import SweepSpec, parse_spec

FOLDER = Path(__file__).parents[2] / "sweeps" / "specs"
PATHS = sorted(FOLDER.glob("*.yaml"))
SMALL = [path for path in PATHS if path.stem.endswith("-small")]
#: Neither at the size of a paper nor beside one that is.
OTHERS = {"demo", "dngpu-bmul"}
#: Seed runs at paper scale: configurations × seeds.
SEED_RUNS = {
    "figure2": (7 * 2 + 1) * 13 * 15,
    "table2-figure3": 4 * 3 * 4,
    "figure4": 3 * 4,
    "figure5": 4 * 4,
    "figure6-left": 4 * 4,
    "figure6-right": 1121,
    "table3": 8,
    "figure7": 3 * 2 * 2 * 4,
    "kaiser-errors": 2 * 4 * 3 * 5,
    "dngpu-figure2": 5,
    "dngpu-figures3-6": 2 * 5,
    "dngpu-figure7": 4 * 5,
    "dngpu-figure8": 3 * 5,
    "dngpu-figure9": 3 * 5,
    "known-results": (2 * 2 + 2 * 4) * 8,
}
#: What a `-small` spec may take, and the trials at once on the machine it is meant for.
HOURS, CORES = 0.5, 2


def read(path: Path) -> SweepSpec:
    return parse_spec(path.read_text())


def test_every_spec_at_paper_scale_has_a_small_one_and_is_counted() -> None:
    names = {path.stem for path in PATHS} - OTHERS
    small = {path.stem.removesuffix("-small") for path in SMALL}
    assert small == names - {path.stem for path in SMALL} == set(SEED_RUNS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_spec_previews_under_the_name_of_its_file(path: Path) -> None:
    spec = read(path)
    seen = preview(spec)

    assert spec.name == path.stem
    assert seen.memory_warning is None
    assert seen.estimated_hours > 0
    if path.stem in SEED_RUNS:
        assert seen.seed_runs == SEED_RUNS[path.stem]
        assert spec.resources.gpu == 1, "the preview's hours are those of a GPU"
        assert {"paper", "figure"} <= set(spec.labels)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_spec_begins_with_its_source(path: Path) -> None:
    lines = path.read_text().split("schema_version")[0].splitlines()
    assert all(line.startswith("# ") for line in lines)

    comment = " ".join(line.removeprefix("# ") for line in lines)
    if path in SMALL:
        assert f"{path.stem.removesuffix('-small')}.yaml" in comment
        assert "It can show" in comment
        assert "It cannot show" in comment
    elif path.stem in SEED_RUNS:
        assert "arXiv" in comment
        assert "Published" in comment
        assert "Not known" in comment


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_a_small_spec_trains_and_tests_within_half_an_hour_of_two_cores(path: Path) -> None:
    spec = read(path)
    assert (spec.resources.cpu, spec.resources.gpu) == (1, 0)

    tested = sum(hours_of_tests(one, spec) for one in configurations(spec))
    assert (preview(spec).estimated_hours + tested) / CORES < HOURS


def test_figure2_has_the_published_cells_and_no_others() -> None:
    """Of the column of 256 filters only the first row was published."""
    points = [dict(one.axes) for one in configurations(read(FOLDER / "figure2.yaml"))]
    spec = yaml.safe_load((FOLDER / "figure2.yaml").read_text())
    variants, tasks = spec["grid"]["variant"], spec["grid"]["task"]
    sizes = [*product(variants, ("24", "128")), ("classical", "256")]

    found = {(point["variant"], point["filters"], point["task"]) for point in points}

    assert found == {(variant, size, task) for variant, size in sizes for task in tasks}
    assert len(points) == len(found)


def test_figure2_trains_each_of_the_pairs_both_ways() -> None:
    """SPECS C.4."""
    runs = {one.run for one in configurations(read(FOLDER / "figure2.yaml"))}
    tested = {run.evaluation_tasks for run in runs}

    pairs = {(y, f"{y}t") for y in ("sbadd", "badd", "badde", "sbadde", "baddz")}
    assert tested == {("scopy",), ("sdup",), ("bmul",), *pairs, *((b, a) for a, b in pairs)}
    assert all(run.training.trained_tasks == run.evaluation_tasks[:1] for run in runs)


def hours_of_tests(one: Configuration, spec: SweepSpec) -> float:
    """What the tests and probes of a configuration take, at the rate its preview assumes."""
    flop = sum(costs_of_tests(one.run)) * spec.seeds.count
    return flop / (gflop_per_second(one.run, spec.resources) * 1e9) / 3600


def costs_of_tests(run: RunConfig) -> Iterator[float]:
    """Operations of each test of a seed, every one of them made."""
    evaluation, training = run.evaluation, run.training
    times = training.max_steps / evaluation.every
    short = range(training.min_length, training.max_length + 1)
    for name in run.evaluation_tasks:
        for length in evaluation.lengths:
            yield times * forward(run, evaluation.sequences, length)
        for length in short if evaluation.short_sequences else ():
            yield times * forward(run, evaluation.short_sequences, length)
        for probe in map(PROBES.get, evaluation.probes):
            if probe is not None and probe.fits(TASKS[name]):
                for _, block in probe.all_questions(TASKS[name], run, seed=0):
                    yield forward(run, *block.inputs.shape[::2])


def forward(run: RunConfig, sequences: int, length: int) -> float:
    return forward_flop(run.model, sequences=sequences, length=length, padded=length)
