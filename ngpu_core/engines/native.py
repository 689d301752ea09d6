"""The compiled engine: a whole training step of one seed in C++, near the processor's limit.

The kernel (`native/`) takes a few sequences at a time from embedding to the end of their backward
pass, so that what it works on stays in cache, and needs a library built for this processor
(`native_build.py`). It computes in float32.
"""

import ctypes
from collections.abc import Sequence
from math import ceil

import numpy as np
import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.engine import Differentiated, wrong_counts
from ngpu_core.engines.native_build import load
from ngpu_core.models.network import Bin, Network, Parameters
from ngpu_core.packing import Layout

#: Bytes of kept state a thread aims to work on: about what stays near the processor.
WORKING_SET = 2**20
#: Bytes of one seed's parameters from which working memory is given back after every step.
LARGE = 2**26
#: Parts of a batch with gradients of their own. Fixed, so that results never depend on threads.
CHUNKS = 2


class _Batch(ctypes.Structure):
    """`struct Batch` of native/step.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("sequences", "columns", "rows", "group")),
        *(
            (name, ctypes.c_void_p)
            for name in ("inputs", "targets", "mask", "weights", "steps", "rows_hashed")
        ),
        ("threshold", ctypes.c_uint32),
        ("scale", ctypes.c_float),
        ("saturation", ctypes.c_float),
        ("logits", ctypes.c_void_p),
        ("loss", ctypes.c_double),
        ("excess", ctypes.c_double),
    )


class _Step(ctypes.Structure):
    """`struct Step` of native/step.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("maps", "height", "layers", "copies")),
        *((name, ctypes.c_int32) for name in ("input_symbols", "output_symbols")),
        ("gate_cutoff", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("segment", "chunks", "threads")),
        *((name, ctypes.c_int32) for name in ("batches", "parameters")),
        ("batch", ctypes.POINTER(_Batch)),
        ("parameter", ctypes.POINTER(ctypes.c_void_p)),
        ("gradient", ctypes.POINTER(ctypes.c_void_p)),
    )


def unsupported(config: ModelConfig) -> str | None:
    """Why this engine cannot compute a network; None when it can."""
    return None if load() else "its library was not built (run `make setup` with a C++ compiler)"


def sequences_together(model: ModelConfig, batch_size: int, columns: int) -> int:
    """How many sequences a thread takes through the recurrence at a time.

    Two, or as many as its working set holds when sequences are short. A function of sizes alone:
    the order of sums, and so a seed's last bits, depend on it.
    """
    kept = 5 * 4 * model.filters * model.height * model.layers * columns**2
    per_chunk = ceil(batch_size / CHUNKS)
    return min(max(2, WORKING_SET // kept // 2 * 2), per_chunk + per_chunk % 2)


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
        if library is None:
            raise RuntimeError("the native engine's library was not built: run `make setup`")
        self.network = network
        self.threads = threads
        self.segment = segment
        self._library = library

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        """Every seed in turn; to the last bit the same whatever the number of threads."""
        layout = Layout({name: value.shape[1:] for name, value in parameters.items()})
        gradients = layout.views(torch.empty(len(saturation_weights), layout.size))
        seeds = len(saturation_weights)
        losses, saturation = np.zeros(seeds), np.zeros(seeds)
        logits = [self._empty_logits(batch) for batch in bins]
        for seed in range(seeds):
            call = _Call(self.network.config, bins, seed, [one[seed] for one in logits])
            call.learn(bins, seed, dropout, float(saturation_weights[seed]))
            losses[seed], saturation[seed] = call.run(
                self._library,
                {name: value[seed] for name, value in parameters.items()},
                {name: value[seed] for name, value in gradients.items()},
                threads=self.threads,
                segment=self.segment,
            )
        self._give_back(parameters)
        counts = [
            wrong_counts(self.network, one, batch) for one, batch in zip(logits, bins, strict=True)
        ]
        return Differentiated(
            losses=torch.from_numpy(losses).float(),
            saturation=torch.from_numpy(saturation).float(),
            counts=torch.stack(counts).sum(dim=0),
            gradients=gradients,
        )

    def _give_back(self, parameters: Parameters) -> None:
        """Free working memory that is large; small is kept, which saves faulting it in again."""
        if sum(value[0].nbytes for value in parameters.values()) > LARGE:
            self._library.ngpu_release()

    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """A forward pass that holds the states of a few sequences only."""
        logits = self._empty_logits(batch)
        for seed in range(len(logits)):
            call = _Call(self.network.config, [batch], seed, [logits[seed]])
            call.run(
                self._library,
                {name: value[seed] for name, value in parameters.items()},
                None,
                threads=self.threads,
                segment=1,
            )
        return logits

    def _empty_logits(self, batch: Bin) -> Tensor:
        return torch.empty(*batch.targets.shape, self.network.config.output_symbols)


class _Call:
    """The arrays of one call, held while it runs."""

    def __init__(
        self, model: ModelConfig, bins: Sequence[Bin], seed: int, logits: list[Tensor]
    ) -> None:
        self.model = model
        self.batches = (_Batch * len(bins))()
        self._held: list[np.ndarray] = []
        for one, batch, out in zip(self.batches, bins, logits, strict=True):
            mask = batch.mask[seed].numpy()
            one.sequences, one.columns = mask.shape
            one.rows = batch.inputs.shape[2]
            one.inputs = self._address(batch.inputs[seed].numpy())
            one.targets = self._address(batch.targets[seed].numpy())
            one.mask = self._address(mask.astype(np.float32))
            one.steps = self._address((mask.sum(axis=1) + model.extra_steps).astype(np.int32))
            one.logits = out.data_ptr()
            one.scale = 1.0

    def learn(
        self,
        bins: Sequence[Bin],
        seed: int,
        dropout: HashedDropout | None,
        saturation_weight: float,
    ) -> None:
        """Say what the loss is and what is dropped."""
        diagonal = self.model.family == "diagonal_neural_gpu"
        for index, (one, batch) in enumerate(zip(self.batches, bins, strict=True)):
            sequences, columns = one.sequences, one.columns
            if diagonal:
                weights = np.full((sequences, columns), 1 / (sequences * columns), np.float32)
                times = columns + 1
            else:
                mask = batch.mask[seed].numpy()
                weights = mask.astype(np.float32) / (sequences * batch.padded_length)
                times = columns + self.model.extra_steps
            one.weights = self._address((weights / len(bins)).astype(np.float32))
            one.saturation = saturation_weight * self._share(one)
            threshold = dropout.threshold(batch.padded_length) if dropout else 0
            if dropout and threshold:
                hashes = dropout.rows(index, range(times), sequences, place=seed)
                one.rows_hashed = self._address(hashes)
                one.threshold = threshold
                one.scale = 1 / (1 - dropout.drop(batch.padded_length))

    def _share(self, one: _Batch) -> float:
        """A bin's weight in the saturation cost: its mean over cells, times and bins."""
        return 1 / (one.columns**2 * one.sequences * len(self.batches))

    def _address(self, array: np.ndarray) -> int:
        array = np.ascontiguousarray(array)
        self._held.append(array)
        return array.ctypes.data

    def run(
        self,
        library: ctypes.CDLL,
        parameters: dict[str, Tensor],
        gradients: dict[str, Tensor] | None,
        *,
        threads: int,
        segment: int | None,
    ) -> tuple[float, float]:
        """Call the kernel; the loss and the saturation cost."""
        for one in self.batches:
            one.group = sequences_together(self.model, one.sequences, one.columns)
        contiguous = {name: value.contiguous() for name, value in parameters.items()}
        longest = max(one.columns for one in self.batches) + self.model.extra_steps
        step = _Step(
            maps=self.model.filters,
            height=self.model.height,
            layers=self.model.layers,
            copies=self.model.weight_copies,
            input_symbols=self.model.input_symbols,
            output_symbols=self.model.output_symbols,
            gate_cutoff=self.model.gate_cutoff,
            segment=segment or longest,
            chunks=CHUNKS,
            threads=threads,
            batches=len(self.batches),
            parameters=len(parameters),
            batch=self.batches,
            parameter=_pointers(contiguous),
            gradient=_pointers(gradients) if gradients else None,
        )
        diagonal = self.model.family == "diagonal_neural_gpu"
        act = library.ngpu_diagonal if diagonal else library.ngpu_neural_gpu
        message = act(ctypes.byref(step))
        if message:
            raise MemoryError(message.decode()) if b"memory" in message else RuntimeError(message)
        loss = sum(one.loss for one in self.batches)
        return loss, sum(one.excess * self._share(one) for one in self.batches)


def _pointers(tensors: dict[str, Tensor]) -> "ctypes.Array[ctypes.c_void_p]":
    addresses = [value.data_ptr() for value in tensors.values()]
    return (ctypes.c_void_p * len(addresses))(*addresses)
