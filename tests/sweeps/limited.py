"""A trial under a limit of the system: `python -m tests.sweeps.limited FOLDER SEEDS BYTES`.

Its seeds are large and quick: an embedding of a million symbols, of which the task uses four.
"""

import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.sweeps.bench import Bench, claimed
from tests.sweeps.tiny import REVERSE, results

SMALL = replace(
    REVERSE,
    training=replace(REVERSE.training, max_steps=8),
    evaluation=replace(REVERSE.evaluation, every=8),
)
LARGE = replace(SMALL, model=replace(SMALL.model, input_symbols=1_000_000))


def main() -> None:
    """Train seeds with so many bytes more than a process that has trained one small seed."""
    folder, seeds, extra = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    for name in ("small", "large"):
        (folder / name).mkdir()
    Bench(folder / "small", SMALL, [[0]]).finish()
    bench = Bench(folder / "large", LARGE, [list(range(seeds))])
    work = claimed(bench.queue())
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    end = bench.trial(work, flush_seconds=1.0)
    found = results(bench.engine, bench.sweep)["seeds"]
    finished = sum(row[2] == "finished" for row in found)
    print(f"{end.value}: {finished} seeds finished")


if __name__ == "__main__":
    main()
