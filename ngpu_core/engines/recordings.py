"""Steps recorded as CUDA graphs, one for each tuple of shapes, and replayed on new numbers."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ngpu_core.engines.engine import Differentiated
from ngpu_core.engines.masks import Masks
from ngpu_core.models.network import Bin

logger = logging.getLogger(__name__)

#: Calls with the same shapes before they are recorded; they also warm the libraries up.
SIGHTINGS = 2


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Everything one step of S seeds computes from."""

    parameters: dict[str, Tensor]
    bins: list[Bin]
    masks: list[Masks | None]
    saturation_weights: Tensor

    @property
    def seeds(self) -> int:
        """S."""
        return self.saturation_weights.shape[0]

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for steps that run the same kernels on the same shapes."""
        return (
            tuple(tuple(one.shape) for one in self._tensors()),
            tuple(batch.padded_length for batch in self.bins),
            tuple(one and one.threshold for one in self.masks),
        )

    def for_seeds(self, seeds: int) -> "Feed":
        """A copy for more seeds: the last one fills up."""
        place = torch.arange(seeds, device=self.saturation_weights.device)
        place.clamp_(max=self.seeds - 1)
        return Feed(
            parameters={name: value[place] for name, value in self.parameters.items()},
            bins=[
                replace(batch, inputs=batch.inputs[place], targets=batch.targets[place])
                for batch in self.bins
            ],
            masks=[
                one and replace(one, rows=one.rows[place], scale=one.scale.clone())
                for one in self.masks
            ],
            saturation_weights=self.saturation_weights[place],
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


def first_seeds(found: Differentiated, seeds: int) -> Differentiated:
    """The results of the first few seeds, in the same memory."""
    return Differentiated(
        losses=found.losses[:seeds],
        saturation=found.saturation[:seeds],
        counts=found.counts[:seeds],
        gradients={name: value[:seeds] for name, value in found.gradients.items()},
    )


def rounded(seeds: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, …"""
    power: int = 2 ** (seeds - 1).bit_length()
    return power * 3 // 4 if seeds <= power * 3 // 4 and power > 2 else power


#: From a feed to what is found.
Compute = Callable[[Feed], Differentiated]
#: How to run again on what then lies in the feed, and where the results then lie.
Recording = tuple[Callable[[], object], Differentiated]


class Recorder(Protocol):
    """Runs a computation, and makes a recording of one."""

    def run(self, compute: Compute, feed: Feed) -> Differentiated:
        """Compute, warming up whatever recording needs warm."""
        ...

    def record(self, compute: Compute, feed: Feed) -> Recording:
        """Record without running."""
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

    def record(self, compute: Compute, feed: Feed) -> Recording:
        """Capture a graph; other threads may use the GPU meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            found = compute(feed)
        return graph.replay, found


class Recordings:
    """Computations recorded by shape, the least recently used let go.

    A pack whose seeds sit at different lengths asks for ever new numbers of seeds at each; they are
    rounded up, so that few recordings serve all.

    Args:
        compute: What is recorded.
        recorder: How.
        limit: Recordings kept.
    """

    def __init__(self, compute: Compute, recorder: Recorder, limit: int) -> None:
        self._compute = compute
        self._recorder = recorder
        self._limit = limit
        self._whole_pack = 0
        self._recordable = True
        self._seen: Counter[tuple[Any, ...]] = Counter()
        self._kept: OrderedDict[tuple[Any, ...], tuple[Feed, Recording]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, feed: Feed) -> Differentiated:
        """Replay if recorded, record if seen often enough, else compute.

        Results of a recording are valid until it runs again.
        """
        seeds = feed.seeds
        self._whole_pack = max(self._whole_pack, seeds)
        size = min(rounded(seeds), self._whole_pack)
        if size != seeds:
            return first_seeds(self._of_rounded(feed.for_seeds(size)), seeds)
        return self._of_rounded(feed)

    def _of_rounded(self, feed: Feed) -> Differentiated:
        key = feed.key
        if key not in self._kept:
            self._seen[key] += 1
            if not self._recordable or self._seen[key] <= SIGHTINGS:
                return self._recorder.run(self._compute, feed)
            while len(self._kept) >= self._limit:
                self._kept.popitem(last=False)
            own = feed.for_seeds(feed.seeds)
            try:
                self._kept[key] = own, self._recorder.record(self._compute, own)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._recordable = False
                logger.warning("steps are not recorded but launched anew each time: %s", error)
                return self._recorder.run(self._compute, feed)
        self._kept.move_to_end(key)
        own, (run, found) = self._kept[key]
        own.copy_(feed)
        run()
        return found
