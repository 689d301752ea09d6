"""What each engine holds while it computes: the formulas of the memory plan, all in one place.

An array of the state has sequences · columns · height · filters values a seed. Each engine keeps a
few such arrays a layer and time step for its backward pass; how many is counted where the engine
lays them out itself, and measured where torch's autograd decides (`tape_memory.py`). Standard
library only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from ngpu_core.call_sizes import FLOAT, Call, parameter_values, row_columns
from ngpu_core.config import ModelConfig
from ngpu_core.tape_memory import IN_BLOCKS, LIVE


@dataclass(frozen=True, kw_only=True)
class EngineMemory:
    """How an engine is called and what it holds.

    Attributes:
        seeds_at_once: Whether a call computes all seeds, or one.
        side_by_side: Whether calls for several seeds run at once, a thread each.
        training: Bytes held in the course of training calls, beside parameters and gradients.
        testing: The same of one forward pass without gradients.
        keeps: Whether it holds that memory between calls for a network.
        gradient_rows: How often the gradients are held: 2 where they are gathered from parts.
        update_rows: Rows of a seed's parameters that an update holds beside its gradient.
    """

    seeds_at_once: bool
    side_by_side: bool
    training: Callable[[Call], int]
    testing: Callable[[Call], int]
    keeps: Callable[[ModelConfig], bool] = lambda model: False
    gradient_rows: int = 2
    update_rows: int = 2


# native: as in native/*.h, counted for vectors of 16 lanes; narrower ones fill up less.
_LANES, _INPUTS = 16, 8
#: Parts of a batch with gradients of their own. Fixed, so that results never depend on threads.
CHUNKS = 2
#: Tiles of 4 columns (and rows) that a thread takes through a convolution at a time, at most.
TILES = {"neural_gpu": 48, "diagonal_neural_gpu": 192}
#: Bytes of kept state that a thread works on at most, unless two sequences need more.
WORKING_SET = 2**27
#: Bytes of one seed's parameters from which working memory is given back after every step.
LARGE = 2**26
#: Vectors of outputs that a convolution computes at a time.
_BLOCK = 3
#: Values at the points up to which a kernel is taken there as a whole.
_SMALL_KERNEL = 2**17
_LARGE_PAGE = 2**21
#: Arrays of a row beside the kept ones, in training.
_NATIVE_WORK = 5


def _native_tiles(model: ModelConfig, columns: int) -> int:
    """Tiles of one sequence."""
    return ceil(columns / 4) * (ceil(model.height / 4) if model.family == "neural_gpu" else 1)


def sequences_together(model: ModelConfig, sequences: int, columns: int) -> int:
    """How many sequences a thread of the native engine takes through the recurrence at a time.

    As many as fill the tiles of a convolution, in whole vectors. A function of sizes alone: the
    order of sums, and so a seed's last bits, depend on it.
    """
    interleaved, _ = _native_filled(model)
    kept = 4 * FLOAT * model.filters * model.height * model.layers * columns**2
    per_chunk = ceil(sequences / CHUNKS)
    wanted = TILES[model.family] // _native_tiles(model, columns) * interleaved
    return max(1, min(max(2, min(wanted, WORKING_SET // kept) // 2 * 2), per_chunk))


def _native_filled(model: ModelConfig) -> tuple[int, int]:
    """Sequences a vector, and maps filled up to whole vectors."""
    interleaved = 1 if model.filters % _LANES == 0 else 2
    step = max(_LANES // interleaved, _INPUTS)
    return interleaved, ceil(model.filters / step) * step


def _native_kernels(model: ModelConfig) -> int:
    """Bytes of all kernels in the engine's order."""
    _, filled = _native_filled(model)
    taps = 9 if model.family == "neural_gpu" else 3
    parts = model.weight_copies * model.layers if model.family == "neural_gpu" else 1
    return FLOAT * parts * taps * 3 * filled**2


def _native_run(call: Call, width: int, times: int, *, training: bool) -> int:
    """Bytes one thread holds for the sequences it takes at a time."""
    interleaved, filled = _native_filled(call.model)
    segment = call.segment if training else 1
    together = sequences_together(call.model, call.sequences, width)
    units = ceil(min(together, ceil(call.sequences / CHUNKS)) / interleaved)
    cells = (units * (width + 1) + 1) * call.model.height
    kept = min(segment or times, times)
    arrays = 4 * kept * call.model.layers + 2
    if training:
        arrays += (times - 1) // kept + _NATIVE_WORK
    tiles = min(TILES[call.model.family], units * _native_tiles(call.model, width))
    return FLOAT * (
        cells * filled * interleaved * arrays + _native_workspace(call.model, tiles, training)
    )


def _native_workspace(model: ModelConfig, tiles: int, training: bool) -> int:
    """Values at the points of convolutions: tiles, a block of their products, a kernel or a block.

    The kernels are (inputs, vectors of outputs): the gates', the candidate's, and backwards.
    """
    interleaved, filled = _native_filled(model)
    points = 36 if model.family == "neural_gpu" else 6
    vectors = filled * interleaved // _LANES
    shapes = [(filled, 2 * vectors), (filled, vectors), (2 * filled, vectors)][: 2 + training]
    kernels = []
    for inputs, outputs in shapes:
        block = points * (inputs * _BLOCK // interleaved + 1) * _LANES
        whole = ceil(outputs / _BLOCK) * block
        kernels.append(whole if whole <= _SMALL_KERNEL else block)
    widest = shapes[-1][0] * interleaved
    return points * tiles * (widest + _BLOCK * _LANES) + max(kernels)


def _in_pages(size: int) -> int:
    """Bytes of a block: large ones take large pages."""
    return size if size < 2 * _LARGE_PAGE else ceil(size / _LARGE_PAGE) * _LARGE_PAGE


def _native_blocks(call: Call, *, training: bool) -> int:
    """Bytes of the blocks in use: packed kernels, gradients of each part of the batch, runs."""
    kernels = _native_kernels(call.model)
    run = max(_native_run(call, width, times, training=training) for width, times in call.bins)
    runs = min(call.threads, CHUNKS) * _in_pages(run)
    if not training:
        return _in_pages(kernels) + runs
    return call.calls * (_in_pages(2 * kernels) + CHUNKS * _in_pages(kernels) + runs)


def _native_keeps(model: ModelConfig) -> bool:
    return FLOAT * parameter_values(model) <= LARGE


def _native_training(call: Call) -> int:
    return _native_blocks(call, training=True) + call.logits


def _native_testing(call: Call) -> int:
    return _native_blocks(call, training=False) + 2 * call.logits


# torch and cuda: as in recurrence*.py. A tape holds state, gates (two) and candidate of a layer.
# What cuda holds beside tapes was counted by torch's profiler on tensors of a CPU.
_LAYER_TAPE = 4
#: Arrays of the state held beside the tapes: on the way back, and in a pass without tapes.
_TORCH_WORK, _TORCH_PASS = 14, 10
#: Bytes glibc's allocator holds for each byte that torch uses of such arrays, when everything is
#: kept and when it is not (measured).
_TORCH_HOLES = {"neural_gpu": (1.45, 1.6), "diagonal_neural_gpu": (1.2, 2.0)}
_CUDA_WORK = {"neural_gpu": 11, "diagonal_neural_gpu": 9}
_CUDA_PASS = {"neural_gpu": 26, "diagonal_neural_gpu": 16}
#: Maps a product on a GPU is at least to have; so many rows are computed together.
_WIDE = 96
#: Steps recorded at most, and numbers of seeds that are common at one length.
_RECORDINGS, _SIZES = 128, 4


def _tapes(call: Call, more: int = 0) -> int:
    """Bytes kept on the way forward, and for the segment that is being gone back through.

    Args:
        call: What is computed.
        more: Arrays of the state that a time step keeps beside those of its layers.
    """
    model = call.model
    if model.family == "diagonal_neural_gpu":
        arrays = _LAYER_TAPE + (1 if call.dropout else 0)
        runs = [(row_columns(call.bins), _row_width(call), max(times for _, times in call.bins))]
    else:
        arrays = _LAYER_TAPE * model.layers + more
        runs = [(width * times, width, times) for width, times in call.bins]
    most = 0
    for columns, width, times in runs:
        segment = min(call.segment or times, times)
        kept = (
            columns * arrays if segment == times else columns // segment + width * arrays * segment
        )
        most = max(most, kept)
    return most * call.column_values * FLOAT


def _row_width(call: Call) -> int:
    """Columns of all bins side by side, one between two."""
    return sum(width for width, _ in call.bins) + len(call.bins) - 1


def _widest(call: Call) -> int:
    """Bytes of one array of the state."""
    diagonal = call.model.family == "diagonal_neural_gpu"
    width = _row_width(call) if diagonal else max(width for width, _ in call.bins)
    return width * call.column_values * FLOAT


def _torch_training(call: Call) -> int:
    kernels = FLOAT * parameter_values(call.model)
    arrays = _tapes(call) + _TORCH_WORK * _widest(call)
    holes = _TORCH_HOLES[call.model.family][call.segment is not None]
    return int(holes * arrays) + 2 * kernels + 2 * call.logits


def _torch_testing(call: Call) -> int:
    return _TORCH_PASS * _widest(call) + 2 * call.logits


def _bands(call: Call) -> int:
    """Bytes of the banded matrices of all convolutions: two, and their gradient."""
    model = call.model
    kernels = FLOAT * call.seeds * parameter_values(model)
    if model.family == "diagonal_neural_gpu":
        return 3 * kernels
    together = min(model.height, max(1, _WIDE // model.filters))
    return int(3 * kernels * together * (together + 2) / 3)


def recorded_bytes(call: Call) -> int:
    """Bytes of parameters and gradients that recorded steps have of their own.

    Seeds draw their lengths by themselves; so a length is recorded for a few numbers of seeds.
    """
    together = max(1.0, call.seeds / call.lengths)
    recordings = min(_RECORDINGS, call.lengths * min(_SIZES, call.seeds))
    return int(2 * FLOAT * parameter_values(call.model) * together * recordings)


def _cuda_training(call: Call) -> int:
    # One more a time step: the state before it, since which sequences are done is not looked at.
    arrays = _tapes(call, more=1) + _CUDA_WORK[call.model.family] * _widest(call)
    return arrays + _bands(call) + recorded_bytes(call) + 2 * call.logits


def _cuda_testing(call: Call) -> int:
    return _CUDA_PASS[call.model.family] * _widest(call) + _bands(call) + 2 * call.logits


#: Engine → what it holds.
ENGINES: Mapping[str, EngineMemory] = {
    "autograd": EngineMemory(
        seeds_at_once=False,
        side_by_side=False,
        training=IN_BLOCKS.training,
        testing=IN_BLOCKS.testing,
    ),
    "autograd at once": EngineMemory(
        seeds_at_once=True,
        side_by_side=False,
        training=LIVE.training,
        testing=LIVE.testing,
    ),
    "native": EngineMemory(
        seeds_at_once=False,
        side_by_side=True,
        training=_native_training,
        testing=_native_testing,
        keeps=_native_keeps,
        gradient_rows=1,
        update_rows=0,
    ),
    "torch": EngineMemory(
        seeds_at_once=False,
        side_by_side=False,
        training=_torch_training,
        testing=_torch_testing,
    ),
    "cuda": EngineMemory(
        seeds_at_once=True,
        side_by_side=False,
        training=_cuda_training,
        testing=_cuda_testing,
        keeps=lambda model: True,
    ),
}
