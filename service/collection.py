"""Garbage collection of checkpoints: files that no row points to, nor can ever point to.

A file's name says which lease wrote it. A lease that is over can move no pointer any more, so its
files are needed only where a row points to them. Files are listed before the record is read: what a
live lease writes meanwhile is not on the list, or is kept for its lease. No pause is needed, and
trials may run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import Engine

from db.engine import reading
from db.pointers import Needed, known_sweeps, needed_checkpoints


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A file that nothing needs."""

    path: Path
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Orphans:
    """What a look at the folder of checkpoints found."""

    files: list[Orphan] = field(default_factory=list)
    #: Folders of sweeps the record does not know: deleted ones, or another record's.
    unknown: list[Path] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """What deleting the files frees."""
        return sum(file.bytes for file in self.files)


def find_orphans(engine: Engine, checkpoints: Path) -> Orphans:
    """Every file below the folder that nothing needs; nothing is deleted."""
    folders = sorted(path for path in _entries(checkpoints) if path.is_dir())
    with reading(engine) as conn:
        known = known_sweeps(conn, [folder.name for folder in folders])
    found = Orphans(unknown=[folder for folder in folders if folder.name not in known])
    for folder in folders:
        if folder.name in known:
            found.files.extend(_orphans_of(engine, checkpoints, folder))
    return found


def collect(engine: Engine, checkpoints: Path) -> Orphans:
    """Delete every file that nothing needs; what was deleted."""
    found = find_orphans(engine, checkpoints)
    for orphan in found.files:
        orphan.path.unlink(missing_ok=True)
    if found.files:
        structlog.get_logger().info(
            "checkpoints collected", files=len(found.files), bytes=found.bytes
        )
    return found


def _orphans_of(engine: Engine, checkpoints: Path, folder: Path) -> Iterator[Orphan]:
    files = [(path, _lease(path)) for path in sorted(folder.rglob("*")) if path.is_file()]
    with reading(engine) as conn:
        needed = needed_checkpoints(conn, folder.name)
    for path, lease in files:
        if lease is not None and not _is_needed(path.relative_to(checkpoints), lease, needed):
            yield Orphan(path=path, bytes=_size(path))


def _is_needed(path: Path, lease: tuple[int, int], needed: Needed) -> bool:
    return path.as_posix() in needed.paths or lease in needed.leases


def _lease(path: Path) -> tuple[int, int] | None:
    """Pack and fence a checkpoint, finished or half written, is named after; None: it is not one.

    `800-7-2.pt`, and beside it while it is written `800-7-2.pt.4711.tmp`.
    """
    name = path.name.partition(".pt")[0]
    parts = name.split("-")
    if ".pt" not in path.name or len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    return int(parts[1]), int(parts[2])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # its trial has tidied it up meanwhile


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
