"""Whether a network, its training and its tests fit the tasks they name."""

from collections.abc import Iterator

from ngpu_core.config import FAMILY_DEFAULTS, TASK_SLOTS, RunConfig
from ngpu_core.evaluation.probe import UnfitProbe
from ngpu_core.evaluation.probes import PROBES, UnknownProbe
from ngpu_core.tasks.registry import TASKS, Task
from sweeps.grid import Conflict
from sweeps.keys import key_table

_DIAGONAL = ("model.soft_nonlinearities", "model.diagonal_gates")
_NEURAL_GPU = (
    "model.height",
    "model.weight_copies",
    "model.extra_steps",
    "model.gate_cutoff",
    "model.tanh_cutoff",
    "model.unit",
    "model.batch_norm",
    "model.layer_scale",
    "model.output_layer",
    "model.task_id",
)
#: Keys without an effect in a family: setting one would promise a difference that is not there.
_WITHOUT_EFFECT = {
    "neural_gpu": (*_DIAGONAL, "training.saturation"),
    "diagonal_neural_gpu": ("model.layers", *_NEURAL_GPU),
    "lstm_attention": (*_DIAGONAL, *_NEURAL_GPU, "training.saturation"),
}


def conflicts(run: RunConfig) -> Iterator[Conflict]:
    """Everything about a run's tasks that cannot work. Tasks that do not exist are passed over."""
    tested = "evaluation.tasks" if run.evaluation.tasks else "training.tasks"
    named = [(name, "training.tasks") for name in run.training.tasks]
    named += [(name, "evaluation.tasks") for name in run.evaluation.tasks]
    for name, key in named:
        if name in TASKS:
            yield from alphabet_and_rows(run, TASKS[name], key)
    for name in run.evaluation_tasks:
        if name in TASKS:
            yield from _test_lengths(run, TASKS[name], tested)
    for name in run.training.trained_tasks:
        if name in TASKS:
            yield from _training_lengths(run, TASKS[name])
    yield from _short_tests(run)
    yield from _carries(run, tested)
    yield from _probes(run, tested)
    yield from _task_slots(run)
    yield from _without_effect(run)
    yield from _without_effect_together(run)


def alphabet_and_rows(run: RunConfig, task: Task, key: str) -> Iterator[Conflict]:
    """What the network lacks to read and write a task; `key` named it."""
    needs = {
        "input_symbols": task.input_symbols,
        "output_symbols": task.output_symbols,
        "height": task.rows,
    }
    for field, needed in needs.items():
        one_row = field == "height" and run.model.family != "neural_gpu"
        has = 1 if one_row else getattr(run.model, field)
        if has < needed:
            yield Conflict(
                keys=(f"model.{field}", key, "model.family"),
                message=f"{field} is {has}: task {task.name} needs at least {needed}",
            )


def _test_lengths(run: RunConfig, task: Task, key: str) -> Iterator[Conflict]:
    for length in run.evaluation.lengths:
        if not task.valid(length):
            try:
                task.require_length(length)
            except ValueError as error:
                yield Conflict(keys=("evaluation.lengths", key), message=str(error))


def _training_lengths(run: RunConfig, task: Task) -> Iterator[Conflict]:
    training = run.training
    if training.schedule == "all_bins":
        if training.bins[0] < task.shortest:
            yield Conflict(
                keys=("training.bins", "training.tasks"),
                message=f"bin {training.bins[0]} is too short for task {task.name}: "
                f"its shortest length is {task.shortest}",
            )
    elif not _any_valid(task, training.min_length, training.max_length):
        yield Conflict(
            keys=("training.max_length", "training.min_length", "training.tasks"),
            message=f"task {task.name} has no length in "
            f"{training.min_length}..{training.max_length}: its shortest is {task.shortest}",
        )


def _short_tests(run: RunConfig) -> Iterator[Conflict]:
    training, evaluation = run.training, run.evaluation
    if not evaluation.short_sequences:
        return
    has = f"short_sequences is {evaluation.short_sequences}"
    if training.schedule == "all_bins":
        yield Conflict(
            keys=("evaluation.short_sequences", "training.schedule"),
            message=f"{has}: all_bins has no lengths from min_length to max_length; must be 0",
        )
    shared = [n for n in evaluation.lengths if training.min_length <= n <= training.max_length]
    if shared:
        yield Conflict(
            keys=("evaluation.lengths", "evaluation.short_sequences"),
            message=f"{has}: length {shared[0]} is in {training.min_length}.."
            f"{training.max_length} and has a short test; name longer lengths only",
        )


def _any_valid(task: Task, low: int, high: int) -> bool:
    first = max(low, task.shortest)
    return any(map(task.valid, range(first, min(high, first + 64) + 1)))


def _carries(run: RunConfig, key: str) -> Iterator[Conflict]:
    names = run.evaluation_tasks
    limit = run.evaluation.carry_limit
    if limit and not any(name in TASKS and TASKS[name].operation == "+" for name in names):
        yield Conflict(
            keys=("evaluation.carry_limit", key),
            message=f"carry_limit is {limit}: only additions carry, and {', '.join(names)} "
            "are none; must be 0",
        )


def _probes(run: RunConfig, key: str) -> Iterator[Conflict]:
    tasks = [TASKS[name] for name in run.evaluation_tasks if name in TASKS]
    for name in run.evaluation.probes:
        if name not in PROBES:
            yield Conflict(keys=("evaluation.probes",), message=str(UnknownProbe(name)))
        elif tasks and not any(PROBES[name].fits(task) for task in tasks):
            refused = UnfitProbe(name, tasks[0].name, PROBES[name].asks)
            yield Conflict(keys=("evaluation.probes", key), message=str(refused))


def _task_slots(run: RunConfig) -> Iterator[Conflict]:
    tasks = run.named_tasks
    if run.model.task_id and len(tasks) > TASK_SLOTS:
        yield Conflict(
            keys=("model.task_id", "training.tasks", "evaluation.tasks"),
            message=f"task_id is true: it tells {TASK_SLOTS} tasks apart, {len(tasks)} are named",
        )


def _without_effect_together(run: RunConfig) -> Iterator[Conflict]:
    model, defaults = run.model, RunConfig().model
    if model.unit == "resnet":
        for field in ("gate_cutoff", "tanh_cutoff"):
            value, fixed = getattr(model, field), getattr(defaults, field)
            if value != fixed:
                yield Conflict(
                    keys=(f"model.{field}", "model.unit"),
                    message=f"{field} is {value}: a resnet has no gates, leave it at {fixed}",
                )
    if model.soft_nonlinearities and run.training.saturation:
        yield Conflict(
            keys=("training.saturation", "model.soft_nonlinearities"),
            message=f"saturation is {run.training.saturation}: soft nonlinearities cut nothing "
            "off, so it must be 0",
        )


def _without_effect(run: RunConfig) -> Iterator[Conflict]:
    family = run.model.family
    for name in _WITHOUT_EFFECT[family]:
        key = key_table()[name]
        fixed = FAMILY_DEFAULTS[family].get(name, key.default)
        value = getattr(getattr(run, key.section), key.field)
        if value != fixed:
            yield Conflict(
                keys=(name, "model.family"),
                message=f"{key.field} is {value}: without effect in {family}, leave it at {fixed}",
            )
