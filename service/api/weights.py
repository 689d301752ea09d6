"""`/seeds/{id}/checkpoint`: one seed's weights and training state, as a file."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from db.pointers import checkpoint_of
from service.api.seeds import SeedRunId
from service.dependencies import ConnectionDep, SettingsDep
from service.problems import responses
from service.refusals import NoWeights

router = APIRouter(prefix="/seeds/{seed_run_id}", tags=["seeds"], responses=responses(404, 422))

MEDIA_TYPE = "application/octet-stream"
#: Bytes read and sent at once.
CHUNK = 2**18
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A file that `torch.load(…, weights_only=True)` reads. `Repr-Digest` is the "
        "SHA-256 that was recorded when it was written.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/checkpoint", response_class=StreamingResponse, responses=_FILE)
def seed_checkpoint(
    seed_run_id: SeedRunId, conn: ConnectionDep, settings: SettingsDep
) -> StreamingResponse:
    """Its last checkpoint; of one that has finished, its final weights."""
    found = checkpoint_of(conn, seed_run_id)
    if found is None:
        raise NoWeights(seed_run_id, "it has written no checkpoint, or that was deleted")
    file = _opened(seed_run_id, settings.checkpoints, found["path"])
    digest = base64.b64encode(bytes.fromhex(found["sha256"])).decode()
    headers = {
        "Content-Length": str(os.fstat(file.fileno()).st_size),
        "Content-Disposition": f'attachment; filename="seed-run-{seed_run_id}.pt"',
        "Repr-Digest": f"sha-256=:{digest}:",
    }
    return StreamingResponse(_chunks(file), headers=headers, media_type=MEDIA_TYPE)


def _opened(seed_run_id: int, folder: Path, name: str) -> BinaryIO:
    """An open file outlives its deletion by the next checkpoint."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise NoWeights(seed_run_id, "their path leads out of the folder of checkpoints")
    try:
        return path.open("rb")
    except OSError as error:
        raise NoWeights(seed_run_id, f"{name} cannot be read: {error.strerror}") from error


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
