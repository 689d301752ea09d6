"""What this machine can do at most, measured: multiply-adds in registers, bytes from memory."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

SOURCE = Path(__file__).with_name("ceilings.cpp")
OPTIONS = ("-std=gnu++17", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
#: A GPU's dense peak by precision, in FLOP/s, as its maker states it (data sheets; SXM boards).
GPU_PEAKS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "B200": {"float32": 75e12, "tf32": 1.1e15, "bfloat16": 2.25e15},
        "H200": {"float32": 67e12, "tf32": 494.5e12, "bfloat16": 989.5e12},
        "H100": {"float32": 67e12, "tf32": 494.5e12, "bfloat16": 989.5e12},
        "L40S": {"float32": 91.6e12, "tf32": 183e12, "bfloat16": 362e12},
        "A100": {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12},
        "RTX 4090": {"float32": 82.6e12, "tf32": 82.6e12, "bfloat16": 165.2e12},
        "RTX 3090": {"float32": 35.6e12, "tf32": 35.6e12, "bfloat16": 71e12},
        "L4": {"float32": 30.3e12, "tf32": 60e12, "bfloat16": 121e12},
        "V100": {"float32": 15.7e12},
        "T4": {"float32": 8.1e12},
    }
)
_ALIGNMENT = 64


class NoCompiler(RuntimeError):
    """The measuring loops could not be built."""


class Ceilings:
    """The measuring loops, compiled for this processor.

    Raises:
        NoCompiler: There is no C++ compiler, or it failed.
    """

    def __init__(self) -> None:
        library = _build()
        self._fma, self._read = library.fma_rate, library.read_rate
        self._fma.argtypes, self._fma.restype = [ctypes.c_double], ctypes.c_double
        self._read.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double]
        self._read.restype = ctypes.c_double

    def fma_peak(self, threads: int, seconds: float = 0.2) -> float:
        """Floating-point operations a second of that many threads, float32."""
        return _together(threads, lambda: float(self._fma(seconds)))

    def read_bandwidth(self, threads: int, bytes_each: int, seconds: float = 0.2) -> float:
        """Bytes a second that threads read, each going round in a buffer of its own."""

        def read() -> float:
            memory = ctypes.create_string_buffer(bytes_each + _ALIGNMENT)
            ctypes.memset(memory, 1, len(memory))  # else all pages are one page of zeros
            start = -(-ctypes.addressof(memory) // _ALIGNMENT) * _ALIGNMENT
            return float(self._read(start, bytes_each, seconds))

        return _together(threads, read)


def compiler() -> str | None:
    """The C++ compiler, if there is one."""
    named = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((found for name in named if name and (found := shutil.which(name))), None)


def gpu_peak(name: str, precision: str) -> float | None:
    """Dense peak of a known GPU in FLOP/s."""
    for known, peaks in GPU_PEAKS.items():
        if known in name:
            return peaks.get(precision)
    return None


def _together(threads: int, measure: Callable[[], float]) -> float:
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: measure(), range(threads)))


def _build() -> ctypes.CDLL:
    command = compiler()
    if command is None:
        raise NoCompiler("no C++ compiler (g++, clang++, c++ or $CXX) to build the measuring loops")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "ceilings.so"
        built = subprocess.run(
            [command, *OPTIONS, str(SOURCE), "-o", str(target)], capture_output=True, text=True
        )
        if built.returncode:
            raise NoCompiler(f"{command} failed: {built.stderr.strip().splitlines()[-1]}")
        return ctypes.CDLL(str(target))
