"""The compiled engine: a whole training step of one seed in C++, near the processor's limit.

The kernel (`native/`) takes a few sequences at a time from embedding to the end of their backward
pass, so that what it works on stays in cache, and needs a library built for this processor
(`native_build.py`). It computes in float32.
"""

import ctypes
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ngpu_core.call_sizes import FLOAT
from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout, placed
from ngpu_core.engine_memory import CHUNKS, LARGE, sequences_together
from ngpu_core.engines.coverage import uncovered
from ngpu_core.engines.engine import Differentiated
from ngpu_core.engines.native_build import load, usable
from ngpu_core.models.network import Bin, Network, Parameters
from ngpu_core.packing import Views


class _Costs(ctypes.Structure):
    """`struct Costs` of native/step.h."""

    _fields_ = (
        *((name, ctypes.c_double) for name in ("loss", "excess")),
        *((name, ctypes.c_int64) for name in ("wrong_sequences", "symbols", "wrong_symbols")),
    )


class _Batch(ctypes.Structure):
    """`struct Batch` of native/step.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("sequences", "columns", "rows", "group")),
        *((name, ctypes.c_void_p) for name in ("inputs", "targets", "rows_hashed", "logits")),
        ("threshold", ctypes.c_uint32),
        *((name, ctypes.c_float) for name in ("scale", "weight", "saturation")),
        ("costs", _Costs),
    )


class _Step(ctypes.Structure):
    """`struct Step` of native/step.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("maps", "height", "layers", "copies")),
        *((name, ctypes.c_int32) for name in ("input_symbols", "output_symbols", "extra_steps")),
        ("gate_cutoff", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("segment", "chunks", "threads")),
        *((name, ctypes.c_int32) for name in ("batches", "parameters")),
        ("batch", ctypes.POINTER(_Batch)),
        ("parameter", ctypes.POINTER(ctypes.c_void_p)),
        ("gradient", ctypes.POINTER(ctypes.c_void_p)),
    )


def unsupported(config: ModelConfig) -> str | None:
    """Why this engine cannot compute a network; None when it can."""
    only = uncovered(config)
    if only:
        return f"{only} is computed under autograd"
    library = load()
    if library is None:
        return "its library was not built (run `make setup` with a C++ compiler)"
    sizes = ctypes.sizeof(_Batch) << 32 | ctypes.sizeof(_Step)
    if library.ngpu_layout() != sizes or not hasattr(library, "ngpu_row_hashes"):
        return "its library was built from other sources (run `make setup`)"
    return None


class NativeEngine:
    """Computes one seed a call, threads over seeds outside or over halves of its batch inside.

    Args:
        network: Either family.
        threads: Most threads of one call.
        segment: Time steps between kept states; None keeps everything.
        target: Instruction set to use instead of the best (see `native_build.targets`).

    Raises:
        RuntimeError: The library is not there.
    """

    name = "native"
    seeds_at_once = False
    releases_interpreter = True

    def __init__(
        self,
        network: Network,
        *,
        threads: int = 1,
        segment: int | None = None,
        target: str | None = None,
    ) -> None:
        library = load(target)
        reason = unsupported(network.config)
        if library is None or reason:
            raise RuntimeError(f"no native engine: {reason or f'no library for {target}'}")
        self.network = network
        self.threads = threads
        self.segment = segment
        self.instruction_set = target or usable()[0]
        self._library = library
        self._held = threading.local()

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        """Every seed in turn; to the last bit the same whatever the number of threads."""
        dropout = placed(dropout, self.network.config)
        held = Views.of(parameters)
        gradients = held.layout.views(self._gradient_rows(held.rows))
        seeds = len(saturation_weights)
        losses, saturation = np.empty(seeds, np.float32), np.empty(seeds, np.float32)
        counts = np.empty((seeds, 4), np.int64)
        for seed, weight in enumerate(saturation_weights.tolist()):
            call = _Call(self.network.config, bins, seed)
            call.learn(self._library, bins, seed, dropout, weight)
            call.run(
                self._library, held, gradients, seed, threads=self.threads, segment=self.segment
            )
            losses[seed], saturation[seed], counts[seed] = call.totals()
        self._give_back(held)
        return Differentiated(
            losses=torch.from_numpy(losses),
            saturation=torch.from_numpy(saturation),
            counts=torch.from_numpy(counts),
            gradients=gradients,
        )

    def _gradient_rows(self, like: Tensor) -> Tensor:
        """Memory for gradients: small is kept for this thread's next call."""
        kept: Tensor | None = getattr(self._held, "rows", None)
        if kept is not None and kept.shape == like.shape:
            return kept
        rows = torch.empty_like(like)
        self._held.rows = rows if FLOAT * rows.numel() <= LARGE else None
        return rows

    def _give_back(self, parameters: Views) -> None:
        """Free working memory that is large; small is kept, which saves faulting it in again."""
        if FLOAT * parameters.layout.size > LARGE:
            self._library.ngpu_release()

    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """A forward pass that holds the states of a few sequences only."""
        held = Views.of(parameters)
        seeds = []
        for seed in range(len(batch.targets)):
            call = _Call(self.network.config, [batch], seed)
            call.run(self._library, held, None, seed, threads=self.threads, segment=1)
            seeds.append(torch.from_numpy(call.logits[0]))
        return torch.stack(seeds)


class _Call:
    """The arrays of one call for one seed, held while it runs."""

    def __init__(self, model: ModelConfig, bins: Sequence[Bin], seed: int) -> None:
        self.model = model
        self.batches = (_Batch * len(bins))()
        self.logits: list[np.ndarray] = []
        self._held: list[Tensor | np.ndarray] = []
        for one, batch in zip(self.batches, bins, strict=True):
            _, one.sequences, one.rows, one.columns = batch.inputs.shape
            one.group = sequences_together(model, one.sequences, one.columns)
            one.inputs = self._row(batch.inputs, seed)
            one.targets = self._row(batch.targets, seed)
            shape = one.sequences, one.columns, model.output_symbols
            self.logits.append(np.empty(shape, np.float32))
            one.logits = self.logits[-1].ctypes.data

    def learn(
        self,
        library: ctypes.CDLL,
        bins: Sequence[Bin],
        seed: int,
        dropout: HashedDropout | None,
        saturation_weight: float,
    ) -> None:
        """Say what the loss is and what is dropped."""
        diagonal = self.model.family == "diagonal_neural_gpu"
        for index, (one, batch) in enumerate(zip(self.batches, bins, strict=True)):
            positions = one.columns if diagonal else batch.padded_length
            one.weight = 1 / (one.sequences * positions * len(bins))
            one.saturation = saturation_weight * self._share(one)
            threshold = dropout.threshold(batch.padded_length) if dropout else 0
            if dropout and threshold:
                times = one.columns + (1 if diagonal else self.model.extra_steps)
                key = dropout.key(seed)
                hashes = row_hashes(library, key, index, times, one.sequences)
                self._held.append(hashes)
                one.rows_hashed = hashes.ctypes.data
                one.threshold = threshold
                one.scale = 1 / (1 - dropout.drop(batch.padded_length))

    def totals(self) -> tuple[float, float, list[int]]:
        """The loss, the saturation cost, and what `wrong_counts` counts."""
        loss, excess, counts = 0.0, 0.0, [0, 0, 0, 0]
        for one in self.batches:
            costs = one.costs
            loss += costs.loss
            excess += costs.excess * self._share(one)
            counts[0] += one.sequences
            counts[1] += costs.wrong_sequences
            counts[2] += costs.symbols
            counts[3] += costs.wrong_symbols
        return loss, excess, counts

    def _share(self, one: _Batch) -> float:
        """A bin's weight in the saturation cost: its mean over cells, times and bins."""
        return 1 / (one.columns**2 * one.sequences * len(self.batches))

    def _row(self, tensor: Tensor, seed: int) -> int:
        """Where a seed's part begins of a tensor (S, …) that is held as long as this call."""
        tensor = tensor.contiguous()
        self._held.append(tensor)
        return _row_address(tensor, seed)

    def run(
        self,
        library: ctypes.CDLL,
        parameters: Views,
        gradients: Views | None,
        seed: int,
        *,
        threads: int,
        segment: int | None,
    ) -> None:
        """Call the kernel.

        Raises:
            MemoryError: Working memory could not be had.
        """
        longest = max(one.columns for one in self.batches) + self.model.extra_steps
        step = _Step(
            maps=self.model.filters,
            height=self.model.height,
            layers=self.model.layers,
            copies=self.model.weight_copies,
            input_symbols=self.model.input_symbols,
            output_symbols=self.model.output_symbols,
            extra_steps=self.model.extra_steps,
            gate_cutoff=self.model.gate_cutoff,
            segment=segment or longest,
            chunks=CHUNKS,
            threads=threads,
            batches=len(self.batches),
            parameters=len(parameters),
            batch=self.batches,
            parameter=_pointers(parameters, seed),
            gradient=_pointers(gradients, seed) if gradients else None,
        )
        diagonal = self.model.family == "diagonal_neural_gpu"
        act = library.ngpu_diagonal if diagonal else library.ngpu_neural_gpu
        message = act(ctypes.byref(step))
        if message:
            raise MemoryError(message.decode()) if b"memory" in message else RuntimeError(message)


def row_hashes(
    library: ctypes.CDLL, key: int, bin_index: int, times: int, sequences: int
) -> np.ndarray:
    """The row hashes of a bin's masks (`dropout.row_hash`) from times 0 on: (times, B) uint32."""
    hashes = np.empty((times, sequences), np.uint32)
    place = ctypes.c_void_p(hashes.ctypes.data)
    words = ctypes.c_uint64(key), ctypes.c_uint64(bin_index)
    library.ngpu_row_hashes(*words, times, sequences, place)
    return hashes


def _row_address(tensor: Tensor, place: int) -> int:
    return tensor.data_ptr() + place * tensor.stride(0) * tensor.itemsize


def _pointers(tensors: Views, seed: int) -> "ctypes.Array[ctypes.c_void_p]":
    """Where each of a seed's tensors begins."""
    row, starts = _row_address(tensors.rows, seed), tensors.layout.starts.values()
    return (ctypes.c_void_p * len(starts))(*(row + FLOAT * start for start in starts))
