"""What training a pack needs in memory, by counting, and how to train it in the memory there is.

    predict_memory(config, 16, engine="native")                   -> bytes at the peak
    plan_memory(config, 16, free_bytes, engine="native").segment  -> how much to keep

Counted above a process that has loaded everything and trained nothing: parameters, optimizer
slots and examples, and the largest of what a training step, a test and a checkpoint need while
they last. What each engine holds is written in `engine_memory.py`. Loads no torch: the web process
plans packs with it.
"""

from dataclasses import dataclass
from math import isqrt

from ngpu_core.call_sizes import FLOAT, Call, parameter_values
from ngpu_core.config import RunConfig
from ngpu_core.engine_memory import ENGINES, EngineMemory
from ngpu_core.evaluation.probes import asked_shapes
from ngpu_core.tasks.registry import Task, task, valid_lengths

#: Values an optimizer keeps a parameter.
SLOTS = 2
#: Bytes of a symbol as it is drawn, and as a network takes it.
DRAWN, TAKEN = 2, 8
#: Steps whose batches are held: the one in training and those drawn ahead.
STEPS_HELD = 3
#: State values a test holds at once; bounds memory at long lengths.
STATE_BUDGET = 4_000_000
#: What the interpreter, threads and the allocator's rounding add.
OVERHEAD = 2**20


class DoesNotFit(ValueError):
    """No way of training fits."""

    def __init__(self, seeds: int, needed: int, free: int) -> None:
        super().__init__(seeds, needed, free)
        self.needed = needed
        self.free = free

    def __str__(self) -> str:
        seeds = self.args[0]
        what = "one seed" if seeds == 1 else f"{seeds} seeds at once"
        return (
            f"training {what} needs {in_units(self.needed)} ({self.needed} bytes) even when as "
            f"little as possible is kept; {in_units(self.free)} ({self.free} bytes) are free"
        )


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """How a pack is trained in the memory there is.

    Attributes:
        seeds: In the pack.
        segment: Time steps between two kept states: None keeps everything, 1 keeps states and
            computes gates again, more keeps fewer states.
        predicted_bytes: At the peak.
        free_bytes: What it was planned for.
    """

    seeds: int
    segment: int | None
    predicted_bytes: int
    free_bytes: int


def predict_memory(
    config: RunConfig,
    seeds: int,
    *,
    engine: str = "native",
    threads: int = 1,
    segment: int | None = None,
) -> int:
    """Bytes that training a pack takes at its peak, above a process that has loaded everything.

    At most: with the curriculum at its longest, and seeds that are computed at once all there.

    Args:
        config: What is trained.
        seeds: Seeds of the pack.
        engine: Name of the engine, a key of `ENGINES`.
        threads: Processor threads it may use.
        segment: Time steps between two kept states; None keeps everything.

    Raises:
        ValueError: `seeds` is below 1 or there is no such engine.
    """
    if seeds < 1 or engine not in ENGINES:
        raise ValueError(f"{seeds} seeds with engine {engine!r}: at least 1, one of {[*ENGINES]}")
    holds = ENGINES[engine]
    row = FLOAT * parameter_values(config.model)
    at_once = seeds if holds.seeds_at_once else min(seeds, threads) if holds.side_by_side else 1
    training = holds.training(_training_call(config, holds, seeds, threads, segment))
    testing = max(holds.testing(call) for call in _testing_calls(config, threads))
    gradients = at_once * holds.gradient_rows * row
    update = gradients + at_once * holds.update_rows * row
    checkpoint = (1 + SLOTS) * row
    if holds.keeps(config.model):
        passing = max(training, testing) + max(update, checkpoint)
    else:
        passing = max(training + gradients, update, testing, checkpoint)
    return seeds * (1 + SLOTS) * row + seeds * _data(config) + passing + OVERHEAD


def plan_memory(
    config: RunConfig, seeds: int, free_bytes: int, *, engine: str, threads: int = 1
) -> MemoryPlan:
    """The least computed twice that fits: keep everything, else every state, else some states.

    Args:
        config: What is trained.
        seeds: Seeds of the pack.
        free_bytes: What it may take.
        engine: Name of the engine.
        threads: Processor threads it may use.

    Raises:
        DoesNotFit: Nothing fits; names the bytes needed.
    """
    least = None
    for segment in _segments(config):
        needed = predict_memory(config, seeds, engine=engine, threads=threads, segment=segment)
        if needed <= free_bytes:
            return MemoryPlan(
                seeds=seeds, segment=segment, predicted_bytes=needed, free_bytes=free_bytes
            )
        least = needed if least is None else min(least, needed)
    assert least is not None
    raise DoesNotFit(seeds, least, free_bytes)


def largest_pack(
    config: RunConfig, most: int, free_bytes: int, *, engine: str, threads: int = 1
) -> MemoryPlan:
    """The plan of the largest pack of at most `most` seeds that fits.

    Raises:
        DoesNotFit: Not even one seed does.
    """
    try:
        return plan_memory(config, most, free_bytes, engine=engine, threads=threads)
    except DoesNotFit:
        if most == 1:
            raise
    fitting, too_many = plan_memory(config, 1, free_bytes, engine=engine, threads=threads), most
    while too_many - fitting.seeds > 1:
        middle = (fitting.seeds + too_many) // 2
        try:
            fitting = plan_memory(config, middle, free_bytes, engine=engine, threads=threads)
        except DoesNotFit:
            too_many = middle
    return fitting


def in_units(count: int) -> str:
    """A number of bytes for people: `3.2 GiB`."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.4g} {units[0]}"


def _segments(config: RunConfig) -> list[int | None]:
    """Everything, every state, and then fewer states up to the square root of the time steps."""
    steps = max(times for _, times in _training_bins(config))
    return [None, *range(1, max(2, isqrt(steps)) + 1)]


def _training_bins(config: RunConfig) -> tuple[tuple[int, int], ...]:
    """Columns and time steps of each bin of the longest training step."""
    training, model = config.training, config.model
    if training.schedule == "all_bins":
        if model.family != "neural_gpu":
            return tuple((size, size) for size in training.bins)
        chosen = task(training.tasks[0])
        sizes = [(size, _longest(chosen, size), size) for size in training.bins]
    else:
        longest = max(_longest(chosen, training.max_length) for chosen in _trained(config))
        padded = training.padded_length(longest)
        sizes = [(model.columns(longest, padded), longest, padded)]
    return tuple((width, model.time_steps(length, padded)) for width, length, padded in sizes)


def _lengths(config: RunConfig) -> int:
    """How many shapes the batches have; tasks of different rows share none."""
    training = config.training
    if training.schedule == "all_bins":
        return 1
    shapes = {
        (chosen.rows, length)
        for chosen in _trained(config)
        for length in valid_lengths(chosen, training.min_length, training.max_length)
    }
    return max(1, len(shapes))


def _trained(config: RunConfig) -> list[Task]:
    return [task(name) for name in config.training.trained_tasks]


def _longest(chosen: Task, limit: int) -> int:
    return (valid_lengths(chosen, 1, limit) or [limit])[-1]


def _training_call(
    config: RunConfig, holds: EngineMemory, seeds: int, threads: int, segment: int | None
) -> Call:
    return Call(
        model=config.model,
        seeds=seeds if holds.seeds_at_once else 1,
        sequences=config.training.batch_size,
        bins=_training_bins(config),
        segment=segment,
        threads=max(1, threads // seeds),
        calls=min(seeds, threads) if holds.side_by_side else 1,
        lengths=_lengths(config),
        dropout=config.training.dropout > 0 and config.model.dropped != "none",
    )


def _testing_calls(config: RunConfig, threads: int) -> list[Call]:
    """Every length tested or probed, in the sub-batches that is cut into; a seed at a time."""
    evaluation, model = config.evaluation, config.model
    lengths = [(length, evaluation.sequences) for length in evaluation.lengths]
    if evaluation.short_sequences:
        lengths.append((config.training.max_length, evaluation.short_sequences))
    lengths += asked_shapes(config)
    return [
        Call(
            model=model,
            seeds=1,
            sequences=min(
                sequences, max(1, STATE_BUDGET // (model.filters * model.height * length))
            ),
            bins=((length, model.time_steps(length, length)),),
            threads=threads,
        )
        for length, sequences in lengths
    ]


def _data(config: RunConfig) -> int:
    """Bytes of one seed's examples and batches."""
    training = config.training
    rows = max(chosen.rows for chosen in _trained(config))
    columns = sum(columns for columns, _ in _training_bins(config))
    symbols = training.batch_size * columns * (rows + 1)
    return symbols * (TAKEN + STEPS_HELD * DRAWN) + pool_bytes(config)


def pool_bytes(config: RunConfig) -> int:
    """Bytes of the examples one seed draws once: of every task and length in use, at most."""
    if not config.training.examples_per_length:
        return 0
    return sum(_pool_bytes(config, chosen) for chosen in _trained(config))


def _pool_bytes(config: RunConfig, chosen: Task) -> int:
    training = config.training
    if training.schedule == "all_bins":
        lengths = {_longest(chosen, size) for size in training.bins}
        if training.shorter_share > 0:
            lengths = set(valid_lengths(chosen, 1, max(lengths)))
    else:
        lengths = set(valid_lengths(chosen, training.min_length, training.max_length))
    symbols = min(config.model.input_symbols, config.model.output_symbols)
    choices = chosen.base or symbols - 1
    return sum(
        DRAWN * length * (chosen.rows + 1) * min(training.examples_per_length, choices**length)
        for length in lengths
    )
