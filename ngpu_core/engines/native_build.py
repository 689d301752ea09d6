"""The native engine's library: which one fits this processor, and whether it was built.

`setup.py` compiles `native/run.cpp` once for each instruction set a processor of this kind may
have; the best one it does have is loaded.
"""

import ctypes
import platform
from functools import cache
from pathlib import Path

#: Instruction set → compiler flags, best first.
TARGETS = {
    "x86_64": {
        "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
        "avx2": ("-march=x86-64-v3",),
        "portable": (),
    }
}
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-ffp-contract=fast",
    "-fvisibility=hidden",
    "-Wno-ignored-attributes",
    "-Wno-psabi",
    "-g0",
    "-pthread",
)
#: What /proc/cpuinfo must list for a set.
_NEEDED = {
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma", "bmi2"},
    "avx2": {"avx2", "fma", "bmi2"},
    "portable": set(),
}
_FOLDER = Path(__file__).parent


def targets() -> dict[str, tuple[str, ...]]:
    """What to build on this kind of machine."""
    return TARGETS.get(platform.machine(), {"portable": ()})


def built(target: str) -> Path | None:
    """The library of an instruction set, if it was built."""
    return next(iter(sorted(_FOLDER.glob(f"_native_{target}.*so"))), None)


def _processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


@cache
def usable() -> tuple[str, ...]:
    """The instruction sets that were built and that this processor has, best first."""
    flags = _processor_flags()
    return tuple(name for name in targets() if built(name) and flags >= _NEEDED[name])


@cache
def load(target: str | None = None) -> ctypes.CDLL | None:
    """The library for this processor (or one instruction set); None when there is none."""
    name = next((name for name in usable() if target in (None, name)), None)
    path = name and built(name)
    if not path:
        return None
    library = ctypes.CDLL(str(path))
    for function in (library.ngpu_neural_gpu, library.ngpu_diagonal):
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_void_p]
    library.ngpu_layout.restype = ctypes.c_int64
    return library
