"""Which engine computes a configuration."""

import logging
from functools import cache
from typing import Literal

from ngpu_core.config import RunConfig
from ngpu_core.engines import native
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.engine import Engine
from ngpu_core.models.families import network

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "autograd", "native"]


@cache
def _say_once(message: str) -> None:
    logger.warning(message)


def choose(
    config: RunConfig, *, device: str = "cpu", threads: int = 1, asked: EngineName = "auto"
) -> Engine:
    """The engine asked for, or the fastest that can compute this configuration here.

    Args:
        config: What is trained.
        device: `cpu` or `cuda`.
        threads: Processor threads one call may use.
        asked: A name, or `auto`.

    Raises:
        ValueError: The engine asked for cannot compute this configuration here.
    """
    net = network(config.model)
    if asked == "autograd" or (asked == "auto" and device != "cpu"):
        return AutogradEngine(net, seeds_at_once=device != "cpu")
    reason = native.unsupported(config.model)
    if reason is None:
        return native.NativeEngine(net, threads=threads)
    if asked == "native":
        raise ValueError(f"the native engine cannot compute this: {reason}")
    _say_once(f"the native engine is left out, training will be several times slower: {reason}")
    return AutogradEngine(net)
