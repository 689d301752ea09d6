"""A sweep in the terminal: how far it is, and its success fractions."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from service.client import Client, Json
from service.formats import about, interval, number, percent
from service.printing import message, print_table
from service.sentences import rule

#: Seconds between two lines where there is no terminal to redraw.
LINE_SECONDS = 5.0

Show = Callable[[Json], None]


def watch_sweep(client: Client, sweep_id: str) -> Json:
    """Show a sweep's progress on stderr until it has ended; the sweep as it is then."""
    with _display() as show:
        for event in client.events(sweep_id):
            if event.kind == "progress":
                show(event.body)
    return client.sweep(sweep_id)


def _display() -> Any:
    return _live() if sys.stderr.isatty() else _lines()


@contextmanager
def _live() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("waiting for a runner", total=None)

        def show(progress: Json) -> None:
            bar.update(
                task,
                completed=progress["steps_done"],
                total=progress["steps_total"],
                description=progress_line(progress),
            )

        yield show


@contextmanager
def _lines() -> Iterator[Show]:
    shown_at = -LINE_SECONDS

    def show(progress: Json) -> None:
        nonlocal shown_at
        ended = not progress["pending"] and not progress["running"]
        if ended or time.monotonic() - shown_at >= LINE_SECONDS:
            shown_at = time.monotonic()
            message(progress_line(progress))

    yield show


def progress_line(progress: Mapping[str, Any]) -> str:
    """``9 of 24 seed runs ended, 2 running · 4 800 of 19 200 steps · about 2 min left``."""
    ended = progress["requested"] - progress["pending"] - progress["running"]
    parts = [
        f"{ended} of {progress['requested']} seed runs ended, {progress['running']} running",
        f"{number(progress['steps_done'])} of {number(progress['steps_total'])} steps",
    ]
    if progress["pending"] or progress["running"]:
        parts.append(about(progress["seconds_left"]))
    return " · ".join(parts)


def print_success(sweep: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """The success fractions as a table, the rule and what was left out below it."""
    excluded = sum(row["excluded"] for row in rows)
    still_open = sum(row["pending"] + row["running"] for row in rows)
    print_table([success_line(row) for row in rows], SUCCESS_COLUMNS)
    print(rule({f"success_{key}": value for key, value in sweep["rule"].items()}))
    print("n counts finished and diverged seeds; the interval is Wilson's, exact at 0/n and n/n.")
    if excluded:
        print(f"Excluded, since they have no result: {excluded} seed runs (failed or cancelled).")
    if still_open:
        print(f"Not ended yet: {still_open} seed runs.")


COUNTS = ("requested", "diverged", "failed", "cancelled")
SUCCESS_COLUMNS = ("configuration", "k/n", "fraction", "95 % interval", *COUNTS)


def success_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration as the table shows it."""
    return {
        "configuration": row["configuration"],
        "k/n": f"{row['succeeded']}/{row['counted']}",
        "fraction": percent(row["fraction"]),
        "95 % interval": interval(row["low"], row["high"]),
        **{key: row[key] for key in COUNTS},
    }
