"""Sequences and symbols a second in a test at long lengths, beside the naive forward pass.

    python -m benchmarks.evaluation --family neural_gpu --length 401 --sequences 1024 --json
    python -m benchmarks.evaluation --family diagonal_neural_gpu --filters 96 --length 4001

Our side is the test that training runs: one seed, memory bounded whatever the length. The peers are
the networks of nn.Conv layers under `no_grad`, 32 sequences at a time. Drawing is included.
"""

import json
from math import ceil
from typing import get_args

from benchmarks.arguments import parser, peers, place, positive, possible
from benchmarks.lineup import OURS, PeerName, Place
from benchmarks.measure import Result, measure, summary
from benchmarks.workload import Workload
from ngpu_core.config import Family

NAIVE: tuple[PeerName, ...] = ("naive", "naive-one-process")


def evaluate(
    workload: Workload,
    place: Place,
    *,
    sequences: int,
    peer_sequences: int,
    rounds: int,
    against: tuple[PeerName, ...] = NAIVE,
) -> Result:
    """Test that many sequences in as many parts as there are rounds, peers in between.

    Args:
        workload: A test of one family at one length.
        place: Where and with what.
        sequences: What our engine tests in all.
        peer_sequences: What each process of a peer tests a round.
        rounds: Turns of each contender.
        against: The peers.
    """
    part = ceil(sequences / rounds)
    turns = {OURS: part} | {str(name): peer_sequences for name in NAIVE}
    result = measure(workload, place, against, rounds=rounds, fixed=turns)
    return {**result, "sequences": part * rounds}


def main() -> None:
    """Parse the command line, measure, print."""
    arguments = parser(__doc__)
    arguments.set_defaults(rounds=3)
    arguments.add_argument("--family", choices=get_args(Family), default="neural_gpu")
    arguments.add_argument("--filters", type=positive, default=24)
    arguments.add_argument("--length", type=positive, default=401)
    arguments.add_argument("--sequences", type=positive, default=1024, help="that our engine tests")
    arguments.add_argument(
        "--peer-sequences", type=positive, default=32, help="a round and process of a peer"
    )
    arguments.add_argument("--against", type=peers, default=NAIVE, metavar=",".join(NAIVE))
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    asked = arguments.parse_args()
    size = {"family": asked.family, "filters": asked.filters, "lengths": (asked.length,)}
    result = evaluate(
        possible(lambda: Workload(**size, seeds=1, testing=True)),
        place(asked),
        sequences=asked.sequences,
        peer_sequences=asked.peer_sequences,
        rounds=asked.rounds,
        against=asked.against,
    )
    print(json.dumps(result) if asked.json else summary(result))


if __name__ == "__main__":
    main()
