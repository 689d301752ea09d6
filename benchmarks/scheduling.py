"""What the service costs a seed: many seeds of a trivial task, beside plain Ray Tune.

    python -m benchmarks.scheduling --seeds 1000 --json
    python -m benchmarks.scheduling --seeds 10000 --without-peer

Packs of one seed go through the real scheduler, runner and Ray cluster of this machine, then the
same seeds through Ray Tune alone, then through a loop of nothing but training, in rounds.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.arguments import positive
from benchmarks.contenders import progress
from benchmarks.machine import cores, describe
from benchmarks.scheduled import Trained, by_a_loop, by_ray_tune, service

#: What must hold: milliseconds a seed beyond the training itself.
GOAL = 25.0


def measure(
    seeds: int, *, rounds: int, database_url: str | None = None, peer: bool = True
) -> dict[str, Any]:
    """Train so many seeds each way, in rounds.

    Args:
        seeds: Of each contender, over all rounds.
        rounds: Turns of each contender; a round has its share of the seeds.
        database_url: Of an empty record; None: a temporary SQLite file.
        peer: Whether Ray Tune takes part.

    Returns:
        Plain values.
    """
    cpus = cores()
    share = max(1, seeds // rounds)
    ours, theirs, alone = list[Trained](), list[Trained](), list[Trained]()
    with service(database_url, cpus) as running:
        for turn in range(1, rounds + 1):
            progress(f"round {turn} of {rounds}: {share} seeds each way")
            ours.append(running.train(share))
            if peer:
                theirs.append(by_ray_tune(share, cpus))
            alone.append(by_a_loop(share, cpus))
    return {
        **figures(ours, theirs, alone),
        "seeds": share * rounds,
        "rounds": rounds,
        "memory": ours[-1].memory,
        "database": (database_url or "sqlite").split(":")[0].split("+")[0],
        "machine": describe({}),
    }


def figures(
    ours: Sequence[Trained], theirs: Sequence[Trained], alone: Sequence[Trained]
) -> dict[str, Any]:
    """Milliseconds a seed, and what of them is not training."""
    own, training = milliseconds(ours), milliseconds(alone)
    overhead = own - training
    return {
        "milliseconds_per_seed": own,
        "ray_tune_milliseconds_per_seed": milliseconds(theirs) if theirs else None,
        "training_milliseconds_per_seed": training,
        "overhead_milliseconds_per_seed": overhead,
        "goal": {"at_most": GOAL, "found": overhead, "met": overhead <= GOAL},
    }


def milliseconds(trained: Sequence[Trained]) -> float:
    """Wall time of the machine a seed, start and end of each sweep among it."""
    return 1000 * sum(one.seconds for one in trained) / sum(one.seeds for one in trained)


def summary(result: dict[str, Any]) -> str:
    """A few lines for people."""
    peer = result["ray_tune_milliseconds_per_seed"]
    beside = f", Ray Tune alone {peer:.1f} ms" if peer else ""
    goal = result["goal"]
    return (
        f"{result['seeds']} seeds: {result['milliseconds_per_seed']:.1f} ms a seed{beside}, "
        f"training {result['training_milliseconds_per_seed']:.1f} ms\n"
        f"  beyond the training {goal['found']:.1f} ms, at most {goal['at_most']:g} ms: "
        + ("met" if goal["met"] else "NOT met")
    )


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=positive, default=1000)
    parser.add_argument("--rounds", type=positive, default=2)
    parser.add_argument("--database-url", help="an empty, migrated record")
    parser.add_argument("--without-peer", action="store_true", help="leave Ray Tune out")
    parser.add_argument("--json", action="store_true", help="print one object")
    asked = parser.parse_args()
    result = measure(
        asked.seeds,
        rounds=min(asked.rounds, asked.seeds),
        database_url=asked.database_url,
        peer=not asked.without_peer,
    )
    print(json.dumps(result, indent=1) if asked.json else summary(result))


if __name__ == "__main__":
    main()
