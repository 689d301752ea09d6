"""`ngpu trace`: one question's way through stored weights, as pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from service.commands.context import client_of, settings_of
from service.commands.probe import ConfigurationOption
from service.commands.sweeps import SweepArgument
from service.printing import message


def trace(
    context: typer.Context,
    sweep_id: SweepArgument,
    seed: Annotated[int, typer.Option(min=0, help="Which seed.")],
    folder: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Folder of the pictures.")
    ],
    length: Annotated[int, typer.Option(min=1, help="Symbols of the question.")] = 20,
    task: Annotated[
        str | None, typer.Option(help="The task; else the first evaluation task.")
    ] = None,
    question: Annotated[int, typer.Option(min=0, help="Which random question: 0, 1, …")] = 0,
    configuration: ConfigurationOption = None,
) -> None:
    """Write the states of one random question, a grey picture a map: a line a step, from the top.

    Each map is scaled to its own range. `trace.json` beside them says what was asked and written.
    """
    from ngpu_core.config import RunConfig
    from ngpu_core.evaluation.predictor import TrainedSeed
    from ngpu_core.evaluation.trace import trace as run
    from ngpu_core.evaluation.trace import write_pictures
    from ngpu_core.randomness import stream
    from ngpu_core.tasks.registry import task as look_up
    from service.weights import finished_seeds, of_one_configuration, require_able, weights

    with client_of(context) as client:
        [chosen] = of_one_configuration(
            finished_seeds(client, sweep_id, configuration=configuration, seeds=[seed])
        )
        state = weights(client, chosen, settings_of(context).checkpoints)
    config = RunConfig.from_mapping(state["config"])
    symbols = min(config.model.input_symbols, config.model.output_symbols)
    try:
        asked = look_up(task or config.evaluation_tasks[0])
        require_able(config, asked)
        generator = stream(seed, f"trace:{asked.name}:{length}", question)
        batch = asked.sample(generator, 1, length, symbols=symbols)
        found = run(TrainedSeed.of_checkpoint(state), batch)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    files = write_pictures(found, folder)
    answer = found.answer
    told = {
        "sweep": sweep_id,
        "configuration": chosen["configuration"],
        "seed": seed,
        "step": state["step"],
        "task": asked.name,
        "length": length,
        "question": asked.input_text(batch.inputs[0], length),
        "written": asked.target_text(answer.written[0], length),
        "right": asked.target_text(batch.targets[0], length),
        "wrong_symbols": int(answer.wrong.sum()),
        "steps": len(found.states) - 1,
        "maps": found.maps,
        "rows": found.rows,
        "pictures": [file.name for file in files],
    }
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (folder / "trace.json").write_text(text + "\n")
    message(f"{told['question']} = {told['written']} ({told['wrong_symbols']} symbols wrong)")
    message(f"{folder}: {len(files)} pictures of {len(found.states)} × {length}")
