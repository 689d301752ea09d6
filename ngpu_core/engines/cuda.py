"""The engine for a GPU: all seeds of a pack at once, in batched products, from a CUDA graph.

A time step of a small model is some thirty kernels of a few microseconds, so launching them one by
one would take longer than computing. A step is therefore recorded once for each tuple of shapes and
replayed: its inputs are copied into the buffers it was recorded with. On a CPU the same arithmetic
runs without graphs, which is how it is tested where there is no GPU.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ngpu_core.config import Precision
from ngpu_core.dropout import HashedDropout, placed
from ngpu_core.engines.convolutions import Convolution, StackedConvolution
from ngpu_core.engines.engine import Differentiated
from ngpu_core.engines.masks import draw_masks
from ngpu_core.engines.recordings import CudaGraphRecorder, Feed, Recordings
from ngpu_core.engines.unrolled import Unrolled, recurrence
from ngpu_core.models.network import Bin, Network, Parameters

#: Maps of a product that is wide enough: so many rows of the image are computed together.
WIDE = 96


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
    instruction_set = None

    def __init__(
        self,
        network: Network,
        *,
        segment: int | None = None,
        precision: Precision = "float32",
        graphs: int = 128,
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
        dropout = placed(dropout, self.network.config)
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
