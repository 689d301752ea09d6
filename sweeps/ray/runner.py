"""A sweep on Ray: its packs as Tune trials.

The record is the queue and the truth, Tune only the executor. Its searcher leases packs from the
queue; its actors write to the record themselves and lease the next pack as they complete one; its
callbacks are advisory, because Tune may end a trial without calling them and aborts everything
when one raises. `Tuner.restore` is never used: a new runner asks the queue what is left. Ray's own
settings are environment variables, which the process that starts this one sets
(`service/control/keeper.py`).
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import ray

from sweeps.ray.cluster import nodes
from sweeps.ray.hand import ConnectQueue, Hand
from sweeps.ray.placement import Demand, fit
from sweeps.recorder import ConnectRecorder


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
    ray.init(address=address, log_to_driver=True, logging_level="warning")
    hand = Hand(connect_queue)
    try:
        # Tune takes a second to load; Ray starts the processes of the actors meanwhile.
        from sweeps.ray.tuner import actors, make_tuner

        fitting = fit(demand, nodes())
        trainable = actors(
            fitting,
            connect_recorder=connect_recorder,
            checkpoints=checkpoints,
            checkpoint_seconds=checkpoint_seconds,
            prepare=prepare,
        )
        tuner = make_tuner(trainable, hand, fitting, scratch)
        with hand.renewing():
            tuner.fit()
    finally:
        ray.shutdown()
        hand.release_all()
        shutil.rmtree(scratch, ignore_errors=True)
