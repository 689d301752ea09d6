"""Which code this is."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "neural-gpu-sweeps"


@cache
def code_version() -> str:
    """`git describe` of the checkout this runs from, else the installed package's version."""
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists() and (described := _described(root)):
        return described
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def _described(root: Path) -> str | None:
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
