"""`python -m tests.soak --minutes 60 --seed 1`: an hour of random faults, and what became of it.

Exits with 1 when a number was lost, doubled or changed, an invariant was broken, a process was left
behind, or the work took more than 1.5 times as long as undisturbed.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.soak.soak import Soak
from tests.soak.stack import ForeignDatabase, Postgres
from tests.soak.workload import STEPS

MOST_RATIO = 1.5


def main() -> int:
    """Entry point of the program."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="with faults")
    parser.add_argument("--undisturbed-minutes", type=float, default=10.0, help="before them")
    parser.add_argument("--seed", type=int, default=1, help="of the sweeps and the faults")
    parser.add_argument("--mean-seconds", type=float, default=20.0, help="between two faults")
    parser.add_argument("--cpus", type=int, default=2, help="processors that trials may use")
    parser.add_argument("--seeds", type=int, default=12, help="of a sweep's every configuration")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a seed run")
    parser.add_argument("--database-url", help="an empty database; without it a server is started")
    parser.add_argument("--home", type=Path, help="kept; without it a temporary folder")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    url = arguments.database_url
    database = ForeignDatabase(url) if url else Postgres()
    try:
        with TemporaryDirectory(prefix="ngpu-soak-") as folder:
            report = _soak(arguments, database, arguments.home or Path(folder))
    finally:
        database.close()
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:30} {value}")
    return 0 if report["holds"] and report["ratio"] <= MOST_RATIO else 1


def _soak(
    arguments: argparse.Namespace, database: Postgres | ForeignDatabase, home: Path
) -> dict[str, object]:
    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    soak = Soak(
        home,
        database,
        seed=arguments.seed,
        cpus=arguments.cpus,
        mean_seconds=arguments.mean_seconds,
        seeds=arguments.seeds,
        steps=arguments.steps,
        say=say,
    )
    try:
        return soak.run(
            undisturbed_minutes=arguments.undisturbed_minutes, minutes=arguments.minutes
        )
    finally:
        soak.close()


if __name__ == "__main__":
    sys.exit(main())
