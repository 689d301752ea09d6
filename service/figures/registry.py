"""The figures by name: what each shows, where it is from, what it asks of a sweep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from service.figures import (
    accuracy_curves,
    carry_curves,
    carry_survival,
    error_by_length,
    learning_curves,
    looks,
    outcome_words,
    success_fractions,
    zero_padded,
)
from service.figures.evidence import Evidence
from service.figures.figure import Figure, Missing
from service.figures.published import FREIVALDS, KAISER, KAISER_SLIDES, PRICE, SOURCES


class UnknownFigure(ValueError):
    """There is no figure of that name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nearest = next(iter(get_close_matches(name, FIGURES, n=1)), None)
        super().__init__(f"there is no figure {name!r}: there are {', '.join(FIGURES)}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A table or figure of the sources, or one of ours."""

    name: str
    title: str
    source: str
    #: What a sweep must hold, as a sentence without its beginning: "the sweep needs …".
    needs: str
    #: Raises `Missing` where the configurations do not hold what is shown; reads no measurement.
    choose: Callable[[Evidence], Any]
    draw: Callable[[Evidence], Figure]

    def missing(self, evidence: Evidence) -> str | None:
        """What the sweeps lack for this figure, by their configurations; None: nothing."""
        try:
            self.choose(evidence)
        except Missing as lack:
            return str(lack)
        return None


def figure(name: str) -> Entry:
    """Look a figure up.

    Raises:
        UnknownFigure: There is none of that name.
    """
    if name not in FIGURES:
        raise UnknownFigure(name)
    return FIGURES[name]


def _curves() -> list[Entry]:
    told = {
        "figure3": (
            "Decimal multiplication by curriculum and size",
            "curricula of bases that end with decimal multiplication",
            learning_curves.figure3_panels,
            "Of the source's curves only 512 filters fit the training data without a curriculum, "
            "none generalizes; 2-4-10 does best. It gives no numbers.",
        ),
        "figure4": (
            "Binary multiplication of three terms by curriculum",
            "multiplication of three terms, always or after two",
            learning_curves.figure4_panels,
            "In the source, three terms alone do not fit; 2 then 3 fits and is wrong in all tests; "
            "2, 3, then any number has some tests right. It gives no numbers.",
        ),
        "figure5": (
            "Binary expressions by size",
            "arithmetic expressions, by number of filters",
            learning_curves.figure5_panels,
            "In the source the best model is right in 30 % of the tests of length 201.",
        ),
        "figure7": (
            "How numbers are written: padded, aligned, unpadded",
            "one operation written in two ways or more",
            learning_curves.figure7_panels,
            "In the source aligned input is best for addition and worst for multiplication, and "
            "unpadded is hardest. It gives no numbers.",
        ),
    }
    return [
        Entry(
            name=name,
            title=title,
            source=f"{PRICE}, Figure {name[-1]}",
            needs=needs,
            choose=panels,
            draw=learning_curves.draw_curves(
                name, title, panels, f"{about} ({PRICE}, Figure {name[-1]}.)"
            ),
        )
        for name, (title, needs, panels, about) in told.items()
    ]


def _accuracies() -> list[Entry]:
    claims = SOURCES["freivalds2017_claims"]
    diagonal = "the diagonal Neural GPU"
    each = (
        (f"{diagonal}, with or without the plain one", accuracy_curves.Accuracy(
            name="dngpu-figure3",
            title="Accuracy of the diagonal Neural GPU by step",
            choose=accuracy_curves.choose_diagonal,
            published=accuracy_curves.steps_to_goal,
            about=f"Published (ochre; {claims}): 99 % after 800 steps with 96 maps, after 30 000 "
            "steps with the original Neural GPU; 5 seeds each, binary multiplication, length 401.",
        )),
        (diagonal, accuracy_curves.Accuracy(
            name="dngpu-figure4",
            title="Accuracy of the diagonal Neural GPU by time",
            choose=accuracy_curves.choose_diagonal,
            published=accuracy_curves.minutes_to_goal,
            in_minutes=True,
            about=f"Published (ochre; {claims}): 99 % in less than 15 minutes of a Tesla K40; 5 "
            "seeds.",
        )),
        (f"{diagonal} with and without its parts", accuracy_curves.Accuracy(
            name="dngpu-figure7",
            title="Accuracy without parts of the diagonal Neural GPU",
            choose=accuracy_curves.choose_ablations,
            about=f"In the source ({FREIVALDS}, Figure 7) soft nonlinearities generalize poorly, "
            "no saturation cost never gets to 100 % and degrades after 6000 steps, no diagonal "
            "gates is slower and less stable. It gives no numbers.",
        )),
        (f"{diagonal} with several settings of dropout", accuracy_curves.Accuracy(
            name="dngpu-figure8",
            title="Accuracy by where dropout is put",
            choose=accuracy_curves.choose_dropouts,
            about=f"In the source ({FREIVALDS}, Figure 8) dropout on the candidate is best, on the "
            "state worse, none worst. It gives no numbers.",
        )),
        ("multiplication of binary-coded decimals", accuracy_curves.Accuracy(
            name="dngpu-figure9",
            title="Accuracy of decimal multiplication, binary-coded",
            choose=accuracy_curves.choose_coded_decimals,
            about=accuracy_curves.coded_decimals_claim(),
        )),
    )  # fmt: skip
    return [
        Entry(
            name=one.name,
            title=one.title,
            source=f"{FREIVALDS}, Figure {one.name[-1]}",
            needs=needs,
            choose=one.choose,
            draw=one.draw,
        )
        for needs, one in each
    ]


def _tables() -> list[Entry]:
    words = {
        "curricula of bases that end with decimal multiplication": outcome_words.table2(),
        "one padded addition or multiplication a configuration": outcome_words.known_results(),
    }
    return [
        Entry(
            name=one.name,
            title=one.title,
            source=one.source,
            needs=needs,
            choose=one.choose,
            draw=one.draw,
        )
        for needs, one in words.items()
    ]


def _entries() -> list[Entry]:
    return [
        Entry(
            name="figure2",
            title="Fraction of seeds that learn and generalize, by variant",
            source=SOURCES["price2016_figure2"],
            needs="any axes; the published cells are those of an axis `variant`, by size",
            choose=success_fractions.choose_variants,
            draw=success_fractions.draw_figure2,
        ),
        *_curves(),
        Entry(
            name="figure6-left",
            title="Error against the length of a carry",
            source=f"{PRICE}, Figure 6 left",
            needs="adders that are asked the probe `carries`",
            choose=carry_curves.choose_carry_probe,
            draw=carry_curves.draw_figure6_left,
        ),
        Entry(
            name="figure6-right",
            title="Fraction of seeds that carry at least so far",
            source=f"{PRICE}, Figure 6 right",
            needs="adders with evaluation.carry_limit set",
            choose=carry_survival.choose_carrying,
            draw=carry_survival.draw_figure6_right,
        ),
        Entry(
            name="table3",
            title="Products of two digits with 99 zeros before each",
            source=SOURCES["price2016_table3_zero_padded"],
            needs="multipliers that are asked the probe `padded_digits`",
            choose=zero_padded.choose_padded_probe,
            draw=zero_padded.draw_table3,
        ),
        *_tables(),
        Entry(
            name="kaiser-errors",
            title="Sequence error by task and length",
            source=f"{KAISER_SLIDES}; {KAISER}",
            needs="tests at several lengths",
            choose=error_by_length.choose_lengths,
            draw=error_by_length.draw_kaiser_errors,
        ),
        *_accuracies(),
        Entry(
            name="dngpu-figure5",
            title="Accuracy by length",
            source=f"{FREIVALDS}, Figure 5",
            needs="tests at several lengths",
            choose=error_by_length.choose_lengths,
            draw=error_by_length.draw_accuracy,
        ),
        Entry(
            name="dngpu-figure6",
            title="Wrong outputs of 1024 by length",
            source=f"{FREIVALDS}, Figure 6",
            needs="tests at several lengths",
            choose=error_by_length.choose_lengths,
            draw=error_by_length.draw_wrong_outputs,
        ),
        Entry(
            name="ever-final",
            title="Ever and final: how many looks a success may take",
            source="ours; the sources count a seed if any test was right",
            needs="tests at the length of its success rule",
            choose=looks.series_of,
            draw=looks.draw_ever_final,
        ),
    ]


_ORDER = (
    "figure2", "table2", "figure3", "figure4", "figure5", "figure6-left", "figure6-right", "table3",
    "figure7", "kaiser-errors", "dngpu-figure3", "dngpu-figure4", "dngpu-figure5", "dngpu-figure6",
    "dngpu-figure7", "dngpu-figure8", "dngpu-figure9", "known-results", "ever-final",
)  # fmt: skip
#: Every figure by its name, in the order of the sources.
FIGURES: Mapping[str, Entry] = MappingProxyType(
    {one.name: one for one in sorted(_entries(), key=lambda one: _ORDER.index(one.name))}
)
