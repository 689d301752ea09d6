"""What the pages are made of: the layout of the table, the charts, the words. Pure, no record."""

from typing import Any

import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.config import FAMILY_DEFAULTS, RunConfig
from service import formats
from service.dashboard import charts
from service.dashboard.html import bar_parts
from service.dashboard.provenance import configuration_keys
from service.dashboard.success_table import success_table, too_few, totals
from service.dashboard.sweep_parts import CURVE_STEPS, CURVE_VALUES, steps_shown
from service.outcomes import OUTCOMES, outcome
from service.sentences import carries_tested, digits

AXES = st.lists(st.integers(1, 4), min_size=0, max_size=4)


def grid(sizes: list[int]) -> list[dict[str, Any]]:
    """A row a point of a grid with so many levels an axis, in the grid's order."""
    points: list[dict[str, str]] = [{}]
    for axis, size in enumerate(sizes):
        points = [{**point, f"a{axis}": f"l{n}"} for point in points for n in range(size)]
    return [
        {"configuration": " · ".join(axes.values()), "axes": axes, "position": position}
        for position, axes in enumerate(points)
    ]


@given(AXES, st.data())
def test_every_configuration_stands_once_in_the_table(
    sizes: list[int], data: st.DataObject
) -> None:
    rows = grid(sizes)
    kept = [row for row in rows if data.draw(st.booleans())] or rows

    table = success_table(kept, most_lines=1000)

    cells = [cell for line in table.lines for cell in line.cells if cell is not None]
    assert sorted(cell["position"] for cell in cells) == [row["position"] for row in kept]
    assert {len(line.cells) for line in table.lines} == {len(table.columns)}
    assert {len(line.heads) for line in table.lines} == {len(table.row_axes)}


def test_lines_beyond_the_limit_are_counted() -> None:
    table = success_table(grid([5, 2]), most_lines=3)

    assert (len(table.lines), table.hidden) == (3, 2)


def test_a_cell_without_seeds_or_with_a_wide_interval_tells_too_little() -> None:
    assert too_few({"low": None, "high": None})
    assert too_few({"low": 0.12, "high": 0.77})
    assert not too_few({"low": 0.35, "high": 0.72})


def test_totals_add_up_to_what_was_requested() -> None:
    row = {
        "requested": 9, "counted": 4, "succeeded": 2, "diverged": 1, "failed": 2,
        "cancelled": 1, "pending": 1, "running": 1,
    }  # fmt: skip
    found = totals([row, row])

    assert found.counted + found.failed + found.cancelled + found.open == found.requested == 18


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_a_curve_leaves_out_only_steps_with_few_of_the_later_seeds(seeds: list[int]) -> None:
    rows = [{"step": step, "seeds": count} for step, count in enumerate(seeds)]
    kept = charts.measured_together(rows)

    assert kept[-1] == rows[-1]
    for row in rows:
        later = max(seeds[row["step"] :])
        assert (row in kept) == (2 * row["seeds"] >= later)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_of_more_values_no_more_steps_are_drawn_and_never_too_few(one: float, other: float) -> None:
    fewer, more = sorted((one, other))
    least, most = CURVE_STEPS

    assert least <= steps_shown(more) <= steps_shown(fewer) <= most
    assert steps_shown(more) * more <= max(CURVE_VALUES, least * more)


@given(st.integers(0, 2000), st.integers(2, 300))
def test_a_thinned_curve_keeps_its_ends_and_order(size: int, most: int) -> None:
    rows = [{"step": step} for step in range(size)]
    kept = charts.thinned(rows, most=most)

    assert len(kept) == min(size, most)
    assert kept[:1] + kept[-1:] == rows[:1] + rows[-1:]
    assert [row["step"] for row in kept] == sorted({row["step"] for row in kept})


BANDS = [
    {"step": step, "median": 0.5, "low": 0.25, "high": 0.75, "seeds": 8} for step in (200, 400)
]
CURVE = [
    {"step": 200, "kind": kind, "length": length, "sequence_error": 0.5, "symbol_error": 0.25}
    for kind in ("training", "test")
    for length in (41, 201)
]
LENGTHS = [
    {"length": 41, "sequence_error": 0.5, "low": 0.4, "high": 0.6, "wrong_sequences": 5,
     "sequences": 10}
]  # fmt: skip
SURVIVAL = [{"carry_length": k, "share": 1 / k, "low": 0.0, "high": 1.0} for k in (1, 2, 9)]
CARRIES = [{"carry_length": k, "trials": 8, "wrong": k} for k in range(1, 9)]


@pytest.mark.parametrize(
    "spec",
    [
        charts.learning_chart(BANDS, BANDS, below=0.01, last_step=400),
        charts.learning_chart([], BANDS, below=None, last_step=400),
        charts.seed_chart(CURVE, below=0.01, last_step=400),
        charts.seed_chart(CURVE, below=0.01, last_step=400, column="symbol_error"),
        charts.lengths_chart(LENGTHS, trained_to=41),
        charts.survival_chart(SURVIVAL, limit=9),
        charts.carries_chart(CARRIES, threshold=4),
    ],
)
def test_the_engine_of_the_page_draws_every_chart_and_no_colour_is_in_it(
    spec: dict[str, Any],
) -> None:
    sized = {**spec, "width": 300, "height": 200}

    assert "<svg" in vl_convert.vegalite_to_svg(sized)
    assert "#" not in str(spec).replace("#/definitions", "")


@pytest.mark.parametrize("family", FAMILY_DEFAULTS)
def test_a_configuration_of_defaults_differs_in_nothing(family: str) -> None:
    run = RunConfig().to_mapping()
    run["model"] |= {"family": family, "filters": 96}
    for name, value in {key.name: key.default for key in configuration_keys(run)}.items():
        section, key = name.split(".")
        run[section][key] = value

    assert [key.name for key in configuration_keys(run) if key.changed] == []
    run["training"]["dropout"] = 0.5
    assert [key.name for key in configuration_keys(run) if key.changed] == ["training.dropout"]


@pytest.mark.parametrize(
    ("states", "text"),
    [
        (["finished"] * 3, "3 of 4 counted seeds tested; 1 diverged before the test."),
        (["finished"] * 2 + ["diverged"], "3 of 4 counted seeds tested."),
    ],
)
def test_counted_seeds_that_a_carry_chart_leaves_out_are_stated(
    states: list[str], text: str
) -> None:
    fraction = {"counted": 4, "diverged": 1, "running": 0, "pending": 0}

    assert carries_tested([{"state": state} for state in states], fraction) == text


def test_a_length_of_one_digit_is_singular() -> None:
    assert [digits(count) for count in (1, 36)] == ["1 digit", "36 digits"]


@pytest.mark.parametrize(
    ("done", "total", "filled"),
    # Four ended after 10 steps each; of four running and two waiting, 0, half or all is done.
    [(40, 280, 0.0), (120, 280, 2.0), (200, 280, 4.0)],
)
def test_the_bar_fills_running_seeds_by_their_steps(done: int, total: int, filled: float) -> None:
    counts = {"finished": 3, "diverged": 1, "failed": 0, "cancelled": 0, "running": 4,
              "pending": 2, "steps_done": done, "steps_total": total}  # fmt: skip
    parts = {fill: (count, drawn) for fill, count, _, drawn in bar_parts(counts, 40)}

    assert parts["running"] == (4, filled)
    assert parts["finished"] == (3, 3)
    assert parts["pending"] == (2, 2)


def test_every_outcome_has_a_sentence() -> None:
    states = ("pending", "running", "diverged", "failed", "cancelled")
    seeds: list[dict[str, Any]] = [{"state": state, "succeeded": None} for state in states]
    seeds += [{"state": "finished", "succeeded": value} for value in (True, False)]

    assert {outcome(seed) for seed in seeds} == set(OUTCOMES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0 s"),
        (0.4, "0.4 s"),
        (131, "2 m 11 s"),
        (4020, "1 h 7 m"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds).replace(formats.THIN, " ") == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "—"), (0, "0 %"), (1, "100 %"), (0.004, "0.4 %"), (0.125, "13 %"), (0.999, "99.9 %")],
)
def test_a_percentage_is_nothing_or_all_only_where_it_is(share: float | None, text: str) -> None:
    assert formats.percent(share).replace(formats.THIN, " ") == text
