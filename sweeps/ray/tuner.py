"""The Tuner that trains a sweep, and its kind of actor."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution import tune_controller

from sweeps.ray.hand import Hand
from sweeps.ray.placement import Demand
from sweeps.ray.searcher import ActorCache, PackSearcher, ReleaseFailed
from sweeps.ray.trainable import PackTrainable


def actors(demand: Demand, **shared: Any) -> type[PackTrainable]:
    """The trainable, with what every trial needs and what `PackTrainable.setup` is given."""
    trainable = tune.with_parameters(PackTrainable, **shared)
    placed: type[PackTrainable] = tune.with_resources(
        trainable, {"cpu": demand.cpu, "gpu": demand.gpu}
    )
    # It names the actors' processes.
    placed.__name__ = placed.__qualname__ = PackTrainable.__name__
    return placed


def make_tuner(
    trainable: type[PackTrainable], hand: Hand, demand: Demand, scratch: Path
) -> tune.Tuner:
    """A Tuner that goes on until the queue is exhausted.

    Side effect: Tune's cache of actors is ours from here on, in this whole process.
    """
    # It misses the files that Tune's own loggers would have written.
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    tune_controller._ObjectCache = partial(ActorCache, hand)
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=PackSearcher(hand, demand),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            callbacks=[ReleaseFailed(hand)],
            failure_config=tune.FailureConfig(max_failures=0, fail_fast=False),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
