"""What the soak trains: small sweeps of three configurations, drawn from a seeded generator."""

from itertools import count
from random import Random
from typing import Any

#: Seeds that sweeps begin within, so that many sweeps train the same seeds.
SEEDS = 12
#: Seeds a trial trains together; the last ones train long enough to leave checkpoints on the way.
TOGETHER = (1, 1, 1, 1, 2, 2, 2, 4, 4, 8)

_NEURAL_GPU = {
    "model.filters": 6,
    "model.height": 2,
    "training.min_length": 3,
    "training.max_length": 6,
}
_GRID = {
    "reverse": {**_NEURAL_GPU, "training.tasks": ["rev"]},
    "add": {**_NEURAL_GPU, "training.tasks": ["badd"], "evaluation.carry_limit": 8},
    "duplicate": {
        "model.family": "diagonal_neural_gpu",
        "model.filters": 8,
        "training.tasks": ["dup"],
    },
}
#: Steps of a seed run: some five seconds of one processor.
STEPS = 6000


def spec(name: str, *, first: int, seeds: int, steps: int, **more: Any) -> dict[str, Any]:
    """A sweep of all configurations."""
    training = {"batch_size": 8, "steps_per_epoch": 100, "bins": [5, 9, 13], "max_steps": steps}
    return {
        "name": name,
        "base": {
            "training": training,
            "evaluation": {"lengths": [7, 11], "sequences": 32, "every": 500},
        },
        "grid": {"task": _GRID},
        "seeds": {"first": first, "count": seeds},
        "success": {"length": 11, "below": 0.5},
        **more,
    }


class Workload:
    """Sweeps without end.

    Args:
        seed: Of the generator they are drawn from.
        seeds: Of a sweep's every configuration.
        steps: Of a seed run.
    """

    def __init__(self, seed: int, seeds: int, steps: int) -> None:
        self.seed_runs = len(_GRID) * seeds
        self._seeds = seeds
        self._steps = steps
        self._random = Random(f"workload {seed}")
        self._serial = count()

    def twins(self, first: int, seeds: int) -> dict[str, Any]:
        """A sweep that trains seeds of earlier ones again, to compare with."""
        return spec(f"twins {first}", first=first, seeds=seeds, steps=self._steps)

    def draw(self) -> dict[str, Any]:
        """The next sweep."""
        random = self._random
        schedule = {
            "priority": random.randrange(3),
            "max_concurrent_trials": random.choice([None, None, None, None, 1, 3]),
        }
        return spec(
            f"soak-{next(self._serial):04}",
            first=random.randrange(SEEDS),
            seeds=self._seeds,
            steps=self._steps,
            resources={"cpu": 1, "seeds_per_trial": random.choice(TOGETHER)},
            schedule=schedule,
        )
