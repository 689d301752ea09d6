"""`ngpu doctor`: whether the installation and its record are in order, and what to do if not."""

from dataclasses import asdict

import typer

from service.commands.context import settings_of
from service.printing import Output, OutputOption, message, print_rows

COLUMNS = ("check", "ok", "says")


def doctor(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Check every invariant of the installation and its record; say what to do next."""
    from service.doctor import examine

    verdicts = examine(settings_of(context))
    print_rows([asdict(verdict) for verdict in verdicts], output, columns=COLUMNS)
    findings = [verdict for verdict in verdicts if verdict.ok is False]
    for verdict in findings:
        message(f"{verdict.check}: {verdict.says}\n  → {verdict.advice}")
    message(f"{len(findings)} findings" if findings else "nothing to do")
    if findings:
        raise typer.Exit(1)
