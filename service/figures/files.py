"""A figure as a file: SVG, PNG, PDF on white, CSV of its numbers, or its Vega-Lite."""

import json
from collections.abc import Sequence
from enum import StrEnum
from textwrap import wrap

from service.figures.figure import Figure, Spec
from service.prints import LOOK
from service.tables import csv_text


class Format(StrEnum):
    """What a figure can be written as."""

    SVG = "svg"
    PNG = "png"
    PDF = "pdf"
    CSV = "csv"
    VEGA = "vega"


MEDIA_TYPES = {
    Format.SVG: "image/svg+xml",
    Format.PNG: "image/png",
    Format.PDF: "application/pdf",
    Format.CSV: "text/csv",
    Format.VEGA: "application/vnd.vegalite.v6+json",
}
#: Characters of a line of a printed caption, and dots of a PNG per pixel of the drawing.
_LINE, _SCALE = 120, 2
_VEGALITE = "6.4"
#: What says that a chart is Vega-Lite, to who would take it for Vega.
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def written(figure: Figure, format_: Format) -> bytes:
    """The figure with title and caption, as one file.

    Drawing takes about a second of one processor; CSV and Vega-Lite take none.
    """
    if format_ is Format.CSV:
        return csv_text(list(figure.columns), figure.rows).encode()
    spec = printed(figure)
    if format_ is Format.VEGA:
        whole = {"$schema": SCHEMA, **spec, "config": dict(LOOK)}
        return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode()
    import vl_convert

    config = dict(LOOK)
    # Nothing is fetched: what a chart shows is in it.
    if format_ is Format.SVG:
        drawn = vl_convert.vegalite_to_svg(
            spec, vl_version=_VEGALITE, config=config, allowed_base_urls=[]
        )
        return drawn.encode()
    if format_ is Format.PNG:
        return vl_convert.vegalite_to_png(
            spec, vl_version=_VEGALITE, config=config, scale=_SCALE, allowed_base_urls=[]
        )
    return vl_convert.vegalite_to_pdf(
        spec, vl_version=_VEGALITE, config=config, allowed_base_urls=[]
    )


def printed(figure: Figure) -> Spec:
    """The chart as paper has it: the title above, the caption below."""
    chart = {key: value for key, value in figure.chart.items() if key != "autosize"}
    return {
        "title": {
            "text": _lines(figure.caption),
            "orient": "bottom",
            "anchor": "start",
            "style": "caption",
            "offset": 14,
        },
        # A legend stays with its panel, below the title.
        "resolve": {"scale": {"color": "independent"}, "legend": {"color": "independent"}},
        "vconcat": [
            {"title": {"text": figure.title, "anchor": "start", "style": "heading"}, **chart}
        ],
    }


def _lines(sentences: Sequence[str]) -> list[str]:
    return [line for sentence in sentences for line in wrap(sentence, _LINE)]
