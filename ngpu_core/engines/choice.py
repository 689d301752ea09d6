"""Which engine computes a configuration."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Literal

from ngpu_core.config import RunConfig
from ngpu_core.engines import native, unrolled
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.coverage import uncovered
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.engines.engine import Engine
from ngpu_core.engines.native import NativeEngine
from ngpu_core.engines.unrolled import TorchEngine
from ngpu_core.models.families import network

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "autograd", "torch", "native", "cuda"]

#: What is lost without an engine that `auto` would have taken.
_LOSS = {
    "native": "training takes several times longer",
    "torch": "training takes longer and much more memory",
    "cuda": "training takes several times longer",
}


@cache
def _say_once(message: str) -> None:
    logger.warning(message)


def choose(
    config: RunConfig,
    *,
    device: str = "cpu",
    threads: int = 1,
    segment: int | None = None,
    asked: EngineName = "auto",
) -> Engine:
    """The engine asked for, or the fastest that can compute this configuration here.

    Args:
        config: What is trained.
        device: `cpu` or `cuda`.
        threads: Processor threads one call may use.
        segment: Time steps between two states kept for the backward pass; None keeps everything.
            `autograd` always does.
        asked: A name, or `auto`, which says once in the log what it had to leave out.

    Raises:
        ValueError: The engine asked for cannot compute this configuration here.
    """
    net, model = network(config.model), config.model
    precision = config.training.precision
    makers: dict[str, Callable[[], Engine]] = {
        "native": lambda: NativeEngine(net, threads=threads, segment=segment),
        "torch": lambda: TorchEngine(net, segment=segment),
        "cuda": lambda: CudaEngine(net, segment=segment, precision=precision),
        "autograd": lambda: AutogradEngine(net, seeds_at_once=device != "cpu"),
    }
    reasons = {
        "native": native.unsupported(model) if device == "cpu" else "it computes on a CPU",
        "torch": unrolled.unsupported(model),
        "cuda": unrolled.unsupported(model),
        "autograd": None,
    }
    if asked != "auto":
        reason = reasons[asked]
        if reason:
            raise ValueError(f"the {asked} engine cannot compute this: {reason}")
        return makers[asked]()
    only = uncovered(model)
    if only:
        plain = "" if precision == "float32" else f", in float32 and not in {precision}"
        _say_once(f"{only}: computed under autograd, slower and in more memory{plain}")
        return makers["autograd"]()
    if precision != "float32" and device == "cpu":
        _say_once(f"training.precision {precision} is a GPU's: this CPU computes in float32")
    for name in ("native", "torch", "autograd") if device == "cpu" else ("cuda", "autograd"):
        if reasons[name] is None:
            return makers[name]()
        _say_once(f"the {name} engine is left out, {_LOSS[name]}: {reasons[name]}")
    raise AssertionError("autograd computes everything")


def torch_threads(engine: Engine, threads: int) -> int:
    """Threads torch's own operations should have beside an engine that has threads of its own.

    Those of the native engine leave torch so little to do that waking more costs than it saves.
    """
    return 1 if engine.releases_interpreter else threads
