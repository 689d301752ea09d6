"""What training costs, by counting: floating-point operations of a step, from the configuration.

Only the convolutions of the recurrence are counted, each k·m² multiply-adds a cell (k taps, m maps)
and 2 operations a multiply-add; the embedding, the output layer and the element-wise parts are
left out (under 2 % of the operations from 24 maps on). Of the LSTM with attention the products of
its layers and of its attention are counted. A backward pass costs two forward ones.
"""

from ngpu_core.config import TASK_SLOTS, ModelConfig, RunConfig

#: Convolutions of a gated unit: reset, update, candidate.
_CONVOLUTIONS = 3
#: Forward and backward, in forward passes.
_TRAINING = 3
#: Lengths looked at, at most, when averaging over a curriculum.
_LENGTHS = 1000


def forward_flop(model: ModelConfig, *, sequences: int, length: int, padded: int) -> float:
    """Operations of one forward pass.

    Args:
        model: The network.
        sequences: How many run at once.
        length: Their length, in symbols, on which the time steps depend.
        padded: Columns of the state, at least `length`.
    """
    maps = model.filters
    if model.family == "lstm_attention":
        position = 2 * model.layers * 8 * maps**2 + 4 * maps**2 + 2 * maps * length
        return float(2 * sequences * length * position)
    if model.family == "diagonal_neural_gpu":
        taps, convolutions, inputs, rows = 3, _CONVOLUTIONS, maps, 1
    else:
        unit = 1 if model.unit == "resnet" else _CONVOLUTIONS
        taps, convolutions, rows = 9, unit * model.layers, model.height
        inputs = maps + (TASK_SLOTS if model.task_id else 0)
    steps = model.time_steps(length, padded)
    cells = sequences * rows * padded
    return float(2 * taps * inputs * maps * convolutions * cells * steps)


def training_flop(run: RunConfig) -> float:
    """Operations of one training step of one seed, with the curriculum at full length.

    `curriculum`: the mean over the lengths drawn then; earlier steps are shorter and cheaper.
    `all_bins`: exact, each step takes every bin.
    """
    training = run.training
    if training.schedule == "all_bins":
        shares = [(1.0, size, size) for size in training.bins]
    else:
        shares = [
            (share, length, training.padded_length(length))
            for length, share in _length_shares(training.min_length, training.max_length)
        ]
    return _TRAINING * sum(
        share * forward_flop(run.model, sequences=training.batch_size, length=length, padded=padded)
        for share, length, padded in shares
    )


def time_steps(run: RunConfig) -> float:
    """Time steps of the recurrence in one training step, with the curriculum at full length."""
    training, model = run.training, run.model
    if training.schedule == "all_bins":
        return float(training.bins[-1])
    lengths = _length_shares(training.min_length, training.max_length)
    applied = model.layers * (2 if model.family == "lstm_attention" else 1)
    return applied * sum(
        share * model.time_steps(length, training.padded_length(length))
        for length, share in lengths
    )


def evaluation_flop(run: RunConfig) -> float:
    """Operations of one test of one seed, on every task and length; carry tests are not counted.

    With short tests: as if every length of training were one of each task.
    """
    training, evaluation = run.training, run.evaluation
    tests = [(length, evaluation.sequences) for length in evaluation.lengths]
    if evaluation.short_sequences:
        lengths = range(training.min_length, training.max_length + 1)
        tests += [(length, evaluation.short_sequences) for length in lengths]
    return len(run.evaluation_tasks) * sum(
        forward_flop(run.model, sequences=sequences, length=length, padded=length)
        for length, sequences in tests
    )


def seed_step_flop(run: RunConfig) -> float:
    """Operations of one step of one seed, its share of the tests included."""
    tests = -(-run.training.max_steps // run.evaluation.every)
    return training_flop(run) + evaluation_flop(run) * tests / run.training.max_steps


def _length_shares(low: int, high: int) -> list[tuple[int, float]]:
    """How often each length is drawn at full curriculum length (SPECS B.3), with its share.

    A uniform draw; with probability 0.60 the longer of it and a second one; with 0.25 the longer
    of that and a third. Very many lengths are taken in groups, by their longest.
    """
    count = high - low + 1
    group = -(-count // _LENGTHS)
    shares = []
    before = 0.0
    for last in [*range(low + group - 1, high, group), high]:
        uniform = (last - low + 1) / count
        until = uniform * (0.40 + 0.60 * uniform) * (0.75 + 0.25 * uniform)
        shares.append((last, until - before))
        before = until
    return shares
