"""`ngpu train`: one seed of one configuration in this process, without service or record."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from service.printing import Output, OutputOption, message, print_rows

if TYPE_CHECKING:
    from ngpu_core.config import RunConfig
    from ngpu_core.engines.choice import EngineName
    from ngpu_core.engines.engine import Engine
    from ngpu_core.events import Event

Row = dict[str, Any]


def train(
    spec: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A spec file.")],
    configuration: Annotated[int, typer.Option(min=0, help="Position in the sweep.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1)] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    engine: Annotated[
        str, typer.Option(help="native, torch, cuda or autograd; auto takes the fastest.")
    ] = "auto",
    output: OutputOption = Output.TABLE,
) -> None:
    """Train one configuration with one seed here, and print its errors by task and length."""
    run = _configuration(spec, configuration)
    rows, outcome = _train(run, seed, device, engine)
    message(outcome)
    print_rows(rows, output)


def _configuration(path: Path, position: int) -> "RunConfig":
    from sweeps.expansion import configurations
    from sweeps.spec import SpecError, parse_spec

    try:
        # JSON is YAML too.
        found = configurations(parse_spec(path.read_text()))
    except SpecError as error:
        raise typer.BadParameter(str(error), param_hint="SPEC") from error
    if position >= len(found):
        raise typer.BadParameter(
            f"{position} is not one: the sweep has configurations 0 to {len(found) - 1}",
            param_hint="--configuration",
        )
    message(f"{found[position].label}, in {path.name}")
    return found[position].run


def _train(run: "RunConfig", seed: int, device: str, engine: str) -> tuple[list[Row], str]:
    """The rows of its tests, in order, and how the training ended."""
    from ngpu_core.events import Evaluation, SeedEnded, TrainingEpoch
    from ngpu_core.training import PackTrainer

    rows: list[Row] = []
    outcome = ""
    trainer = PackTrainer(run, [seed], device=device, engine=_engine(run, device, engine))
    with _progress(run.training.max_steps) as show:
        for event in trainer.events():
            show(event)
            if isinstance(event, TrainingEpoch | Evaluation):
                rows.append(_row(event))
            elif isinstance(event, SeedEnded):
                outcome = f"seed {seed} {event.outcome} at step {event.step}: {event.reason}"
    return [row for row in rows if row["kind"] == "test"] or rows, outcome


def _engine(run: "RunConfig", device: str, asked: str) -> "Engine":
    from ngpu_core.engines.choice import EngineName, choose

    if asked not in get_args(EngineName):
        raise typer.BadParameter(
            f"{asked} is none: one of {', '.join(get_args(EngineName))}", param_hint="--engine"
        )
    try:
        engine = choose(run, device=device, asked=cast("EngineName", asked))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--engine") from error
    message(f"engine {engine.name}")
    return engine


def _row(event: Any) -> Row:
    tested = not hasattr(event, "loss")
    return {
        "kind": "test" if tested else "training",
        "step": event.step,
        "task": event.task,
        "length": event.length,
        "sequences": event.sequences,
        "sequence_error": event.wrong_sequences / event.sequences if event.sequences else None,
        "symbol_error": event.wrong_symbols / event.symbols if event.symbols else None,
    }


@contextmanager
def _progress(max_steps: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=max_steps)

        def show(event: "Event") -> None:
            bar.update(task, completed=event.step, description=_description(event))

        yield show


def _description(event: "Event") -> str | None:
    loss = getattr(event, "loss", None)
    return None if loss is None else f"loss {loss:.3f} · length {getattr(event, 'length', 0)}"
