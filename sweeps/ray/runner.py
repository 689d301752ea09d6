"""A sweep on Ray: its packs as Tune trials.

The record is the queue and the truth, Tune only the executor. Its searcher leases packs from the
queue; its actors write to the record themselves and lease the next pack as they complete one; its
callbacks are advisory, because Tune may end a trial without calling them and aborts everything
when one raises. `Tuner.restore` is never used: a new runner asks the queue what is left. Ray's own
settings are environment variables, which the process that starts this one sets
(`service/control/keeper.py`).
"""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ray
from ray import tune
from ray.tune.execution import tune_controller

from sweeps.ray.cluster import nodes
from sweeps.ray.hand import ConnectQueue, Hand
from sweeps.ray.placement import Demand, fit
from sweeps.ray.searcher import ActorCache, PackSearcher, ReleaseFailed
from sweeps.ray.trainable import ConnectRecorder, PackTrainable


def run_on_ray(
    connect_queue: ConnectQueue,
    connect_recorder: ConnectRecorder,
    checkpoints: Path,
    *,
    address: str,
    demand: Demand,
    scratch: Path,
    prepare: Callable[[], None] | None = None,
    checkpoint_seconds: float = 30.0,
) -> None:
    """Run a sweep's trials on the cluster at `address` until its queue is exhausted.

    Args:
        connect_queue: Makes the queue; picklable, like `connect_recorder`.
        connect_recorder: Makes a leased pack's recorder, in the actor that trains it.
        checkpoints: Folder of checkpoints, shared by all nodes.
        address: `host:port` of the cluster; this machine must be a node of it.
        demand: What every trial needs.
        scratch: Tune's folder, deleted afterwards.
        prepare: Called once in every actor, to set up its logging.
        checkpoint_seconds: Least time between two checkpoints of a running seed.

    Raises:
        ClusterTooSmall: A local cluster lacks the GPUs that a trial needs.
    """
    # It misses the files that Tune's own loggers would have written.
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)
    ray.init(address=address, log_to_driver=True, logging_level="warning")
    hand = Hand(connect_queue)
    tune_controller._ObjectCache = partial(ActorCache, hand)
    try:
        fitting = fit(demand, nodes())
        trainable = tune.with_parameters(
            PackTrainable,
            connect_recorder=connect_recorder,
            checkpoints=checkpoints,
            checkpoint_seconds=checkpoint_seconds,
            prepare=prepare,
        )
        placed = tune.with_resources(trainable, {"cpu": fitting.cpu, "gpu": fitting.gpu})
        # It names the actors' processes.
        placed.__name__ = placed.__qualname__ = PackTrainable.__name__
        tuner = tune.Tuner(
            placed,
            tune_config=tune.TuneConfig(
                search_alg=PackSearcher(hand, fitting),
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
        with hand.renewing():
            tuner.fit()
    finally:
        ray.shutdown()
        hand.release_all()
        shutil.rmtree(scratch, ignore_errors=True)
