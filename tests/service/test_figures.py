"""Every figure from the rows of small sweeps: what it counts, what it lacks, how it is written."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from figure_record import all_failed, carried, learned, measured, submitted
from sqlalchemy import Engine

import service
from db.engine import open_engine, reading, writing
from db.recording import Rows
from db.submission import cancel
from ngpu_core.config import RunConfig
from service.figures.accuracy_curves import choose_coded_decimals
from service.figures.carry_survival import published_points, published_sentence
from service.figures.evidence import Evidence, read_evidence
from service.figures.figure import Figure, Missing
from service.figures.files import MEDIA_TYPES, Format, written
from service.figures.learning_curves import figure4_panels, figure5_panels
from service.figures.outcome_words import FAILS, STRUGGLES, WORKS, outcome_word
from service.figures.published import SOURCES, published
from service.figures.registry import FIGURES, UnknownFigure, figure
from service.figures.success_fractions import published_row
from service.figures.task_names import curriculum
from service.prints import LOOK

SMALL = """
name: small
base:
  model: {{family: {family}, filters: 24}}
  training: {{tasks: [{task}], max_steps: 2000, min_length: 5, max_length: 41}}
  evaluation: {{lengths: [{lengths}], sequences: 128, every: 400, carry_limit: {carry}}}
grid:
{grid}
seeds: {{count: {seeds}}}
success: {{length: 201, below: 0.01}}
resources: {{seeds_per_trial: 1}}
retry: {{max_failures: 1}}
"""
VARIANTS = """  variant: {classical: {}, without dropout: {training.dropout: 0.0}}
  task: {badd: {training.tasks: [badd], evaluation.tasks: [badd, baddt]}, bmul: {}}"""
CURRICULA = (
    """  curriculum: {"10": {}, "2-10": {training.tasks: [bmul, mul], evaluation.tasks: [mul]}}"""
)
FORMS = """  task: {padded: {}, aligned: {training.tasks: [bmule]}}"""
DIAGONAL = """  variant: {full: {}, no dropout: {training.dropout: 0.0}}"""
ADDERS = """  training: {random: {}, tough: {training.tasks: [addt], evaluation.tasks: [add]}}"""


def spec(grid: str, task: str, **changes: Any) -> str:
    values = {"family": "neural_gpu", "lengths": "201", "carry": 0, "seeds": 3}
    return SMALL.format(**{**values, "grid": grid, "task": task, **changes})


SPECS = {
    "figure2": spec(VARIANTS, "bmul"),
    "curricula": spec(CURRICULA, "mul"),
    "forms": spec(FORMS, "bmul"),
    "adders": spec(ADDERS, "add", carry=100, seeds=12),
    "diagonal": spec(DIAGONAL, "bmul_dn", family="diagonal_neural_gpu", lengths="41, 201"),
    "lengths": spec("  task: {rev: {}, badd: {training.tasks: [badd]}}", "rev", lengths="21, 201"),
}
#: Figure -> a sweep that can show it.
SHOWN = {
    "figure2": "figure2", "table2": "curricula", "figure3": "curricula", "figure7": "forms",
    "figure6-right": "adders", "known-results": "adders", "kaiser-errors": "lengths",
    "dngpu-figure3": "diagonal", "dngpu-figure4": "diagonal", "dngpu-figure5": "diagonal",
    "dngpu-figure6": "diagonal", "dngpu-figure7": "diagonal", "dngpu-figure8": "diagonal",
    "ever-final": "figure2",
}  # fmt: skip
THRESHOLDS = (7, 8, 8, 9, 9, 9, 20, 30, 45, 60, 90, 4000)


def seed_rows(run: RunConfig, seed: int) -> tuple[Rows, str]:
    """Seed 2 diverges, seed 1 never learns, the others do; adders carry as THRESHOLDS say."""
    if seed == 2:
        return Rows(), "diverged"
    rows = learned(run, seed, at=1.5 if seed == 1 else 0.4)
    if run.evaluation.carry_limit:
        rows = replace(rows, **vars_of(carried(seed, "add", 2000, THRESHOLDS[seed], 100)))
    return rows, "finished"


def vars_of(rows: Rows) -> dict[str, Any]:
    return {"carry_results": rows.carry_results}


@pytest.fixture
def backend() -> str:
    """The queries run on both databases in db's own tests."""
    return "sqlite"


@pytest.fixture(scope="module")
def filled(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, dict[str, str]]]:
    """A record with every sweep of SPECS, and their ids."""
    path = tmp_path_factory.mktemp("figures") / "record.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    engine = open_engine(f"sqlite:///{path}")
    yield engine, {name: measured(engine, text, seed_rows) for name, text in SPECS.items()}
    engine.dispose()


@pytest.fixture
def draw(filled: tuple[Engine, dict[str, str]]) -> Any:
    """Draw a figure of one of the sweeps, or of several."""
    engine, ids = filled

    def drawn(name: str, *sweeps: str) -> Figure:
        with reading(engine) as conn:
            return figure(name).draw(read_evidence(conn, [ids.get(one, one) for one in sweeps]))

    return drawn


def cells(drawn: Figure, **wanted: Any) -> list[Any]:
    return [row for row in drawn.rows if all(row[key] == value for key, value in wanted.items())]


@pytest.mark.parametrize("name", SHOWN)
def test_every_figure_has_numbers_and_says_what_they_are(draw: Any, name: str) -> None:
    drawn = draw(name, SHOWN[name])

    assert drawn.name == name
    assert drawn.rows
    assert {tuple(row) for row in drawn.rows} == {drawn.columns}
    said = " ".join(drawn.caption)
    assert re.search(r"n = \d+ of \d+ seed runs requested, \d+ of them diverged", said)
    assert "Excluded" in said or "None is excluded" in said
    assert "Ours: " in said
    assert "Sweep: small" in said
    assert styles(drawn.chart) <= set(LOOK["style"])
    json.dumps(drawn.chart, allow_nan=False)


@pytest.mark.parametrize("name", SHOWN)
def test_every_figure_is_a_file_of_each_kind(draw: Any, name: str) -> None:
    drawn = draw(name, SHOWN[name])
    starts = {Format.PNG: b"\x89PNG", Format.PDF: b"%PDF", Format.SVG: b"<svg"}

    for format_, start in starts.items():
        # One of each kind costs enough; which figure has which takes turns.
        if format_ is list(starts)[list(SHOWN).index(name) % 3]:
            assert written(drawn, format_).startswith(start)
    table = list(csv.DictReader(io.StringIO(written(drawn, Format.CSV).decode())))
    assert len(table) == len(drawn.rows)
    assert tuple(table[0]) == drawn.columns
    spec_ = json.loads(written(drawn, Format.VEGA))
    assert "vega-lite" in spec_["$schema"]
    assert drawn.title in json.dumps(spec_)


def styles(spec_: Any) -> set[str]:
    """Every style that marks of a chart name."""
    if isinstance(spec_, dict):
        mark = spec_.get("mark")
        own = {mark["style"]} if isinstance(mark, dict) else set()
        return own.union(*map(styles, spec_.values()))
    return set().union(*map(styles, spec_)) if isinstance(spec_, list) else set()


def test_the_page_knows_every_style_that_paper_knows() -> None:
    script = (Path(service.__file__).parent / "static" / "charts.js").read_text()
    block = script.split("style: {", 1)[1]
    known = set(re.findall(r'^\s+"?([a-z-]+)"?: \{', block, re.MULTILINE))

    assert set(LOOK["style"]) - {"heading", "caption"} <= known


def test_each_figure_shows_or_says_what_is_missing(filled: Any) -> None:
    engine, ids = filled
    with reading(engine) as conn:
        for sweep in ids.values():
            evidence = read_evidence(conn, [sweep])
            for name, entry in FIGURES.items():
                lack = entry.missing(evidence)
                if lack is not None:
                    assert len(lack.split()) > 5
                    with pytest.raises(Missing):
                        entry.draw(evidence)
                elif SHOWN.get(name) == sweep:
                    entry.draw(evidence)


@pytest.mark.parametrize("state", ["pending", "cancelled", "failed"])
def test_a_sweep_of_which_nothing_is_known_is_no_error(engine: Engine, state: str) -> None:
    submit = all_failed if state == "failed" else submitted
    ids = [submit(engine, text) for text in SPECS.values()]
    if state == "cancelled":
        with writing(engine) as conn:
            for sweep in ids:
                cancel(conn, sweep)
    with reading(engine) as conn:
        for sweep in ids:
            evidence = read_evidence(conn, [sweep])
            for entry in FIGURES.values():
                try:
                    drawn = entry.draw(evidence)
                except Missing:
                    continue
                else:
                    assert written(drawn, Format.CSV)
                    assert "n = 0 of" in " ".join(drawn.caption)


def test_one_seed_is_enough_to_draw(engine: Engine) -> None:
    text = spec(VARIANTS, "bmul", seeds=1)
    sweep = measured(engine, text, seed_rows)
    with reading(engine) as conn:
        evidence = read_evidence(conn, [sweep])
        for name in ("figure2", "ever-final", "known-results"):
            assert written(FIGURES[name].draw(evidence), Format.SVG)


def test_there_is_no_figure_of_another_name() -> None:
    with pytest.raises(UnknownFigure) as refused:
        figure("figure-2")
    assert refused.value.nearest == "figure2"


def test_figure_2_counts_training_and_test_beside_the_published_cells(draw: Any) -> None:
    drawn = draw("figure2", "figure2")
    [ours] = cells(drawn, variant="classical", split="test", source="ours")
    [trained] = cells(drawn, variant="classical", split="training", source="ours")
    [paper] = cells(drawn, variant="classical", split="test", source="published")

    # Of three seeds on each of two tasks one learns, one does not, one diverges.
    assert (ours["succeeded"], ours["counted"], ours["diverged"], ours["tasks"]) == (2, 6, 2, 2)
    assert (trained["succeeded"], trained["counted"]) == (2, 6)
    assert ours["fraction"] == pytest.approx(1 / 3)
    assert ours["low"] < ours["fraction"] < ours["high"]
    assert paper["fraction"] == 0.41
    assert paper["low"] < 0.41 < paper["high"]
    assert paper["high"] - paper["low"] == pytest.approx(4 * 0.036, rel=0.1)  # 195 runs a cell
    assert cells(drawn, variant="classical", split="test, other task")
    [paper] = cells(drawn, variant="without dropout", split="training", source="published")
    assert paper["fraction"] == 0.83


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("classical", "classical"),
        ("without dropout", "without dropout"),
        ("10 % dropout", None),
        ("one copy of weights", "one independent copy of weights"),
        ("batch norm, kind 2", "with batch normalization"),
        ("ResNet", "with resnet instead of GRU"),
        ("something else", None),
    ],
)
def test_a_variant_is_held_against_the_published_one_it_is(name: str, row: str | None) -> None:
    assert published_row(name) == row


def test_the_same_seed_run_of_two_sweeps_is_counted_once(draw: Any, filled: Any) -> None:
    engine, _ = filled
    again = measured(engine, SPECS["figure2"].replace("name: small", "name: again"), seed_rows)
    alone, both = draw("figure2", "figure2"), draw("figure2", "figure2", again)

    assert "12 seed runs stand in two of them" in both.caption[-1]
    counted = ("variant", "split", "source", "succeeded", "counted")
    assert [[row[key] for key in counted] for row in both.rows] == [
        [row[key] for key in counted] for row in alone.rows
    ]


def test_more_seeds_of_a_configuration_in_another_sweep_join_its_curve(
    draw: Any, filled: Any
) -> None:
    engine, _ = filled
    more = SPECS["diagonal"].replace("{count: 3}", "{first: 3, count: 3}")
    more = more.replace("name: small", "name: more")
    again = measured(engine, more, seed_rows)
    alone, both = draw("dngpu-figure3", "diagonal"), draw("dngpu-figure3", "diagonal", again)

    assert {row["series"] for row in both.rows} == {row["series"] for row in alone.rows}
    ours = [row["seeds"] for row in both.rows if row["source"] == "ours"]
    assert set(ours) == {5}  # of six one diverged
    far = draw("dngpu-figure5", "diagonal", again)
    assert {row["seeds"] for row in far.rows if row["source"] == "ours"} == {5}


def test_two_configurations_of_one_name_are_told_apart_by_their_sweeps(
    draw: Any, filled: Any
) -> None:
    engine, _ = filled
    other = (
        SPECS["diagonal"]
        .replace("name: small", "name: other")
        .replace("filters: 24", "filters: 48")
    )
    again = measured(engine, other, seed_rows)
    drawn = draw("dngpu-figure3", "diagonal", again)
    assert {row["series"] for row in drawn.rows if row["source"] == "ours"} == {
        "full (small)", "no dropout (small)", "full (other)", "no dropout (other)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("succeeded", "counted", "best", "word"),
    [
        (2, 4, 0.0, WORKS),
        (1, 3, 0.0, STRUGGLES),
        (0, 3, 0.4, STRUGGLES),
        (0, 3, 0.5, FAILS),
        (0, 3, None, FAILS),
        (0, 0, None, None),
    ],
)
def test_words_are_by_the_rule_that_is_stated(
    succeeded: int, counted: int, best: float | None, word: str | None
) -> None:
    assert outcome_word(succeeded, counted, best) == word


def test_words_stand_beside_the_published_ones(draw: Any) -> None:
    drawn = draw("table2", "curricula")
    assert {row["published"] for row in drawn.rows} == {WORKS, STRUGGLES, FAILS, None}
    [ours] = cells(drawn, line="base 2 → 10", filters=24)
    assert (ours["outcome"], ours["succeeded"], ours["counted"]) == (STRUGGLES, 1, 3)
    assert "Works: " in drawn.caption[0]


def test_survival_counts_seeds_with_a_threshold_at_least_so_long(draw: Any) -> None:
    drawn = draw("figure6-right", "adders")
    tested = [t for seed, t in enumerate(THRESHOLDS) if seed != 2]  # that one diverged
    for row in cells(drawn, what="ours"):
        beyond = sum(t >= row["carry_length"] for t in tested)
        assert row["share"] == pytest.approx(beyond / len(tested))
        assert row["seeds"] == beyond
        assert row["low"] <= row["share"] <= row["high"]
    said = " ".join(drawn.caption)
    assert "2 seeds right at the longest carry tested (100 digits)" in said
    assert "2 diverged before the test" in said
    assert "carries 1000 digits" in said
    assert cells(drawn, what="tail fit")


def test_the_published_carries_do_not_need_200_million_seeds() -> None:
    assert published_points() == [(33, 0.05), (52, 0.01), (112, pytest.approx(1 / 1121))]
    assert re.search(
        r"lines through its own points give 1\.1 million to 3\.5 million", published_sentence()
    )


def test_ever_grows_with_the_looks_from_final(engine: Engine) -> None:
    def flickering(run: RunConfig, seed: int) -> tuple[Rows, str]:
        rows = learned(run, seed, at=0.1)
        # Seed s is right s tests before its last one, and only there.
        steps = sorted({row["step"] for row in rows.evaluations})
        right = steps[-1 - seed]
        tests = [
            {**row, "wrong_sequences": 0 if row["step"] == right else 64}
            for row in rows.evaluations
        ]
        return replace(rows, evaluations=tests), "finished"

    sweep = measured(engine, spec("  variant: {classical: {}}", "badd", seeds=4), flickering)
    with reading(engine) as conn:
        drawn = FIGURES["ever-final"].draw(read_evidence(conn, [sweep]))

    assert [(row["looks"], row["succeeded"]) for row in drawn.rows] == [
        (1, 1), (2, 2), (3, 3), (4, 4), (5, 4),
    ]  # fmt: skip


def test_a_curve_is_the_mean_and_range_over_seeds(draw: Any) -> None:
    drawn = draw("figure7", "forms")
    last = [row for row in drawn.rows if row["step"] == 2000]

    # One of the two seeds learned; the diverged one has no tests.
    assert {(row["mean"] > row["least"], row["least"], row["seeds"]) for row in last} == {
        (True, 0.0, 2)
    }
    assert "Not smoothed" in " ".join(drawn.caption)


@dataclass(frozen=True, kw_only=True)
class Probed(Evidence):
    """Evidence with rows of probes given."""

    asked: tuple[dict[str, Any], ...] = ()

    def probes(self, probe: str) -> list[Any]:
        return [row for row in self.asked if row["probe"] == probe]


def probed(
    engine: Engine, sweep: str, probe: str, points: list[tuple[int, str]], task: str
) -> Probed:
    """The sweep as if its seeds had been asked; every third answer is wrong."""
    with reading(engine) as conn:
        found = read_evidence(conn, [sweep])
        asked = tuple(
            {
                "seed_run_id": run["seed_run_id"], "task": task, "probe": probe, "point": point,
                "label": label, "sequences": 64, "wrong_sequences": 64 * (point % 3 == 0),
                "symbols": 64, "wrong_symbols": 64 * (point % 3 == 0),
            }
            for run in found.runs
            if run["state"] == "finished"
            for point, label in points
        )  # fmt: skip
        configurations = tuple(
            replace(
                one,
                run={**one.run, "evaluation": {**one.run["evaluation"], "probes": [probe]}},
            )
            for one in found.configurations
        )
        return Probed(**{**vars(found), "configurations": configurations, "asked": asked})


def test_carries_are_drawn_by_base_and_training(filled: Any) -> None:
    engine, ids = filled
    points = [(k, str(k)) for k in range(1, 30)]
    drawn = FIGURES["figure6-left"].draw(probed(engine, ids["adders"], "carries", points, "add"))

    # Only seeds trained on what is asked of them: add, and not addt, which is not tested.
    assert {row["series"] for row in drawn.rows} == {"trained on add", "trained on addt"}
    assert {(row["carries"], row["mean"]) for row in drawn.rows} == {
        (k, float(k % 3 == 0)) for k, _ in points
    }
    assert {row["seeds"] for row in drawn.rows} == {11}
    assert written(drawn, Format.SVG)


def test_padded_digits_stand_beside_the_published_products(filled: Any) -> None:
    engine, ids = filled
    points = [(10 * a + b, f"{a}×{b}") for a in range(10) for b in range(10)]
    drawn = FIGURES["table3"].draw(probed(engine, ids["curricula"], "padded_digits", points, "mul"))

    assert len(drawn.rows) == 200
    told = [row for row in drawn.rows if row["published"] is not None]
    assert {(row["first"], row["second"]) for row in told} == {
        (1, 1), (2, 1), (2, 2), (2, 3), (2, 4), (3, 3), (3, 5),
    }  # fmt: skip
    [row] = cells(drawn, first=2, second=1, series="10")
    assert (row["seeds_wrong"], row["seeds"]) == (2, 2)
    assert row["published"] == "0^145 17666666666885 0^41 7"
    assert "34 pairs wrong in the median seed" in " ".join(drawn.caption)
    assert written(drawn, Format.SVG)


def trained_on(engine: Engine, sweep: str, tasks: list[list[str]]) -> Evidence:
    """The sweep as if its configurations were trained on these tasks, known to this code or not."""
    with reading(engine) as conn:
        found = read_evidence(conn, [sweep])
    configurations = tuple(
        replace(one, id=place, run={**one.run, "training": {**one.run["training"], "tasks": names}})
        for place, (one, names) in enumerate(
            zip([found.configurations[0]] * len(tasks), tasks, strict=True)
        )
    )
    return replace(found, configurations=configurations)


def test_curricula_of_terms_and_expressions_are_told_by_their_tasks(filled: Any) -> None:
    engine, ids = filled
    terms = [["3bmul"], ["bmul", "3bmul"], ["bmul", "3bmul", "kbmul"], ["bmul"]]
    training, test = figure4_panels(trained_on(engine, ids["forms"], terms))
    assert [one.label for one in test.series] == ["3bmul", "bmul → 3bmul", "bmul → 3bmul → kbmul"]
    assert {one.task for one in training.series} == {"3bmul"}
    _, test = figure5_panels(trained_on(engine, ids["forms"], [["bexpra"], ["badd"]]))
    assert [(one.label, one.task) for one in test.series] == [("24 filters", "bexpra")]
    [coded] = choose_coded_decimals(trained_on(engine, ids["forms"], [["mulbcd"], ["mul"]]))
    assert coded.target == "mulbcd"


@pytest.mark.parametrize(
    ("tasks", "bases"),
    [
        (("mul",), "10"), (("bmul", "fmul", "mul"), "2-5-10"), (("bmul", "qmul", "mul"), "2-4-10"),
        (("bmul",), None), (("add", "mul"), None), (("bmul", "mule"), None), (("rev", "mul"), None),
    ],
)  # fmt: skip
def test_a_curriculum_is_the_bases_of_its_multiplications(
    tasks: tuple[str, ...], bases: str | None
) -> None:
    assert curriculum(tasks) == bases


@cache
def published_files() -> list[str]:
    folder = Path(service.__file__).parent / "figures" / "published"
    return sorted(path.stem for path in folder.glob("*.csv"))


def test_every_published_number_has_a_source() -> None:
    assert set(published_files()) == set(SOURCES)
    assert all(published(name) for name in published_files())
    assert set(MEDIA_TYPES) == set(Format)
