"""One seed's weights and training state in one file: written atomically, loadable alone."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


class CorruptCheckpoint(Exception):
    """The file is missing, cut short or altered: it is not what was recorded."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"checkpoint {path.name}: {why}")
        self.path = path


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """A written checkpoint and how to recognize it."""

    path: Path
    sha256: str
    bytes: int


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_seed(path: Path, state: dict[str, Any]) -> CheckpointFile:
    """Write a seed's state; the path holds nothing, the old file or the whole new one.

    Side effect: creates the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return CheckpointFile(path=path, sha256=_sha256(path), bytes=path.stat().st_size)


def load_seed(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """Read a seed's state; its tensors are the file's pages, read when they are used.

    Raises:
        CorruptCheckpoint: The file is missing, or not the one with this digest.
    """
    if not path.is_file():
        raise CorruptCheckpoint(path, "the file is missing")
    if sha256 is not None and _sha256(path) != sha256:
        raise CorruptCheckpoint(path, "its contents are not those that were recorded")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return state
