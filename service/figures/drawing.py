"""The pieces figures are drawn from: Vega-Lite as plain values, marks by style, no colours.

A figure is one panel or several side by side; each has a fixed size, so that it prints as it shows.
Where series are told apart by colour, the page's and the print's range of categories is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service.figures.figure import Row, Spec, Table

#: Any share has the same axis, so that panels compare at a glance.
SHARE_AXIS = {"values": [0, 0.25, 0.5, 0.75, 1], "format": ".2~f"}
SHARE_SCALE = {"domain": [0, 1], "nice": False}
STEP_AXIS = {
    "tickCount": 5,
    "labelExpr": "datum.value == 0 ? '0' : format(datum.value, '~s')",
}
#: Published values, drawn beside ours wherever the source has them.
OURS, PUBLISHED = "ours", "published"
#: Series of one panel that colours tell apart.
MOST_SERIES = 8
#: Pixels of a line of a table, and of one row of an interval plot.
_LINE, _ROW = 50, 40


def layer(
    style: str, mark: str, rows: Sequence[Row], encoding: Mapping[str, Any], **more: Any
) -> Spec:
    """One mark over some rows."""
    return {
        "data": {"values": [_rounded(row) for row in rows]},
        "mark": {"type": mark, "style": style, **more},
        "encoding": dict(encoding),
    }


def panel(title: str, layers: Sequence[Spec], *, width: int = 300, height: int = 210) -> Spec:
    """One chart, with its heading above it."""
    return {
        "title": {"text": title, "anchor": "start"},
        "width": width,
        "height": height,
        "layer": list(layers),
    }


def together(panels: Sequence[Spec], *, columns: int) -> Spec:
    """Panels in rows of so many, each with the legend of its own series."""
    own = {"color": "independent"}
    return {
        "autosize": "pad",
        "concat": list(panels),
        "columns": columns,
        "spacing": 28,
        "resolve": {"scale": own, "legend": own},
    }


def alone(one: Spec) -> Spec:
    """A single panel as a whole figure, without a heading: the figure has one."""
    return {"autosize": "pad", **{key: value for key, value in one.items() if key != "title"}}


def x(field: str, title: str, **more: Any) -> Spec:
    """A quantitative channel."""
    return {"field": field, "type": "quantitative", "title": title, **more}


y = x


def steps(last: int, field: str = "step") -> Spec:
    """The axis of training steps."""
    scale = {"domain": [0, max(1, last)], "nice": False}
    return x(field, "step (parameter updates)", scale=scale, axis=STEP_AXIS)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, … within a range: what a logarithmic axis labels."""
    steps_ = (digit * 10**power for power in range(7) for digit in (1, 2, 5))
    return [one for one in steps_ if low <= one <= high]


def share(field: str, title: str) -> Spec:
    """An axis of shares, from 0 to 1."""
    return y(field, title, scale=SHARE_SCALE, axis=SHARE_AXIS)


def series(
    labels: Sequence[str], title: str | None = None, field: str = "series", *, columns: int = 3
) -> Spec:
    """The colour of a series; a single one needs no legend."""
    legend = {
        "orient": "top",
        "title": title,
        "symbolType": "stroke",
        "columns": columns,
        "labelLimit": 260,
    }
    return {
        "field": field,
        "type": "nominal",
        "sort": list(labels),
        "scale": {"domain": list(labels)},
        "legend": legend if len(labels) > 1 else None,
    }


def bands(
    rows: Sequence[Row], across: Spec, up: Spec, colour: Spec, *, tooltip: Sequence[Spec] = ()
) -> list[Spec]:
    """Lines with a band around each: rows have `value`, `low`, `high` and the series' field."""
    low = {**up, "field": "low"}
    return [
        layer(
            "spread",
            "area",
            rows,
            {"x": across, "y": low, "y2": {"field": "high"}, "color": colour},
        ),
        layer("series", "line", rows, {"x": across, "y": up, "color": colour}),
        layer(
            "hover",
            "circle",
            rows,
            {"x": across, "y": up, "color": colour, "tooltip": list(tooltip)},
        ),
    ]


def published_points(
    rows: Sequence[Row], across: Spec, up: Spec, *, tooltip: Sequence[Spec]
) -> list[Spec]:
    """Published values as diamonds, each named beside it; rows have `series`.

    Args:
        rows: Points of a panel.
        across: Its horizontal axis, with a domain.
        up: Its vertical axis.
        tooltip: What a pointer is told.
    """
    place = {"x": across, "y": up}
    low, high = across["scale"]["domain"]
    logarithmic = across["scale"].get("type") == "log"
    middle = (low * high) ** 0.5 if logarithmic else (low + high) / 2
    field = across["field"]
    named: dict[str, Row] = {row["series"]: row for row in rows}
    layers = [
        layer(
            "published",
            "point",
            rows,
            {**place, "tooltip": list(tooltip)},
            shape="diamond",
            filled=True,
        )
    ]
    for align, dx, some in (
        ("left", 8, [row for row in named.values() if row[field] <= middle]),
        ("right", -8, [row for row in named.values() if row[field] > middle]),
    ):
        text = {**place, "text": {"field": "series"}}
        layers.append(layer("published-label", "text", some, text, align=align, dx=dx, dy=12))
    return layers


def tip(field: str, title: str | None = None, format_: str | None = None) -> Spec:
    """A line of what a pointer is told."""
    found: Spec = {"field": field}
    if format_ is not None:
        found |= {"type": "quantitative", "format": format_}
    return found | ({"title": title} if title else {})


def intervals(
    rows: Sequence[Row], labels: Sequence[str], across: Spec, *, title: str, width: int = 260
) -> Spec:
    """Estimates with their intervals, a line a label, ours above the published value.

    Args:
        rows: label, source (`OURS` or `PUBLISHED`), value, low, high, and counts as text.
        labels: The lines, from above.
        across: The axis of the estimates.
        title: Of the panel.
        width: In pixels.
    """
    line = {
        "field": "label",
        "type": "nominal",
        "sort": list(labels),
        "scale": {"domain": list(labels)},
        "title": None,
        "axis": {"labelLimit": 240, "ticks": False, "domain": False},
    }
    offset = {"field": "source", "type": "nominal", "scale": {"domain": [OURS, PUBLISHED]}}
    place = {"y": line, "yOffset": offset}
    ends = {**place, "x": {**across, "field": "low"}, "x2": {"field": "high"}}
    told = [tip("label", "what"), tip("source"), tip("counts"), tip("value", None, ".3f")]
    layers: list[Spec] = []
    for source, point in ((OURS, "circle"), (PUBLISHED, "diamond")):
        some = [row for row in rows if row["source"] == source and row["value"] is not None]
        counts = {**place, "x": {"value": width + 6}, "text": {"field": "counts"}}
        spot = {**place, "x": {**across, "field": "value"}, "tooltip": told}
        layers += [
            layer(f"{source}-whisker", "rule", some, ends),
            layer(source, "point", some, spot, shape=point, filled=True),
            layer(f"{source}-label", "text", some, counts, align="left", baseline="middle"),
        ]
    # A line of which nothing is known yet still stands.
    layers.append(layer("hover", "point", [{"label": label} for label in labels], {"y": line}))
    return panel(title, layers, width=width, height=_ROW * max(1, len(labels)))


def table_chart(table: Table, *, column: int = 150) -> Spec:
    """A table for print: each cell its text, its note, and the published value below."""
    rows = [
        {
            "line": head,
            "column": name,
            "text": cell.text,
            "note": cell.note,
            "paper": cell.published,
        }
        for head, cells in table.lines
        for name, cell in zip(table.heads, cells, strict=True)
    ]
    across = {
        "field": "column", "type": "nominal", "sort": list(table.heads), "title": None,
        "scale": {"domain": list(table.heads)},
        "axis": {"orient": "top", "labelAngle": 0, "labelLimit": column - 8, "ticks": False,
                 "domain": False},
    }  # fmt: skip
    heads = [head for head, _ in table.lines]
    down = {
        "field": "line", "type": "nominal", "sort": heads, "title": None,
        "scale": {"domain": heads},
        "axis": {"labelLimit": 260, "ticks": False, "domain": False, "grid": True,
                 "tickBand": "extent"},
    }  # fmt: skip
    layers = [
        layer(style, "text", rows, {"x": across, "y": down, "text": {"field": field}}, dy=dy)
        for style, field, dy in (
            ("cell", "text", -12),
            ("cell-note", "note", 3),
            ("published-label", "paper", 16),
        )
    ]
    return {
        "autosize": "pad",
        "width": {"step": column},
        "height": {"step": _LINE},
        "layer": layers,
    }


def _rounded(row: Row) -> dict[str, Any]:
    return {
        key: float(f"{value:.6g}") if isinstance(value, float) else value
        for key, value in row.items()
    }
