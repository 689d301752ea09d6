"""The states of one question from the first to the last step, as pictures a map (SPECS D).

A map's picture is (T + 1) × L: a line a time step from the top, a column a symbol, and grey from
the map's own smallest value (black) to its own largest (white).
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ngpu_core.evaluation.answers import Answers
from ngpu_core.evaluation.generalization import to_bin
from ngpu_core.evaluation.predictor import TrainedSeed
from ngpu_core.models.diagonal import DiagonalNeuralGPU
from ngpu_core.models.neural_gpu import NeuralGPU
from ngpu_core.tasks.task import Batch

#: State values kept at most: 4 bytes each.
MOST_VALUES = 2**28

Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One question's way through the network."""

    #: (T + 1, m, H, L), the first before any step.
    states: npt.NDArray[np.float32]
    answer: Answers

    @property
    def maps(self) -> int:
        """m."""
        return self.states.shape[1]

    @property
    def rows(self) -> int:
        """H, rows of the state."""
        return self.states.shape[2]

    def picture(self, channel: int, row: int = 0) -> Grey:
        """One row of one map over time, (T + 1, L); a map that never changes is black.

        Args:
            channel: Which map. All its rows share one range of grey.
            row: Which row of the state; answers are read off row 0.
        """
        values = self.states[:, channel]
        low, high = float(values.min()), float(values.max())
        scale = 255 / (high - low) if high > low else 0.0
        return np.rint((values[:, row] - low) * scale).astype(np.uint8)


@torch.no_grad()
def trace(seed: TrainedSeed, question: Batch) -> Trace:
    """Run one question and keep every state, by the network's definition.

    Args:
        seed: Whose weights.
        question: A single problem.

    Raises:
        ValueError: There is more than one problem, the states would not fit in memory, or the
            family has no state that is an image.
    """
    network = seed.network
    if not isinstance(network, NeuralGPU | DiagonalNeuralGPU):
        raise ValueError(f"family {network.config.family} has no state that is an image")
    sequences, length = question.targets.shape
    if sequences != 1:
        raise ValueError(f"{sequences} problems: a trace is of one")
    values = (length + 2) * length * network.config.filters * network.config.height
    if values > MOST_VALUES:
        raise ValueError(
            f"length {length} is too long for a trace: {values:,} state values, "
            f"at most {MOST_VALUES:,}"
        )
    one = to_bin([question], length, seed.device)
    states: list[Tensor] = []
    output = network.forward(
        seed.parameters, [one], watch=lambda state: states.append(state[0, 0].cpu())
    )
    written = output.logits[0].argmax(dim=-1)[0].cpu().numpy().astype(np.int16)
    return Trace(
        states=torch.stack(states).numpy(),
        answer=Answers(
            questions=question, written=written, scored=network.scored(one)[0].cpu().numpy()
        ),
    )


def write_pictures(trace: Trace, folder: Path) -> list[Path]:
    """Write every map as a PNG: `map-007.png`, or `map-007-row-2.png` where there are several rows.

    Side effect: creates the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for channel in range(trace.maps):
        for row in range(trace.rows):
            of_row = f"-row-{row}" if trace.rows > 1 else ""
            path = folder / f"map-{channel:03}{of_row}.png"
            path.write_bytes(png(trace.picture(channel, row)))
            written.append(path)
    return written


def png(picture: Grey) -> bytes:
    """A grey picture (height, width) as a PNG file."""
    height, width = picture.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = picture
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(lines.tobytes(), 9), b"IEND": b""}
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
