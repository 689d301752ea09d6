"""The roofline of a machine's results as an SVG, drawn by hand: no plotting library needed.

    python -m benchmarks.roofline benchmarks/results/MACHINE.json docs/images/roofline.svg

Across: operations for each byte moved between operators (`traffic.py`). Up: operations a second.
The flat roof is the multiply-add peak; the slanted ones are what a byte a second from each level of
memory allows. Both were measured in the run. An open mark is the loop, a filled one our engine.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH = 760
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 392
#: Decades of operations a byte; decades below and above the peak.
ACROSS, AROUND_PEAK = (-0.5, 3.0), (1.9, 0.35)
LINE, SECOND_COLUMN = 20, 375
STYLE = """
:root { --page: #fbfaf7; --ink: #1c1b19; --ink-2: #5f5b53; --rule: #e4e0d7;
  --ours: #1a7f52; --loop: #b7791f; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16171a; --ink: #eceae4; --ink-2: #a29d92; --rule: #33353b;
    --ours: #58c493; --loop: #e0b25c; }
}
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.small { font-size: 12px; fill: var(--ink-2); paint-order: stroke; stroke: var(--page);
  stroke-width: 3px; }
.title { font-size: 15px; font-weight: 600; }
.grid { stroke: var(--rule); }
.roof { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.slope { stroke: var(--ink-2); stroke-dasharray: 5 4; fill: none; }
.pair { stroke: var(--ink-2); stroke-opacity: .5; }
.ours { fill: var(--ours); stroke: var(--page); }
.loop { fill: var(--page); stroke: var(--loop); stroke-width: 2; }
"""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One workload: where the loop and our engine lie, as (operations a byte, operations/s)."""

    title: str
    loop: tuple[float, float]
    ours: tuple[float, float]


def pairs(rows: Mapping[str, Mapping[str, Any]]) -> list[Pair]:
    """The rows whose traffic was counted and that ran beside the loop."""
    found = []
    for row in rows.values():
        rates = [
            row["peers"][name] for name in ("naive", "naive-one-process") if name in row["peers"]
        ]
        if "traffic_bytes" not in row or len(rates) < 2:
            continue
        flop, moved = row["flop_per_step"], row["traffic_bytes"]
        found.append(
            Pair(
                title=row["title"],
                loop=(flop / moved["naive"], max(rates) * flop),
                ours=(flop / moved["ours"], row["flop_per_second"]),
            )
        )
    return found


def x(intensity: float) -> float:
    """Pixels from the left for operations a byte."""
    share = (log10(intensity) - ACROSS[0]) / (ACROSS[1] - ACROSS[0])
    return LEFT + min(max(share, 0), 1) * (WIDTH - LEFT - RIGHT)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The upward axis, placed around the peak."""

    peak: float

    @property
    def lowest(self) -> float:
        """Operations a second at the bottom."""
        return self.peak / float(10 ** AROUND_PEAK[0])

    def y(self, rate: float) -> float:
        """Pixels from the top for operations a second."""
        share = log10(rate / self.lowest) / sum(AROUND_PEAK)
        return BOTTOM - min(max(share, 0), 1) * (BOTTOM - TOP)

    def ticks(self) -> list[float]:
        """1, 2, 5, 10, 20, … as far as they lie on the axis."""
        highest = self.peak * 10 ** AROUND_PEAK[1]
        every = [digit * 10**decade for decade in range(6, 16) for digit in (1, 2, 5)]
        return [float(rate) for rate in every if self.lowest <= rate <= highest]


def apart(wanted: Sequence[float], gap: float = 13) -> list[float]:
    """Move positions as little as it takes until neighbours are `gap` apart."""
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    placed = dict.fromkeys(order, 0.0)
    groups: list[list[int]] = []
    for place in order:
        groups.append([place])
        while len(groups) > 1 and _start(groups[-1], wanted, gap) < (
            _start(groups[-2], wanted, gap) + gap * len(groups[-2])
        ):
            lower = groups.pop()
            groups[-1] += lower
    for group in groups:
        start = _start(group, wanted, gap)
        for position, place in enumerate(group):
            placed[place] = start + gap * position
    return [placed[place] for place in range(len(wanted))]


def _start(group: Sequence[int], wanted: Sequence[float], gap: float) -> float:
    """Where a group's first label lies when the group is centred on what its members want."""
    mean = sum(wanted[place] for place in group) / len(group)
    return mean - gap * (len(group) - 1) / 2


def text(left: float, top: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text."""
    named = f' class="{kind}"' if kind else ""
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}"{named}>{escape(words)}</text>'
    )


def line(kind: str, left: float, top: float, right: float, bottom: float) -> str:
    """One line."""
    return (
        f'<line class="{kind}" x1="{left:.1f}" y1="{top:.1f}" x2="{right:.1f}" y2="{bottom:.1f}"/>'
    )


def axes(scale: Scale) -> Iterator[str]:
    """Grid, ticks and what they measure."""
    for intensity in (0.5, 1, 3, 10, 30, 100, 300, 1000):
        yield line("grid", x(intensity), TOP, x(intensity), BOTTOM)
        yield text(x(intensity), BOTTOM + 18, f"{intensity:g}", "small", "middle")
    for rate in scale.ticks():
        yield line("grid", LEFT, scale.y(rate), WIDTH - RIGHT, scale.y(rate))
        yield text(LEFT - 8, scale.y(rate) + 4, f"{rate / 1e9:g}", "small", "end")
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield text(
        middle, BOTTOM + 38, "operations for each byte moved between operators", "", "middle"
    )
    yield text(LEFT, TOP - 12, "billion operations a second")


def roofs(scale: Scale, bandwidths: Mapping[str, float]) -> Iterator[str]:
    """The peak, and what each level of memory allows below it."""
    peak = scale.peak
    first = min(peak / rate for rate in bandwidths.values())
    yield line("roof", x(first), scale.y(peak), WIDTH - RIGHT, scale.y(peak))
    said = f"peak of the multiply-add units: {peak / 1e9:.0f}"
    yield text(WIDTH - RIGHT, scale.y(peak) - 7, said, "small", "end")
    for place, (level, rate) in enumerate(bandwidths.items()):
        low = max(float(10 ** ACROSS[0]), scale.lowest / rate)
        yield line("slope", x(low), scale.y(low * rate), x(peak / rate), scale.y(peak))
        # Caches of like speed have neighbouring slopes: their names stand at different heights.
        beside = low * (1.3 + 0.5 * place)
        words = f"{level} {rate / 1e9:.0f} GB/s"
        yield text(x(beside) + 8, scale.y(beside * rate) + 8, words, "small")


def marks(scale: Scale, found: Sequence[Pair]) -> Iterator[str]:
    """The pairs, each mark with its number beside it."""
    for pair in found:
        ends = x(pair.loop[0]), scale.y(pair.loop[1]), x(pair.ours[0]), scale.y(pair.ours[1])
        yield line("pair", *ends)
    for kind in ("loop", "ours"):
        points = [pair.loop if kind == "loop" else pair.ours for pair in found]
        labels = apart([scale.y(rate) for _, rate in points])
        for number, ((intensity, rate), label) in enumerate(zip(points, labels, strict=True), 1):
            at = x(intensity)
            yield f'<circle class="{kind}" cx="{at:.1f}" cy="{scale.y(rate):.1f}" r="5"/>'
            side, anchor = (-10, "end") if kind == "loop" else (10, "start")
            yield text(at + side, label + 4, str(number), "small", anchor)


def legend(found: Sequence[Pair]) -> Iterator[str]:
    """What the marks and numbers are."""
    top = BOTTOM + 66
    yield f'<circle class="loop" cx="{LEFT + 5}" cy="{top - 4}" r="5"/>'
    yield text(LEFT + 18, top, "loop over nn.Conv layers, the faster arrangement")
    yield f'<circle class="ours" cx="{LEFT + SECOND_COLUMN}" cy="{top - 4}" r="5"/>'
    yield text(LEFT + SECOND_COLUMN + 13, top, "this engine")
    for number, pair in enumerate(found, 1):
        row = top + LINE * number + 4
        loop, ours = pair.loop[1] / 1e9, pair.ours[1] / 1e9
        yield text(LEFT, row, f"{number}  {pair.title}", "small")
        yield text(
            LEFT + SECOND_COLUMN, row, f"{loop:.0f} → {ours:.0f} billion operations/s", "small"
        )


def roofline(stored: Mapping[str, Any]) -> str:
    """The SVG of one machine's file."""
    found, machine = pairs(stored["rows"]), stored["machine"]
    scale = Scale(peak=stored["ceilings"]["peak_flop_per_second"])
    bandwidths = stored["ceilings"]["read_bytes_per_second"]
    named = f"{machine['processor']}, {machine['cores']} cores"
    parts = [*axes(scale), *roofs(scale, bandwidths), *marks(scale, found), *legend(found)]
    height = BOTTOM + 90 + LINE * len(found)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>Roofline: {escape(named)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" style="fill: var(--page)"/>',
            text(WIDTH - RIGHT, TOP - 12, named, "small", "end"),
            *parts,
            "</svg>\n",
        ]
    )


def main() -> None:
    """Read results, write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("image", type=Path)
    asked = parser.parse_args()
    asked.image.write_text(roofline(json.loads(asked.results.read_text())))


if __name__ == "__main__":
    main()
