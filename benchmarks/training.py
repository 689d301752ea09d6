"""Seed-steps a second of our engine beside what a user would run, interleaved in one run.

    python -m benchmarks.training --family neural_gpu --filters 24 --length 20 --seeds 4 --json

A step is all of it on both sides: drawing fresh sequences, forward, backward, optimizer, counting
what was wrong. Every contender has the whole machine while it is its turn. Peers:

    naive              a loop over nn.Conv layers, one process a core with one thread each
    naive-one-process  the same in one process with all threads
    jax                scan over time, vmap over seeds, all seeds in one jitted step
    tensorflow         the unrolled graph of every bin, as the reference of the diagonal family

Machines are shared and noisy: read the ratios, not the seconds.
"""

import json

from benchmarks.arguments import parser, peers, place, positive, possible
from benchmarks.lineup import PEERS
from benchmarks.measure import measure, summary
from benchmarks.workload import Workload


def main() -> None:
    """Parse the command line, measure, print."""
    arguments = parser(__doc__)
    arguments.set_defaults(rounds=7)
    arguments.add_argument("--seconds", type=float, default=1.0, help="about how long a turn is")
    arguments.add_argument("--family", choices=["neural_gpu", "diagonal_neural_gpu"], required=True)
    arguments.add_argument("--filters", type=positive, default=24)
    arguments.add_argument(
        "--length", type=positive, nargs="+", default=[20], help="a bin, or several"
    )
    arguments.add_argument(
        "--seeds", type=positive, default=4, help="that our engine trains at once"
    )
    arguments.add_argument("--batch", type=positive, default=32, help="sequences a bin")
    arguments.add_argument("--against", type=peers, default=("naive",), metavar=",".join(PEERS))
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    asked = arguments.parse_args()
    workload = possible(
        lambda: Workload(
            family=asked.family,
            filters=asked.filters,
            lengths=tuple(sorted(asked.length)),
            seeds=asked.seeds,
            batch=asked.batch,
        )
    )
    result = measure(
        workload, place(asked), asked.against, rounds=asked.rounds, seconds=asked.seconds
    )
    print(json.dumps(result) if asked.json else summary(result))


if __name__ == "__main__":
    main()
