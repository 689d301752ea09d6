"""`ngpu task`: the problem generators, with examples. Needs no service."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.printing import Output, OutputOption, message, print_json, print_rows

if TYPE_CHECKING:
    from service.task_examples import Example, TaskDetail

app = typer.Typer(help="Look at tasks: what networks are trained on.", no_args_is_help=True)

LIST_COLUMNS = ("name", "family", "base", "lengths", "problem", "answer")


@app.command("list")
def list_(output: OutputOption = Output.TABLE) -> None:
    """List every task with an example."""
    from service.task_examples import summaries

    rows = [each.model_dump() for each in summaries()]
    if output is Output.TABLE:
        examples = [(row["example"]["input"], row["example"]["output"]) for row in rows]
        rows = [
            row | {"problem": problem, "answer": answer}
            for row, (problem, answer) in zip(rows, examples, strict=True)
        ]
    print_rows(rows, output, columns=LIST_COLUMNS)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The task's, as `ngpu task list` has it.")],
    length: Annotated[
        int | None, typer.Option(min=1, help="Of the problems, in symbols.", show_default="short")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Problems.")] = 3,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Another draws other problems.")
    ] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show problems of a task and their answers, as people read them and as the network does."""
    shown = _detail(name, length, count, seed)
    if output is Output.JSON:
        print_json(shown.model_dump())
    elif output is Output.CSV:
        print_rows([each.model_dump() for each in shown.examples], output)
    else:
        message(f"{shown.name}: {shown.description}")
        message(f"length {shown.length}; valid lengths are {shown.lengths}")
        sys.stdout.write("".join(f"\n{_example_text(each)}" for each in shown.examples))


def _detail(name: str, length: int | None, count: int, seed: int) -> "TaskDetail":
    from ngpu_core.tasks.registry import UnknownTask
    from service.task_examples import MAX_LENGTH, WrongLength, detail

    if length is not None and length > MAX_LENGTH:
        raise typer.BadParameter(
            f"{length} is too long to show: at most {MAX_LENGTH}", param_hint="--length"
        )
    try:
        return detail(name, length=length, count=count, seed=seed)
    except UnknownTask as error:
        raise typer.BadParameter(str(error), param_hint="NAME") from error
    except WrongLength as error:
        raise typer.BadParameter(str(error), param_hint="--length") from error


def _example_text(example: "Example") -> str:
    """The problem with its answer, and below them the symbols, a column of two places each."""
    rows = [("input", row) for row in example.rows] + [("target", example.target)]
    lines = (f"  {label:6} {' '.join(f'{cell:2}' for cell in row)}\n" for label, row in rows)
    return f"{example.input} → {example.output}\n{''.join(lines)}"
