"""The sizes of what an engine computes at once, and of a seed's parameters. Loads no torch."""

from dataclasses import dataclass
from math import prod

from ngpu_core.config import TASK_SLOTS, ModelConfig

#: Bytes of a value.
FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class Call:
    """The sizes of what an engine is asked to compute at once.

    Attributes:
        model: The network.
        seeds: Seeds in one call.
        sequences: Of each bin.
        bins: Columns and time steps of each bin.
        segment: Time steps between two kept states; None keeps everything.
        threads: Threads inside the call.
        calls: Calls for different seeds that run side by side.
        lengths: Lengths that batches have in the course of training.
        dropout: Whether states are dropped.
    """

    model: ModelConfig
    seeds: int
    sequences: int
    bins: tuple[tuple[int, int], ...]
    segment: int | None = None
    threads: int = 1
    calls: int = 1
    lengths: int = 1
    dropout: bool = True

    @property
    def column_values(self) -> int:
        """Values of one column of the state."""
        return self.seeds * self.sequences * self.model.height * self.model.filters

    @property
    def logits(self) -> int:
        """Bytes of the logits of all bins."""
        columns = sum(columns for columns, _ in self.bins)
        return FLOAT * self.seeds * self.sequences * columns * self.model.output_symbols


def parameter_shapes(model: ModelConfig) -> list[tuple[int, ...]]:
    """The shapes of one seed's parameters, as `initialize` makes them."""
    maps, output = model.filters, model.output_symbols
    if model.family == "diagonal_neural_gpu":
        recurrent: list[tuple[int, ...]] = [
            (2 * maps, maps, 3), (2 * maps,), (maps, maps, 3), (maps,)
        ]  # fmt: skip
        return [(model.input_symbols, maps), (maps,), *recurrent, (output, maps), (output,)]
    if model.family == "lstm_attention":
        return _lstm_attention_shapes(model)
    copies, inputs = model.weight_copies, maps + (TASK_SLOTS if model.task_id else 0)
    widths = (maps,) if model.unit == "resnet" else (2 * maps, maps)
    layer = [
        shape for width in widths for shape in ((copies, width, inputs, 3, 3), (copies, width))
    ]
    norm = [(copies, maps)] * 2 if model.batch_norm else []
    return [(model.input_symbols, maps), *layer * model.layers, *norm, (output, maps), (output,)]


def _lstm_attention_shapes(model: ModelConfig) -> list[tuple[int, ...]]:
    units, output = model.filters, model.output_symbols
    layer: list[tuple[int, ...]] = [(2 * units, 4 * units), (4 * units,)]
    attention = [(units, units), (units, units), (units,), (units, 1)]
    return [
        (model.input_symbols, units),
        (output, units),
        *layer * (2 * model.layers),
        (2 * units, units),
        (units,),
        *attention,
        (2 * units, output),
        (output,),
    ]


def parameter_values(model: ModelConfig) -> int:
    """Parameters of one seed."""
    return sum(prod(shape) for shape in parameter_shapes(model))


def largest_tensor(model: ModelConfig) -> int:
    """Values of one seed's largest parameter."""
    return max(prod(shape) for shape in parameter_shapes(model))


def row_columns(bins: tuple[tuple[int, int], ...]) -> int:
    """Columns of a row of bins, one between two, summed over the time steps that see them."""
    lengths = sorted((columns for columns, _ in bins), reverse=True)
    return sum(
        sum(running) + len(running) - 1
        for time in range(lengths[0])
        if (running := [length for length in lengths if length > time])
    )
