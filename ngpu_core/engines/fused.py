"""Small element-wise functions as one kernel each, where a kernel is what costs."""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

logger = logging.getLogger(__name__)

#: Kernels of one function: sizes may vary in one, but not whether one is 1, nor the memory layout.
VARIANTS = 64

P = ParamSpec("P")
R = TypeVar("R")


def fused(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of tensors for calls on a GPU; on a CPU it runs as it is written.

    A CPU has the native engine for this, and compiling takes longer than a short run. Where there
    is no compiler for the GPU the function runs as written there too, and the log says so.
    """
    compiled: Callable[P, R] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal compiled
        first = args[0]
        if not isinstance(first, torch.Tensor) or not first.is_cuda:
            return function(*args, **kwargs)
        if compiled is None:
            compiled = _compiled(function)
        return compiled(*args, **kwargs)

    return call


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiled for any shape at its first call, which falls back if that fails."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    chosen = torch.compile(function, dynamic=True)
    tried = False

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal chosen, tried
        if tried:
            return chosen(*args, **kwargs)
        tried = True
        try:
            return chosen(*args, **kwargs)
        except Exception as error:  # whatever a missing or broken compiler raises
            logger.warning("%s runs unfused: %s", function.__name__, error)
            chosen = function
            return function(*args, **kwargs)

    return call
