"""The memory of the device a trial runs on: what it may take, and when that was too much."""

import ctypes
import errno
import gc
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ngpu_core.engines import native_build

#: Of a GPU's free memory, what is planned with: the rest is lost between blocks.
GPU_USABLE = 0.9
#: Where Linux says what a container may use.
_CGROUP = Path("/sys/fs/cgroup")
#: What torch and its libraries write where memory was refused, beside `torch.OutOfMemoryError`.
_REFUSED = ("can't allocate memory", "Cannot allocate memory", "out of memory", "ALLOC_FAILED")


@dataclass(frozen=True, kw_only=True)
class FreeMemory:
    """Bytes a trial may take.

    Attributes:
        share: Its part of the device when as many trials as fit on its processors run at once.
        available: Everything that is free now.
    """

    share: int
    available: int


def free_memory(cpu: int, gpu: float) -> FreeMemory:
    """What a trial with these resources may take here and now.

    Args:
        cpu: Its processors.
        gpu: Its share of a GPU; 0 for none.
    """
    if gpu > 0:
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        share = min(free, int(total * gpu))
        return FreeMemory(share=int(GPU_USABLE * share), available=int(GPU_USABLE * free))
    total, available = _host_memory()
    share = total * cpu // max(cpu, _processors())
    return FreeMemory(share=min(share, available), available=available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused, by Python, the system, torch or a library under it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _REFUSED)


def give_back() -> None:
    """Return what nothing refers to any more to the device, and to the system."""
    gc.collect()
    if library := native_build.load():
        library.ngpu_release()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _host_memory() -> tuple[int, int]:
    """Bytes of memory in all and available, as far as this container may use them."""
    total, available = _machine_memory()
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and limit < total:
        total, available = limit, min(available, max(0, limit - (used or 0)))
    return total, available


def _machine_memory() -> tuple[int, int]:
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return total, total
    found = dict(line.split(":", 1) for line in lines)
    return total, int(found["MemAvailable"].split()[0]) * 1024


def _processors() -> int:
    """Processors this container may use."""
    bound = hasattr(os, "sched_getaffinity")
    processors = len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1
    try:
        quota, period = (int(text) for text in (_CGROUP / "cpu.max").read_text().split())
    except (OSError, ValueError):  # not there, or `max`: no limit
        return processors
    return max(1, min(processors, quota // period))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # as above
        return None
