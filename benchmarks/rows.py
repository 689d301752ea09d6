"""The rows of the table: what is measured, against whom, and what must hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from benchmarks.lineup import PeerName
from benchmarks.workload import Workload

#: What a goal looks at: our rate over the faster loop's, over one peer's, our share of the peak, or
#: the loop's memory for as many seeds over ours.
Measure = Literal["loop", "tensorflow", "jax", "fraction_of_peak", "memory"]
LOOPS: tuple[PeerName, ...] = ("naive", "naive-one-process")
NINE_BINS = (8, 12, 16, 20, 25, 28, 31, 36, 41)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One workload.

    Attributes:
        title: What a person reads.
        workload: What everyone computes.
        against: The peers.
        goals: The least that must hold, by measure; none where a row only informs.
        rounds: Turns of each contender.
        seconds: About how long a turn is.
        sequences: Of a test: ours in all, and of each process of a peer a round.
    """

    title: str
    workload: Workload
    against: tuple[PeerName, ...] = LOOPS
    goals: Mapping[Measure, float] = field(default_factory=dict)
    rounds: int = 7
    seconds: float = 1.5
    sequences: tuple[int, int] = (0, 0)


def _neural_gpu(filters: int, length: int, seeds: int) -> Workload:
    return Workload(family="neural_gpu", filters=filters, lengths=(length,), seeds=seeds)


def _diagonal(filters: int, lengths: tuple[int, ...]) -> Workload:
    return Workload(family="diagonal_neural_gpu", filters=filters, lengths=lengths, seeds=4)


CPU: Mapping[str, Row] = MappingProxyType(
    {
        "neural-gpu-24-length-8": Row(
            title="neural_gpu, 24 filters, L = 8",
            workload=_neural_gpu(24, 8, 4),
            goals={"loop": 4.5},
        ),
        "neural-gpu-24-length-20": Row(
            title="neural_gpu, 24 filters, L = 20",
            workload=_neural_gpu(24, 20, 4),
            goals={"loop": 3.5, "fraction_of_peak": 0.85},
        ),
        "neural-gpu-24-length-41": Row(
            title="neural_gpu, 24 filters, L = 41",
            workload=_neural_gpu(24, 41, 4),
            goals={"loop": 3.2},
        ),
        "neural-gpu-128-length-20": Row(
            title="neural_gpu, 128 filters, L = 20",
            workload=_neural_gpu(128, 20, 2),
            goals={"loop": 1.35},
            rounds=5,
        ),
        "diagonal-96-nine-bins": Row(
            title="diagonal, 96 maps, nine bins to 41",
            workload=_diagonal(96, NINE_BINS),
            against=(*LOOPS, "tensorflow"),
            goals={"loop": 3.0, "tensorflow": 2.4},
        ),
        "diagonal-24-four-bins": Row(
            title="diagonal, 24 maps, bins 5, 7, 9, 12",
            workload=_diagonal(24, (5, 7, 9, 12)),
            against=(*LOOPS, "tensorflow"),
            goals={"loop": 5.0},
        ),
        "memory-16-seeds": Row(
            title="16 seeds, 24 filters, L = 41",
            workload=_neural_gpu(24, 41, 16),
            against=("naive",),
            goals={"memory": 40.0},
            rounds=1,
            seconds=0.0,
        ),
        "jax-16-seeds": Row(
            title="16 seeds, 24 filters, L = 20",
            workload=_neural_gpu(24, 20, 16),
            against=("jax",),
            goals={"jax": 7.0},
            rounds=3,
        ),
        "test-neural-gpu-24-length-401": Row(
            title="test, neural_gpu, 24 filters, L = 401",
            workload=Workload(
                family="neural_gpu", filters=24, lengths=(401,), seeds=1, testing=True
            ),
            rounds=4,
            sequences=(1024, 32),
        ),
        "test-neural-gpu-24-length-4001": Row(
            title="test, neural_gpu, 24 filters, L = 4001",
            workload=Workload(
                family="neural_gpu", filters=24, lengths=(4001,), seeds=1, testing=True
            ),
            rounds=1,
            sequences=(4, 1),
        ),
        "test-diagonal-96-length-401": Row(
            title="test, diagonal, 96 maps, L = 401",
            workload=Workload(
                family="diagonal_neural_gpu", filters=96, lengths=(401,), seeds=1, testing=True
            ),
            rounds=4,
            sequences=(1024, 32),
        ),
        "test-diagonal-96-length-4001": Row(
            title="test, diagonal, 96 maps, L = 4001",
            workload=Workload(
                family="diagonal_neural_gpu", filters=96, lengths=(4001,), seeds=1, testing=True
            ),
            rounds=1,
            sequences=(4, 1),
        ),
    }
)

GPU: Mapping[str, Row] = MappingProxyType(
    {
        "neural-gpu-24-length-20": Row(
            title="neural_gpu, 24 filters, L = 20, 64 seeds",
            workload=_neural_gpu(24, 20, 64),
            against=("naive",),
            goals={"loop": 20.0},
        ),
        "neural-gpu-128-length-20": Row(
            title="neural_gpu, 128 filters, L = 20, 16 seeds",
            workload=_neural_gpu(128, 20, 16),
            against=("naive",),
            goals={"loop": 4.0},
        ),
        "diagonal-96-nine-bins": Row(
            title="diagonal, 96 maps, nine bins to 41, 4 seeds",
            workload=_diagonal(96, NINE_BINS),
            against=("naive",),
        ),
        "test-neural-gpu-24-length-401": Row(
            title="test, neural_gpu, 24 filters, L = 401",
            workload=Workload(
                family="neural_gpu", filters=24, lengths=(401,), seeds=1, testing=True
            ),
            against=("naive",),
            rounds=4,
            sequences=(1024, 32),
        ),
    }
)
