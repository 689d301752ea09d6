"""The tables of words: does a size or a curriculum work, struggle or fail.

The sources give no numbers behind the words. Ours are by a rule (SPECS G.4), stated in the caption:
Works: the median seed's test error gets below the success bound, so at least half of the seeds do.
Struggles: not so, but some seed's gets below one half. Fails: none does.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ngpu_core.statistics import fraction_interval
from service.figures import captions, drawing
from service.figures.evidence import COUNTED, Configuration, Evidence
from service.figures.figure import Cell, Figure, Missing, Row, Table
from service.figures.published import SOURCES, published
from service.figures.task_names import base, curriculum, operation, plain
from service.formats import DASH, interval

WORKS, STRUGGLES, FAILS = "Works", "Struggles", "Fails"
#: An error that some seed must be below for a setting to struggle, not fail.
STRUGGLING = 0.5
#: The sources' tables are of this family.
_FAMILY = "neural_gpu"
COLUMNS = (
    "line", "filters", "outcome", "published", "requested", "counted", "diverged", "excluded",
    "succeeded", "fraction", "low", "high", "best_error",
)  # fmt: skip


def outcome_word(succeeded: int, counted: int, best_error: float | None) -> str | None:
    """Works, Struggles or Fails; None where no seed is counted."""
    if not counted:
        return None
    if 2 * succeeded >= counted:
        return WORKS
    some = succeeded > 0 or (best_error is not None and best_error < STRUGGLING)
    return STRUGGLES if some else FAILS


@dataclass(frozen=True, kw_only=True)
class Words:
    """A table of words: what its lines are, and what the source says."""

    name: str
    title: str
    source: str
    #: The line a configuration belongs to; None: it is not in the table.
    line: Callable[[Configuration], str | None]
    #: (line, filters) -> the source's word.
    published: Callable[[], dict[tuple[str, int], str]]
    missing: str

    def choose(self, evidence: Evidence) -> list[Configuration]:
        """The configurations the table is about."""
        found = [one for one in evidence.configurations if self.line(one) is not None]
        if not found:
            raise Missing(self.missing)
        return found

    def draw(self, evidence: Evidence) -> Figure:
        """The table of some sweeps."""
        chosen = self.choose(evidence)
        told = self.published()
        ours = _groups(chosen, lambda one: (self.line(one), one.filters))
        lines = list(dict.fromkeys(line for line, _ in (*told, *ours)))
        sizes = sorted({filters for _, filters in (*told, *ours)})
        tests = captions.by_seed(evidence.tests())
        rows = [
            _row(evidence, line, filters, ours.get((line, filters), []), told, tests)
            for line in lines
            for filters in sizes
            if (line, filters) in told or (line, filters) in ours
        ]
        table = _table(rows, lines, sizes)
        return Figure(
            name=self.name,
            title=self.title,
            caption=_caption(self, evidence, chosen),
            chart=drawing.table_chart(table),
            columns=COLUMNS,
            rows=rows,
            table=table,
            only_table=True,
        )


def table2() -> Words:
    """Curricula of bases by size."""
    return Words(
        name="table2",
        title="Decimal multiplication by curriculum and size",
        source=SOURCES["price2016_table2"],
        line=lambda one: _bases(curriculum(one.trained)) if one.family == _FAMILY else None,
        published=lambda: {
            (_bases(str(row["curriculum_bases"])) or "", row["filters"]): row["outcome"]
            for row in published("price2016_table2")
        },
        missing="no configuration trains decimal multiplication, alone or after smaller bases: set "
        "training.tasks to [mul], [bmul, mul], [bmul, fmul, mul] or [bmul, qmul, mul]",
    )


def known_results() -> Words:
    """Addition and multiplication by base and size."""
    return Words(
        name="known-results",
        title="What the Neural GPU learns, by task and size",
        source=SOURCES["zaremba_known_results"],
        line=_operation_in_base,
        published=lambda: {
            (f"{row['operation']}, base {row['base']}", row["filters"]): row["outcome"]
            for row in published("zaremba_known_results")
        },
        missing="no configuration trains one padded addition or multiplication: set training.tasks "
        "to [badd], [add], [bmul] or [mul]",
    )


def _bases(bases: str | None) -> str | None:
    return None if bases is None else f"base {bases.replace('-', ' → ')}"


def _operation_in_base(one: Configuration) -> str | None:
    (task, *more) = one.trained
    if more or not plain(task) or one.family != _FAMILY:
        return None
    return f"{operation(task)}, base {base(task)}"


def _groups(
    configurations: Sequence[Configuration], key: Callable[[Configuration], Hashable]
) -> dict[Any, list[Configuration]]:
    groups: dict[Any, list[Configuration]] = {}
    for one in configurations:
        groups.setdefault(key(one), []).append(one)
    return groups


def _row(
    evidence: Evidence,
    line: str,
    filters: int,
    configurations: Sequence[Configuration],
    told: dict[tuple[str, int], str],
    tests: Any,
) -> Row:
    """One cell: its seeds, each judged on the task that its training aims at."""
    target = {one.id: one.judged for one in configurations}
    runs = evidence.runs_of(configurations)
    counted = [run for run in runs if run["state"] in COUNTED]
    judged = [
        next(
            (
                row
                for row in tests.get(run["seed_run_id"], ())
                if row["task"] == target[run["configuration_id"]]
            ),
            None,
        )
        for run in counted
        if run["state"] == "finished"
    ]
    below = sum(row is not None and row["first_below"] is not None for row in judged)
    errors = [row["best"] for row in judged if row is not None]
    best = min(errors, default=None)
    band = fraction_interval(below, len(counted)) if counted else None
    return {
        "line": line,
        "filters": filters,
        "outcome": outcome_word(below, len(counted), best),
        "published": told.get((line, filters), "").capitalize() or None,
        "requested": len(runs),
        "counted": len(counted),
        "diverged": sum(run["state"] == "diverged" for run in runs),
        "excluded": sum(run["state"] in ("failed", "cancelled") for run in runs),
        "succeeded": below,
        "fraction": below / len(counted) if counted else None,
        "low": None if band is None else band.low,
        "high": None if band is None else band.high,
        "best_error": best,
    }


def _caption(words: Words, evidence: Evidence, chosen: Sequence[Configuration]) -> tuple[str, ...]:
    bounds = sorted({sweep["success_below"] for sweep in evidence.sweeps})
    lengths = sorted({sweep["success_length"] for sweep in evidence.sweeps})
    at = " or ".join(map(str, lengths))
    below = " or ".join(f"{100 * bound:g} %" for bound in bounds)
    return (
        f"Works: the test error of the median seed at length {at}, on the task aimed at, was below "
        f"{below} at some test, so at least half of the seeds' were. Struggles: not so, but some "
        f"seed's was below {100 * STRUGGLING:g} %. Fails: none was.",
        "The source gives no rule for its words, and no number of seeds; this rule is ours.",
        captions.INTERVALS + " A word whose interval spans 50 % may be another with more seeds.",
        captions.counts(evidence.runs_of(chosen)),
        captions.conditions(chosen),
        f"Published: {words.source}.",
        captions.origin(evidence),
    )


def _table(rows: Sequence[Row], lines: Sequence[str], sizes: Sequence[int]) -> Table:
    found = {(row["line"], row["filters"]): row for row in rows}
    return Table(
        heads=tuple(f"{filters} filters" for filters in sizes),
        lines=tuple(
            (line, tuple(_cell(found.get((line, filters))) for filters in sizes)) for line in lines
        ),
    )


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell(text=DASH)
    said = f"published: {row['published']}" if row["published"] else ""
    if row["outcome"] is None:
        return Cell(text=DASH, note="no seed counted" if row["requested"] else "", published=said)
    note = f"{row['succeeded']}/{row['counted']} · {interval(row['low'], row['high'])}"
    return Cell(text=row["outcome"], note=note, published=said)
