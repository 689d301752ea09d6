"""The machine a result was measured on, as far as it says so itself."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ceilings import compiler

#: Vector instruction sets worth naming, as Linux names them.
INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512vl",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
)


def describe(versions: dict[str, str]) -> dict[str, Any]:
    """Processor, cores, caches, instruction sets, memory, versions, date.

    Args:
        versions: Of the libraries that took part.
    """
    information = _processor()
    flags = (information.get("flags") or information.get("Features") or "").split()
    return {
        "processor": information.get("model name") or platform.processor() or platform.machine(),
        "family_model": [information.get("cpu family"), information.get("model")],
        "architecture": platform.machine(),
        "virtual": "hypervisor" in flags,
        "cores": cores(),
        "caches": dict(_caches()),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {"python": platform.python_version(), **versions, **_compiler_version()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_bytes(machine: Mapping[str, Any], level: str) -> int | None:
    """The size of one of `caches`, which Linux writes as `1024K`."""
    told = machine["caches"].get(level)
    if told is None:
        return None
    return int(told.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(told[-1], 1)


def slug(machine: Mapping[str, Any]) -> str:
    """A file name for the machine: `amd-epyc-25-17-2-cores`, or its GPU's name."""
    family = [part for part in machine["family_model"] if part]
    words = [machine["processor"], *family, f"{machine['cores']} cores"]
    if "gpu" in machine:
        words = [machine["gpu"]]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def _processor() -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.split(":", 1) for line in path.read_text().split("\n\n")[0].splitlines())
    return {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}


def _caches() -> Iterator[tuple[str, str]]:
    """Each cache of the first core with its size: `L1d` → `32K`."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = (folder / "type").read_text().strip()
        suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
        yield (
            f"L{(folder / 'level').read_text().strip()}{suffix}",
            (folder / "size").read_text().strip(),
        )


def _compiler_version() -> dict[str, str]:
    command = compiler()
    if command is None:
        return {}
    told = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
    return {"compiler": told.splitlines()[0]} if told else {}
