"""Charts on white paper: the styles that the charts and figures name, in fixed colours."""

from collections.abc import Mapping
from typing import Any

_INK, _QUIET, _RULE, _ACCENT, _GOOD, _PAPER = (
    "#1c1b19", "#5f5b53", "#e4e0d7", "#1f5fbf", "#1a7f52", "#8a6d3b",
)  # fmt: skip
#: Series of one panel, the accent first; none of the colours that mean an outcome or a source.
_SERIES = ("#1f5fbf", "#8b3fa8", "#0f8a8a", "#c2477f", "#4a4f57", "#6aa5d9", "#b79bd6", "#6fbcae")
_AXIS = {
    "domainColor": _RULE, "gridColor": _RULE, "tickColor": _RULE,
    "labelColor": _QUIET, "titleColor": _QUIET, "titleFontWeight": 400,
}  # fmt: skip
#: As static/charts.js in light colours; `hover` marks are for a pointer and stay unseen.
LOOK: Mapping[str, Any] = {
    "background": "#ffffff",
    "view": {"stroke": None, "continuousWidth": 480, "continuousHeight": 260},
    "axis": _AXIS,
    "axisX": {"grid": False},
    "title": {"fontSize": 12, "fontWeight": 600, "color": _INK, "offset": 8},
    "legend": {"labelColor": _QUIET, "titleColor": _QUIET, "titleFontWeight": 400},
    "range": {"category": list(_SERIES)},
    "style": {
        "test": {"color": _ACCENT, "strokeWidth": 2},
        "test-point": {"color": _ACCENT, "opacity": 1, "size": 26},
        "training": {"color": _QUIET, "strokeWidth": 1.25, "strokeDash": [4, 3]},
        "band": {"color": _ACCENT, "opacity": 0.16},
        "whisker": {"color": _ACCENT, "strokeWidth": 1.5, "opacity": 0.6},
        "bound": {"color": _GOOD, "strokeWidth": 1.25, "strokeDash": [1, 3]},
        "hover": {"color": _ACCENT, "opacity": 0},
        "series": {"strokeWidth": 2},
        "spread": {"opacity": 0.16},
        "fit": {"strokeWidth": 1.25, "strokeDash": [5, 4]},
        "ours": {"color": _ACCENT, "size": 46, "opacity": 1},
        "ours-whisker": {"color": _ACCENT, "strokeWidth": 2.5, "opacity": 0.55},
        "ours-label": {"color": _INK, "fontSize": 10},
        "published": {"color": _PAPER, "size": 56, "opacity": 1},
        "published-whisker": {"color": _PAPER, "strokeWidth": 1.5, "opacity": 0.6},
        "published-line": {"color": _PAPER, "strokeWidth": 1.5, "strokeDash": [5, 3]},
        "published-label": {"color": _PAPER, "fontSize": 10},
        "cell": {"color": _INK, "fontSize": 13, "fontWeight": 600},
        "cell-note": {"color": _QUIET, "fontSize": 10},
        "heat": {"color": _ACCENT},
        "heat-frame": {"color": _PAPER, "strokeWidth": 2, "opacity": 1},
        "heading": {"fontSize": 15, "fontWeight": "bold", "fill": _INK},
        "caption": {"fontSize": 10, "fontWeight": 400, "fill": _QUIET, "lineHeight": 14},
    },
}


def svg(spec: Mapping[str, Any], title: str) -> str:
    """A Vega-Lite chart as SVG, its title above it."""
    import vl_convert

    # The page's charts take the width of their place; paper has one.
    sized = {**spec, "width": 480, "height": 260, "title": {"text": title, "anchor": "start"}}
    return vl_convert.vegalite_to_svg(sized, config=dict(LOOK))
