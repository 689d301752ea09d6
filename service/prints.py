"""A chart of the dashboard as SVG on white: the styles that charts name, in fixed colours."""

from collections.abc import Mapping
from typing import Any

_QUIET, _RULE, _ACCENT, _GOOD = "#5f5b53", "#e4e0d7", "#1f5fbf", "#1a7f52"
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
    "style": {
        "test": {"color": _ACCENT, "strokeWidth": 2},
        "test-point": {"color": _ACCENT, "opacity": 1, "size": 26},
        "training": {"color": _QUIET, "strokeWidth": 1.25, "strokeDash": [4, 3]},
        "band": {"color": _ACCENT, "opacity": 0.16},
        "whisker": {"color": _ACCENT, "strokeWidth": 1.5, "opacity": 0.6},
        "bound": {"color": _GOOD, "strokeWidth": 1.25, "strokeDash": [1, 3]},
        "hover": {"color": _ACCENT, "opacity": 0},
    },
}


def svg(spec: Mapping[str, Any], title: str) -> str:
    """A Vega-Lite chart as SVG, its title above it."""
    import vl_convert

    # The page's charts take the width of their place; paper has one.
    sized = {**spec, "width": 480, "height": 260, "title": {"text": title, "anchor": "start"}}
    return vl_convert.vegalite_to_svg(sized, config=dict(LOOK))
