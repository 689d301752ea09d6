"""The charts as Vega-Lite, from rows of the named queries. No SQL, no torch, no Ray.

A mark names a *style* (`test`, `training`, `band`, `rule`) and no colour: the page fills the styles
in from its tokens (static/charts.js), so one definition serves light, dark and print.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

import altair as alt

from db.bands import evenly

Row = Mapping[str, Any]
Spec = dict[str, Any]

#: Any error rate is a share: every chart of one has the same axis, so charts compare at a glance.
_SHARE = alt.Scale(domain=[0, 1])
_SHARE_AXIS = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2~f")
_STEP_AXIS = alt.Axis(
    tickCount=5, labelExpr="datum.value == 0 ? '0' : format(datum.value, '~s')", labelFlush=False
)

#: Labelled carry lengths, besides the longest one tested.
_CARRIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def learning_chart(
    test: Sequence[Row],
    training: Sequence[Row],
    *,
    below: float | None,
    last_step: int,
    error: str = "sequence error",
) -> Spec:
    """Error against step: the test's median and band over seeds, and the training median.

    Args:
        test: Rows of `curve_bands`: error on fresh sequences.
        training: Rows of `curve_bands`: error on the training batches.
        below: The success rule's bound, drawn as a line; None draws none.
        last_step: Right end of the axis, common to all configurations of a sweep.
        error: What the vertical axis counts, in words.
    """
    rows_of = _Rows()
    tested = _records(measured_together(test))
    # In the order in which the layers name them.
    for rows in (_records(training), tested, tested, tested):
        rows_of(rows)
    if below is not None:
        rows_of([{"error": below}])
    return _filled(deepcopy(_learning_layers(below, last_step, error)), rows_of)


@lru_cache(maxsize=64)
def _learning_layers(below: float | None, last_step: int, error: str) -> Spec:
    """The chart without its rows: the same for all configurations of a sweep."""
    rows_of = _Rows()
    step = alt.X(
        "step:Q",
        title="step (parameter updates)",
        scale=alt.Scale(domain=[0, max(1, last_step)], nice=False),
        axis=_STEP_AXIS,
    )
    layers = [
        _lines(rows_of, [], step, "training", error),
        _area(rows_of, [], step),
        _lines(rows_of, [], step, "test", error),
        _hover(rows_of, [], step),
        *_bound(rows_of, below),
    ]
    return _unfilled(alt.layer(*layers))


def seed_chart(
    rows: Sequence[Row],
    *,
    below: float | None,
    last_step: int,
    column: str = "sequence_error",
    error: str = "sequence error",
) -> Spec:
    """One seed's error against step: a line a test length, training dashed.

    Args:
        rows: Rows of `learning_curves` for one seed and one task.
        below: The success rule's bound, drawn as a line; None draws none.
        last_step: Right end of the axis, the steps planned or done.
        column: The error the success rule reads, so that the bound is a bound of what is drawn.
        error: What it counts, in words.
    """
    rows_of = _Rows()
    step = alt.X(
        "step:Q",
        title="step (parameter updates)",
        scale=alt.Scale(domain=[0, max(1, last_step)], nice=False),
        axis=_STEP_AXIS,
    )
    share = alt.Y("error:Q", title=error, scale=_SHARE, axis=_SHARE_AXIS)
    values = [
        {
            "step": row["step"],
            "error": row[column],
            "kind": row["kind"],
            "length": str(row["length"]),
        }
        for row in rows
        if row[column] is not None
    ]
    tests = [value for value in values if value["kind"] == "test"]
    lengths = sorted({value["length"] for value in tests}, key=int)
    training = [value for value in values if value["kind"] == "training"]
    length = alt.Opacity(
        "length:N",
        title="test length",
        sort=lengths,
        scale=alt.Scale(domain=lengths, range=_fading(len(lengths))),
        legend=alt.Legend(orient="top", symbolType="stroke") if len(lengths) > 1 else None,
    )
    tooltip = [
        alt.Tooltip("step:Q", format=","),
        alt.Tooltip("length:N"),
        alt.Tooltip("error:Q", format=".3f"),
    ]
    layers = [
        alt.Chart(rows_of(training)).mark_line(style="training").encode(step, share),
        alt.Chart(rows_of(tests)).mark_line(style="test").encode(step, share, length),
        alt.Chart(rows_of(tests))
        .mark_circle(style="test-point")
        .encode(step, share, length, tooltip=tooltip),
        *_bound(rows_of, below),
    ]
    return _finished(alt.layer(*layers), rows_of)


def lengths_chart(rows: Sequence[Row], *, trained_to: int | None) -> Spec:
    """One seed's last test: sequence error against length, with its 95 % interval.

    Args:
        rows: length, sequence_error, low, high, and the counts behind them.
        trained_to: Longest training length, drawn as a line; None draws none.
    """
    rows_of = _Rows()
    values = [dict(row) for row in rows]
    length = alt.X("length:Q", title="length (symbols)", scale=alt.Scale(zero=False, padding=12))
    share = alt.Y("sequence_error:Q", title="sequence error", scale=_SHARE, axis=_SHARE_AXIS)
    base = alt.Chart(rows_of(values))
    tooltip = [
        alt.Tooltip("length:Q"),
        alt.Tooltip("wrong_sequences:Q", title="wrong"),
        alt.Tooltip("sequences:Q", title="of"),
    ]
    layers = [
        base.mark_line(style="test").encode(length, share),
        base.mark_rule(style="whisker").encode(length, alt.Y("low:Q"), alt.Y2("high:Q")),
        base.mark_circle(style="test-point").encode(length, share, tooltip=tooltip),
    ]
    if trained_to is not None:
        end = alt.Chart(rows_of([{"length": trained_to}]))
        layers.append(end.mark_rule(style="bound").encode(alt.X("length:Q")))
    return _finished(alt.layer(*layers), rows_of)


def survival_chart(points: Iterable[Mapping[str, float]], *, limit: int) -> Spec:
    """Share of seeds still right at carry length k, as steps, with its 95 % band.

    Args:
        points: carry_length, share, low, high; ascending.
        limit: Longest carry length tested: the right end of the axis, in digits.
    """
    rows_of = _Rows()
    base = alt.Chart(rows_of(list(points)))
    carry = alt.X(
        "carry_length:Q",
        title="carry length k (digits)",
        scale=alt.Scale(type="log", domain=[1, max(2, limit)], nice=False),
        axis=alt.Axis(values=[*(mark for mark in _CARRIES if mark < limit), limit], format="d"),
    )
    share = alt.Y("share:Q", title="share of seeds right", scale=_SHARE, axis=_SHARE_AXIS)
    tooltip = [
        alt.Tooltip("carry_length:Q", title="k"),
        alt.Tooltip("share:Q", format=".0%"),
    ]
    layers = [
        base.mark_area(style="band", interpolate="step-after").encode(
            carry, alt.Y("low:Q", title="share of seeds right", scale=_SHARE), alt.Y2("high:Q")
        ),
        base.mark_line(style="test", interpolate="step-after").encode(carry, share),
        base.mark_circle(style="hover").encode(carry, share, tooltip=tooltip),
    ]
    return _finished(alt.layer(*layers), rows_of)


def carries_chart(rows: Sequence[Row], *, threshold: int | None) -> Spec:
    """One seed's error against carry length; the threshold is where half the answers are wrong.

    Args:
        rows: carry_length, trials and wrong, ascending.
        threshold: The carry threshold in digits, drawn as a line; None draws none.
    """
    rows_of = _Rows()
    values = [
        {**row, "error": row["wrong"] / row["trials"]} for row in map(dict, rows) if row["trials"]
    ]
    base = alt.Chart(rows_of(values))
    carry = alt.X(
        "carry_length:Q",
        title="carry length (digits)",
        scale=alt.Scale(nice=False, padding=8),
        axis=alt.Axis(format="d", tickMinStep=1),
    )
    share = alt.Y("error:Q", title="sequence error", scale=_SHARE, axis=_SHARE_AXIS)
    tooltip = [
        alt.Tooltip("carry_length:Q"),
        alt.Tooltip("wrong:Q"),
        alt.Tooltip("trials:Q", title="of"),
    ]
    layers = [
        base.mark_line(style="test").encode(carry, share),
        base.mark_circle(style="test-point").encode(carry, share, tooltip=tooltip),
    ]
    if threshold is not None:
        mark = alt.Chart(rows_of([{"carry_length": threshold}]))
        layers.append(mark.mark_rule(style="bound").encode(alt.X("carry_length:Q")))
    return _finished(alt.layer(*layers), rows_of)


class _Rows:
    """The rows of one chart, by the name that stands for them while it is built.

    Altair would hold every value of them against Vega-Lite's schema, a tenth of a second a chart.
    """

    def __init__(self) -> None:
        self._named: dict[str, list[Mapping[str, Any]]] = {}

    def __call__(self, values: Sequence[Mapping[str, Any]]) -> alt.NamedData:
        """What a layer names them by."""
        name = str(len(self._named))
        self._named[name] = list(values)
        return alt.NamedData(name=name)

    def put_in(self, layer: Spec) -> None:
        """Write the rows where a layer names them."""
        layer["data"] = {"values": self._named[layer["data"]["name"]]}


def _records(bands: Sequence[Row]) -> list[dict[str, float]]:
    columns = ("step", "median", "low", "high", "seeds")
    return [
        {key: round(row[key], 5) if isinstance(row[key], float) else row[key] for key in columns}
        for row in thinned(bands)
    ]


def measured_together(bands: Sequence[Row]) -> list[Row]:
    """The rows at which at least half as many seeds were measured as at any later step.

    A seed that stops early is tested at its last step too, where no other is: a median of one seed
    between medians of many would be a spike that says nothing.
    """
    kept: list[Row] = []
    most = 0
    for row in reversed(bands):
        if 2 * row["seeds"] >= most:
            kept.append(row)
        most = max(most, row["seeds"])
    return kept[::-1]


def thinned(curve: Sequence[Row], *, most: int = 250) -> list[Row]:
    """At most `most` rows of a curve, evenly spaced, the first and the last among them."""
    return evenly(curve, most)


def _lines(rows_of: _Rows, bands: Sequence[Row], step: alt.X, style: str, error: str) -> alt.Chart:
    share = alt.Y("median:Q", title=error, scale=_SHARE, axis=_SHARE_AXIS)
    return alt.Chart(rows_of(_records(bands))).mark_line(style=style).encode(step, share)


def _area(rows_of: _Rows, bands: Sequence[Row], step: alt.X) -> alt.Chart:
    low = alt.Y("low:Q", scale=_SHARE)
    return (
        alt.Chart(rows_of(_records(bands)))
        .mark_area(style="band")
        .encode(step, low, alt.Y2("high:Q"))
    )


def _hover(rows_of: _Rows, bands: Sequence[Row], step: alt.X) -> alt.Chart:
    tooltip = [
        alt.Tooltip("step:Q", format=","),
        alt.Tooltip("median:Q", format=".3f"),
        alt.Tooltip("low:Q", title="10 %", format=".3f"),
        alt.Tooltip("high:Q", title="90 %", format=".3f"),
        alt.Tooltip("seeds:Q"),
    ]
    return (
        alt.Chart(rows_of(_records(bands)))
        .mark_circle(style="hover")
        .encode(step, alt.Y("median:Q"), tooltip=tooltip)
    )


def _bound(rows_of: _Rows, below: float | None) -> list[alt.Chart]:
    if below is None:
        return []
    return [
        alt.Chart(rows_of([{"error": below}])).mark_rule(style="bound").encode(alt.Y("error:Q"))
    ]


def _fading(count: int) -> list[float]:
    """Opacities for the lengths tested: the longest, the one that counts, is the strongest."""
    return [1 - 0.75 * (count - 1 - index) / count for index in range(count)]


def _finished(chart: alt.LayerChart, rows_of: _Rows) -> Spec:
    return _filled(_unfilled(chart), rows_of)


def _unfilled(chart: alt.LayerChart) -> Spec:
    """The chart as Vega-Lite, its rows by name."""
    sized = chart.properties(width="container", height="container")
    # The page owns the look: altair's own theme would fix a width and a font.
    spec: Spec = sized.to_dict(validate=False)
    spec.pop("config", None)
    return spec


def _filled(spec: Spec, rows_of: _Rows) -> Spec:
    # What all layers share, Altair writes once, above them.
    for layer in (spec, *spec["layer"]):
        if "data" in layer:
            rows_of.put_in(layer)
    return spec
