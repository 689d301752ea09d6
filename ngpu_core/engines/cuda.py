"""The engine for a GPU: all seeds of a pack at once, in batched products, from a CUDA graph.

A time step of a small model is some thirty kernels of a few microseconds, so launching them one by
one would take longer than computing. A step is therefore recorded once for each tuple of shapes and
replayed: its inputs are copied into the buffers it was recorded with. On a CPU the same arithmetic
runs without graphs, which is how it is tested where there is no GPU.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ngpu_core.config import Precision
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.convolutions import (
    Convolution,
    StackedConvolution,
    column_windows,
    column_windows_bfloat16,
)
from ngpu_core.engines.engine import Differentiated
from ngpu_core.engines.parts import Masks, draw_masks
from ngpu_core.engines.unrolled import Unrolled, recurrence
from ngpu_core.models.network import Bin, Network, Parameters

#: Maps of a product that is wide enough: so many rows of the image are computed together.
WIDE = 96
#: Calls with the same shapes before they are recorded; they also warm the libraries up.
SIGHTINGS = 2


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Everything one step computes from."""

    parameters: dict[str, Tensor]
    bins: list[Bin]
    masks: list[Masks | None]
    saturation_weights: Tensor

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for steps that run the same kernels on the same shapes."""
        return (
            tuple(tuple(one.shape) for one in self._tensors()),
            tuple(batch.padded_length for batch in self.bins),
            tuple(one and one.threshold for one in self.masks),
        )

    def clone(self) -> "Feed":
        """The same in memory of its own."""
        return Feed(
            parameters={name: value.clone() for name, value in self.parameters.items()},
            bins=[
                replace(batch, inputs=batch.inputs.clone(), targets=batch.targets.clone())
                for batch in self.bins
            ],
            masks=[
                one and replace(one, rows=one.rows.clone(), scale=one.scale.clone())
                for one in self.masks
            ],
            saturation_weights=self.saturation_weights.clone(),
        )

    def copy_(self, other: "Feed") -> None:
        """Take over another's numbers; it has the same key."""
        torch._foreach_copy_(self._tensors(), other._tensors())

    def _tensors(self) -> list[Tensor]:
        masks = [one for one in self.masks if one]
        return [
            *self.parameters.values(),
            *(batch.inputs for batch in self.bins),
            *(batch.targets for batch in self.bins),
            *(one.rows for one in masks),
            *(one.scale for one in masks),
            self.saturation_weights,
        ]


#: From a feed to what is found.
Compute = Callable[[Feed], Differentiated]


class Recorder(Protocol):
    """Runs a computation, and makes a recording of one."""

    def run(self, compute: Compute, feed: Feed) -> Differentiated:
        """Compute, warming up whatever recording needs warm."""
        ...

    def record(self, compute: Compute, feed: Feed) -> tuple[Callable[[], object], Differentiated]:
        """How to run again on what then lies in `feed`, and where the results then lie."""
        ...


class CudaGraphRecorder:
    """Records CUDA graphs, which share the memory of their temporaries.

    As torch wants it, warming up and recording happen on one stream that is not the default one.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, compute: Compute, feed: Feed) -> Differentiated:
        """On the stream of the recordings, between what came before and what comes after."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            found = compute(feed)
        torch.cuda.current_stream().wait_stream(self._stream)
        return found

    def record(self, compute: Compute, feed: Feed) -> tuple[Callable[[], object], Differentiated]:
        """Record without running."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            found = compute(feed)
        return graph.replay, found


class Recordings:
    """Computations recorded by shape, the least recently used let go.

    Args:
        compute: What is recorded.
        recorder: How.
        limit: Recordings kept.
    """

    def __init__(self, compute: Compute, recorder: Recorder, limit: int) -> None:
        self._compute = compute
        self._recorder = recorder
        self._limit = limit
        self._seen: Counter[tuple[Any, ...]] = Counter()
        self._kept: OrderedDict[
            tuple[Any, ...], tuple[Feed, Callable[[], object], Differentiated]
        ] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, feed: Feed) -> Differentiated:
        """Replay if recorded, record if seen often enough, else compute.

        Results of a recording are valid until it runs again.
        """
        key = feed.key
        if key not in self._kept:
            self._seen[key] += 1
            if self._seen[key] <= SIGHTINGS:
                return self._recorder.run(self._compute, feed)
            while len(self._kept) >= self._limit:
                self._kept.popitem(last=False)
            own = feed.clone()
            self._kept[key] = (own, *self._recorder.record(self._compute, own))
        self._kept.move_to_end(key)
        own, run, found = self._kept[key]
        own.copy_(feed)
        run()
        return found


class CudaEngine:
    """Computes any network, all seeds at once.

    Args:
        network: What to compute.
        segment: Time steps between two states kept for the backward pass; None keeps all it needs.
        precision: Of the factors of products: `float32`; `tf32`, which has float32's range and ten
            bits of mantissa; or `bfloat16`. Sums, states, gates, gradients and weights are float32.
        graphs: CUDA graphs kept, one for each tuple of shapes.
    """

    name = "cuda"
    seeds_at_once = True
    releases_interpreter = False

    def __init__(
        self,
        network: Network,
        *,
        segment: int | None = None,
        precision: Precision = "float32",
        graphs: int = 64,
    ) -> None:
        self.network = network
        self.precision = precision
        self._unrolled = Unrolled(
            network=network,
            recurrence=recurrence(network, self._convolution, segment=segment, look=False),
        )
        self._recordings: Recordings | None = None
        self._graphs = graphs

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        """One batch, forward and backward. On a GPU the results are valid until the next call."""
        times = [self._unrolled.recurrence.times(batch) for batch in bins]
        masks = draw_masks(dropout, bins, times, next(iter(parameters.values())))
        feed = Feed(
            parameters=dict(parameters),
            bins=list(bins),
            masks=masks,
            saturation_weights=saturation_weights,
        )
        if not saturation_weights.is_cuda:
            return self._compute(feed)
        if self._recordings is None:
            self._recordings = Recordings(self._compute, CudaGraphRecorder(), self._graphs)
        return self._recordings(feed)

    def logits(self, parameters: Parameters, batch: Bin) -> Tensor:
        """Without keeping anything."""
        with self._products():
            return self._unrolled.logits(parameters, batch)

    def _compute(self, feed: Feed) -> Differentiated:
        with self._products():
            return self._unrolled.differentiate(
                feed.parameters, feed.bins, feed.masks, feed.saturation_weights, saturated=True
            )

    def _convolution(self, kernel: Tensor, bias: Tensor) -> Convolution:
        height = self.network.config.height if kernel.shape[3] > 1 else 1
        return StackedConvolution(
            kernel,
            bias,
            height=height,
            together=min(height, max(1, WIDE // kernel.shape[2])),
            precision=self.precision,
            windows=column_windows_bfloat16 if self.precision == "bfloat16" else column_windows,
        )

    @contextmanager
    def _products(self) -> Iterator[None]:
        """How products are computed on this device, set while we compute."""
        settings = torch.backends.cuda.matmul
        before = settings.fp32_precision, settings.allow_bf16_reduced_precision_reduction
        settings.fp32_precision = "tf32" if self.precision == "tf32" else "ieee"
        settings.allow_bf16_reduced_precision_reduction = False
        try:
            yield
        finally:
            settings.fp32_precision, settings.allow_bf16_reduced_precision_reduction = before
