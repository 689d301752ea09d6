"""`ngpu probe` and `ngpu ensemble`: structured questions to stored weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands.context import client_of, settings_of
from service.commands.sweeps import SweepArgument
from service.printing import Output, OutputOption, message, print_rows

if TYPE_CHECKING:
    from ngpu_core.config import RunConfig
    from ngpu_core.evaluation.predictor import Predictor, TrainedSeed
    from ngpu_core.evaluation.probe import Probe
    from ngpu_core.events import ProbeResult
    from ngpu_core.tasks.task import Task

Row = dict[str, Any]

POINT_COLUMNS = (
    "configuration", "seed", "task", "probe", "label", "sequences", "wrong_sequences",
    "wrong_symbols", "first_wrong", "last_wrong",
)  # fmt: skip
ANSWER_COLUMNS = ("seed", "task", "probe", "label", "question", "written", "right", "first_wrong")
ENSEMBLE_COLUMNS = ("task", "probe", "label", "sequences", "wrong_sequences", "members")

ProbeOption = Annotated[
    list[str], typer.Option("--probe", metavar="NAME", help="Which probe; may be repeated.")
]
ConfigurationOption = Annotated[
    int | None, typer.Option(help="A configuration_id: only this configuration.")
]
TaskOption = Annotated[
    str | None, typer.Option(help="The task to ask; else every evaluation task the probe fits.")
]
SequencesOption = Annotated[
    int | None, typer.Option(min=1, help="Sequences of each length, of the probe `lengths`.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=7, help="Longest length, of the probe `lengths`.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]


def probes(output: OutputOption = Output.TABLE) -> None:
    """List the probes: what each asks, of which tasks, and what its points count."""
    from ngpu_core.evaluation.probes import PROBES

    rows = [
        {"probe": one.name, "tasks": one.asks, "points": one.unit, "questions": one.description}
        for one in PROBES.values()
    ]
    print_rows(rows, output)


def probe(
    context: typer.Context,
    sweep_id: SweepArgument,
    names: ProbeOption,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be repeated.")] = None,
    configuration: ConfigurationOption = None,
    task: TaskOption = None,
    sequences: SequencesOption = None,
    length_limit: LimitOption = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Every question answered wrongly, as people read it.")
    ] = False,
    device: DeviceOption = "cpu",
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask finished seeds a probe's questions, as their own sweep would have after training."""
    from service.weights import finished_seeds, weights

    settings = settings_of(context)
    rows: list[Row] = []
    with client_of(context) as client:
        chosen = finished_seeds(client, sweep_id, configuration=configuration, seeds=seed or ())
        for number, one in enumerate(chosen, start=1):
            state = weights(client, one, settings.checkpoints)
            config = _config(state, sequences, length_limit)
            who = {"configuration": one["configuration"], "seed": one["seed"]}
            trained = _trained(state, device)
            for asked, of in _pairs(names, task, config):
                name = f"seed {one['seed']} ({number} of {len(chosen)}): {asked.name}"
                if answers:
                    found = _wrong_answers(trained, asked, of, config, one["seed"])
                    rows += [{**who, **row} for row in found]
                else:
                    results = _ask(trained, asked, of, config, state, name)
                    message(f"{name} on {of.name}: {_in_short(results)}")
                    rows += [{**who, **_row(result)} for result in results]
    print_rows(rows, output, columns=ANSWER_COLUMNS if answers else POINT_COLUMNS)


def ensemble(
    context: typer.Context,
    sweep_id: SweepArgument,
    names: ProbeOption,
    seeds: Annotated[str, typer.Option(help="Which seeds, such as 0-4 or 0,2,7.")],
    configuration: ConfigurationOption = None,
    task: TaskOption = None,
    sequences: SequencesOption = None,
    length_limit: LimitOption = None,
    device: DeviceOption = "cpu",
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask finished seeds of one configuration together: the mean of their probabilities."""
    from ngpu_core.evaluation.predictor import Ensemble
    from service.weights import finished_seeds, of_one_configuration, weights

    settings = settings_of(context)
    with client_of(context) as client:
        wanted = parse_seeds(seeds)
        chosen = of_one_configuration(
            finished_seeds(client, sweep_id, configuration=configuration, seeds=wanted)
        )
        states = [weights(client, one, settings.checkpoints) for one in chosen]
    members = [_trained(state, device) for state in states]
    config, first = _config(states[0], sequences, length_limit), states[0]
    rows: list[Row] = []
    for asked, of in _pairs(names, task, config):
        # All are asked what the first of them would be asked.
        alone = [
            _ask(member, asked, of, config, first, f"seed {state['seed']}: {asked.name}")
            for member, state in zip(members, states, strict=True)
        ]
        together = _ask(Ensemble(members), asked, of, config, first, f"ensemble: {asked.name}")
        for state, results in zip(states, alone, strict=True):
            message(f"seed {state['seed']}: {asked.name} on {of.name}: {_in_short(results)}")
        message(f"ensemble of {len(members)}: {asked.name} on {of.name}: {_in_short(together)}")
        for result, *each in zip(together, *alone, strict=True):
            wrong = {
                str(state["seed"]): one.wrong_sequences
                for state, one in zip(states, each, strict=True)
            }
            rows.append({**_row(result), "members": wrong})
    print_rows(rows, output, columns=ENSEMBLE_COLUMNS)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0-4,7` as the seeds 0, 1, 2, 3, 4, 7.

    Raises:
        BadParameter: It is not such a list.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
            raise typer.BadParameter(f"{text!r} is not a list such as 0-4,7", param_hint="--seeds")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def _trained(state: dict[str, Any], device: str) -> "TrainedSeed":
    import os

    import torch

    from ngpu_core.engines.choice import torch_threads
    from ngpu_core.evaluation.predictor import TrainedSeed

    threads = len(os.sched_getaffinity(0))
    trained = TrainedSeed.of_checkpoint(state, device=device, threads=threads)
    torch.set_num_threads(torch_threads(trained.engine, threads))
    return trained


def _config(state: dict[str, Any], sequences: int | None, limit: int | None) -> "RunConfig":
    from ngpu_core.config import RunConfig

    config = RunConfig.from_mapping(state["config"])
    evaluation = config.evaluation
    return replace(
        config,
        evaluation=replace(
            evaluation,
            length_sequences=sequences or evaluation.length_sequences,
            length_limit=limit or evaluation.length_limit,
        ),
    )


def _pairs(
    names: list[str], task_name: str | None, config: "RunConfig"
) -> Iterator[tuple["Probe", "Task"]]:
    """What to ask: each probe with the task named, else with each evaluation task it fits."""
    from ngpu_core.evaluation.probe import UnfitProbe
    from ngpu_core.evaluation.probes import probe as look_up
    from ngpu_core.tasks.registry import task
    from service.weights import require_able

    try:
        for name in names:
            found, tasks = look_up(name), [task(each) for each in config.evaluation_tasks]
            if task_name is not None:
                tasks = [task(task_name)]
                found.require(tasks[0])
            fitting = [each for each in tasks if found.fits(each)]
            if not fitting:
                raise UnfitProbe(name, tasks[0].name, found.asks)
            for one in fitting:
                require_able(config, one)
                yield found, one
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--probe") from error


def _ask(
    predictor: "Predictor",
    asked: "Probe",
    of: "Task",
    config: "RunConfig",
    state: dict[str, Any],
    name: str,
) -> list["ProbeResult"]:
    """Every point's result, with a bar meanwhile."""
    from ngpu_core.evaluation.probing import ask

    results: list[ProbeResult] = []
    with _progress(name, len(asked.points(of, config))) as show:
        for result in ask(predictor, asked, of, config, state["seed"], state["step"]):
            if result is not None:
                results.append(result)
                show(len(results))
    return results


def _row(result: "ProbeResult") -> Row:
    row = {key: value for key, value in asdict(result).items() if key != "seed"}
    return {**row, "sequence_error": result.wrong_sequences / result.sequences}


def _in_short(results: list["ProbeResult"]) -> str:
    wrong = sum(result.wrong_sequences for result in results)
    asked = sum(result.sequences for result in results)
    points = sum(result.wrong_sequences > 0 for result in results)
    return f"{wrong} of {asked} sequences wrong, at {points} of {len(results)} points"


def _wrong_answers(
    predictor: "Predictor", asked: "Probe", of: "Task", config: "RunConfig", seed: int
) -> Iterator[Row]:
    import numpy as np

    from ngpu_core.evaluation.probing import ask_points

    for point, part in ask_points(predictor, asked, of, config, seed):
        length = part.written.shape[1]
        for place in np.flatnonzero(part.wrong.any(axis=1)):
            columns = np.flatnonzero(part.wrong[place])
            yield {
                "task": of.name,
                "probe": asked.name,
                "point": point.number,
                "label": point.label,
                "question": of.input_text(part.questions.inputs[place], length),
                "written": of.target_text(part.written[place], length),
                "right": of.target_text(part.questions.targets[place], length),
                "wrong_symbols": len(columns),
                "first_wrong": int(columns[0]),
                "last_wrong": int(columns[-1]),
            }


@contextmanager
def _progress(name: str, points: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=points)
        yield lambda done: bar.update(task, completed=done)
