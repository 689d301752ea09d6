"""Ray, all of it: a sweep's packs as Tune trials, and the process that holds a local cluster.

The record is the queue and the truth, Tune only the executor. Its searcher leases packs from the
queue; its actors write to the record themselves; its callbacks are advisory, because Tune may end a
trial without calling them and aborts everything when one raises. `Tuner.restore` is never used: a
new runner asks the queue what is left. Ray's own settings are environment variables, which the
process that starts this one sets (`service/control/keeper.py`).
"""

import gc
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import structlog
from ray import tune
from ray.tune.execution import tune_controller
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

from sweeps.recorder import Fenced, PackQueue, PackWork, Recorder

#: Seconds between renewals of a pack that waits for its actor; a lease lasts 30.
RENEW_SECONDS = 5.0
#: Seconds between two looks at a queue that had nothing to lease, and at the cluster's size.
POLL_SECONDS = 0.5
#: Bytes of a local cluster's object store: no big object passes through it.
OBJECT_STORE_BYTES = 100 * 2**20

ConnectQueue = Callable[[], PackQueue]
ConnectRecorder = Callable[[PackWork], Recorder]


class ClusterTooSmall(Exception):
    """No node of the cluster can ever run one trial of this sweep."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one trial of the sweep needs."""

    cpu: int
    gpu: float = 0.0


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
    hand = _Hand(connect_queue)
    tune_controller._ObjectCache = partial(_ActorCache, hand)
    try:
        fitting = fit(demand, _nodes())
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


def _nodes() -> list[Mapping[str, float]]:
    """What each living node of the cluster offers, by resource."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def fit(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> Demand:
    """What a trial really gets: never more processors than the largest node it can run on has.

    Processors are a matter of speed, not of results; a GPU that is not there is an error.

    Raises:
        ClusterTooSmall: No node has the GPU.
    """
    most_gpu = max(node.get("GPU", 0) for node in nodes)
    if demand.gpu > most_gpu:
        raise ClusterTooSmall(
            f"resources.gpu is {demand.gpu:g}: the largest node has {most_gpu:g}; use 0 for "
            "processors, or start a node with a GPU"
        )
    able = [node for node in nodes if node.get("GPU", 0) >= demand.gpu]
    most_cpu = int(max(node.get("CPU", 0) for node in able))
    return Demand(cpu=max(1, min(demand.cpu, most_cpu)), gpu=demand.gpu)


def slots(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials the cluster can hold at once, at least one.

    A trial runs on one node, and a share of a GPU is of one GPU: what is left over on several
    cannot be put together.
    """
    return max(1, sum(_room(demand, node) for node in nodes))


def _room(demand: Demand, node: Mapping[str, float]) -> int:
    room = int(node.get("CPU", 0) // demand.cpu)
    if demand.gpu:
        # Ten times 0.1 is one, whatever floating point makes of it.
        trials_a_gpu = int(1 / demand.gpu + 1e-6)
        room = min(room, int(node.get("GPU", 0)) * trials_a_gpu)
    return room


class _Hand:
    """The packs this runner has claimed. Shared by searcher, callback and renewing thread.

    Tune copies and pickles what it is given, so the connection is made on first use and copies
    stay the same object.
    """

    def __init__(self, connect_queue: ConnectQueue) -> None:
        self._connect_queue = connect_queue
        self._queue: PackQueue | None = None
        self._lock = threading.Lock()
        self._live: dict[str, PackWork] = {}
        self._waiting: dict[int, PackWork] = {}
        #: Whether the queue had nothing to lease since a trial began or ended.
        self.idle = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hand, (self._connect_queue,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Hand":
        return self

    @property
    def queue(self) -> PackQueue:
        """The queue, as this process sees it."""
        if self._queue is None:
            self._queue = self._connect_queue()
        return self._queue

    def __len__(self) -> int:
        return len(self._live)

    def take(self, trial_id: str, work: PackWork) -> None:
        """Hold a pack that was claimed for a trial."""
        with self._lock:
            self.idle = False
            self._live[trial_id] = work
            self._waiting[work.pack_id] = work

    def started(self, pack_id: int) -> None:
        """The trial's actor renews the lease from here on."""
        with self._lock:
            self._waiting.pop(pack_id, None)

    def ended(self, trial_id: str) -> None:
        """The trial's slot is free."""
        with self._lock:
            self.idle = False
            work = self._live.pop(trial_id, None)
            if work is not None:
                self._waiting.pop(work.pack_id, None)

    def release_all(self) -> None:
        """Give back what this runner leaves unfinished, when all its actors have ended."""
        for work in list(self._live.values()):
            try:
                self.queue.release(work.pack_id, work.fence, None)
            except Exception as error:
                _warn("pack not released", error, pack=work.pack_id)

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Keep the leases of packs that wait for an actor, in a thread."""
        closed = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(closed,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            closed.set()
            thread.join()

    def _renew_until(self, closed: threading.Event) -> None:
        while not closed.wait(RENEW_SECONDS):
            with self._lock:
                waiting = list(self._waiting.values())
            for work in waiting:
                self._renew(work)

    def _renew(self, work: PackWork) -> None:
        try:
            self.queue.renew(work.pack_id, work.fence)
        except Fenced:
            self.started(work.pack_id)
        except Exception as error:
            _warn("lease of a waiting pack not renewed", error, pack=work.pack_id)


class _ActorCache(_ObjectCache):
    """Tune's actors without a trial, given up while there is nothing to lease.

    Tune keeps one in case another trial comes, and with it a processor, which another sweep may be
    waiting for while this one may lease nothing.
    """

    def __init__(self, hand: _Hand, may_keep_one: bool = True) -> None:
        super().__init__(may_keep_one=may_keep_one)
        self._hand = hand

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """The actors to end now."""
        self._may_keep_one = not self._hand.idle
        yield from super().flush_cached_objects(force_all=force_all)
        self._may_keep_one = True


class PackSearcher(Searcher):
    """Tune's source of trials: packs leased from the queue.

    Tune waits inside its loop while no trial lives, so the end must come from `suggest`.
    """

    def __init__(self, hand: _Hand, demand: Demand) -> None:
        super().__init__(metric=None, mode=None)
        self._hand = hand
        self._demand = demand
        self._slots = 0
        self._counted = self._vain = float("-inf")

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A leased pack, None without a slot or anything to lease, FINISHED when none remain.

        Also when a sweep of a greater priority goes first and no trial is left here: this runner's
        processors are the other one's then, and the scheduler starts another when it is due.
        """
        now = time.monotonic()
        if now - self._counted >= POLL_SECONDS:
            self._slots, self._counted = slots(self._demand, _nodes()), now
        if now - self._vain < POLL_SECONDS or len(self._hand) >= self._slots:
            return None
        try:
            work = self._hand.queue.claim()
            if work is None:
                self._vain = now
                self._hand.idle = True
                return Searcher.FINISHED if self._is_over() else None
        except Exception as error:
            self._vain = now
            _warn("queue not readable", error)
            return None
        self._hand.take(trial_id, work)
        return {"work": work}

    def _is_over(self) -> bool:
        # Without a trial Tune would wait for the next one and let no actor go meanwhile.
        steps_aside = not self._hand and self._hand.queue.outranked()
        return steps_aside or self._hand.queue.exhausted()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the trial's slot."""
        self._hand.ended(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: the record is the queue."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class ReleaseFailed(tune.Callback):
    """Gives a pack back as soon as its actor has died, instead of when its lease runs out."""

    def __init__(self, hand: _Hand) -> None:
        self._hand = hand

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The actor holds the lease now."""
        self._hand.started(trial.config["work"].pack_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Not charged to the pack; without effect when the worker has reported by itself."""
        work: PackWork = trial.config["work"]
        try:
            error = str(trial.get_error() or "the worker process died")
            self._hand.queue.release(work.pack_id, work.fence, error)
        except Exception as error:
            _warn("pack not released", error, pack=work.pack_id)


class PackTrainable(tune.Trainable):
    """One actor: trains pack after pack, a flush of rows a step."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        connect_recorder: ConnectRecorder,
        checkpoints: Path,
        checkpoint_seconds: float,
        prepare: Callable[[], None] | None,
    ) -> None:
        """Begin the first pack."""
        import sweeps.trial  # noqa: F401

        # Modules stay. Once only: what a pack leaves behind is to be collected.
        gc.freeze()
        if prepare is not None:
            prepare()
        self._leave = threading.Event()
        # Ray's own handler would end the process at once. Its SIGKILL follows, if it was Ray's.
        signal.signal(signal.SIGTERM, lambda *_: self._leave.set())
        self._connect_recorder = connect_recorder
        self._checkpoints = checkpoints
        self._checkpoint_seconds = checkpoint_seconds
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another pack in the same process."""
        # The driver needs no torch, and this file is all it loads.
        from sweeps.lease import leave_process
        from sweeps.trial import trial_steps

        work: PackWork = new_config["work"]
        self._steps = trial_steps(
            work,
            self._connect_recorder(work),
            checkpoints=self._checkpoints,
            checkpoint_seconds=self._checkpoint_seconds,
            on_hang=leave_process,
            told_to_leave=self._leave.is_set,
        )
        return True

    def step(self) -> dict[str, Any]:
        """Train up to the next flush.

        Raises:
            RuntimeError: The training raised, or this machine is about to be taken away. The record
                has been told; raising makes Tune discard this process.
        """
        try:
            return {"step": next(self._steps), "done": False}
        except StopIteration as end:
            if end.value == "failed":
                # Its CUDA context may be broken.
                raise RuntimeError("the training raised; its pack was charged") from None
            if self._leave.is_set():
                raise RuntimeError("told to leave; its pack was given back") from None
            return {"done": True}

    def cleanup(self) -> None:
        """Leave the trial where it is."""
        self._steps.close()


def _warn(event: str, error: Exception, **facts: Any) -> None:
    structlog.get_logger().warning(event, error=repr(error), **facts)


@contextmanager
def local_cluster(cpus: int, folder: str) -> Iterator[str]:
    """Hold a Ray cluster of this machine alone, open to this machine alone.

    Args:
        cpus: Processors its trials may use.
        folder: A short path for its files and sockets.

    Yields:
        Its address, for `run_on_ray` in other processes of the same `RAY_AUTH_TOKEN_PATH`.
    """
    context = ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=folder,
        logging_level="warning",
    )
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


def end_broken_cluster() -> bool:
    """End this process's cluster at once if a process it cannot be without has died.

    Asking it, or ending it in order, would take as long as Ray tries to connect: half a minute.

    Returns:
        Whether it was ended.
    """
    node = ray._private.worker._global_node
    died = {kind for kind, _ in node.dead_processes()} if node is not None else set()
    if not died & {"gcs_server", "raylet"}:
        return False
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    return True


def cluster_lives() -> bool:
    """Whether the cluster that this process holds still answers."""
    try:
        return any(node["Alive"] for node in ray.nodes())
    except Exception:
        return False
