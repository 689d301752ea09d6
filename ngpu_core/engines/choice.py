"""Which engine computes a configuration."""

import logging
from typing import Literal

from ngpu_core.config import RunConfig
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.engine import Engine
from ngpu_core.models.families import network

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "autograd", "torch", "native", "cuda"]


def choose(
    config: RunConfig, *, device: str = "cpu", threads: int = 1, asked: EngineName = "auto"
) -> Engine:
    """The engine asked for, or the fastest that can compute this configuration here.

    Args:
        config: What is trained.
        device: `cpu` or `cuda`.
        threads: Processor threads one call may use.
        asked: A name, or `auto`.
    """
    return AutogradEngine(network(config.model), seeds_at_once=device != "cpu")
