"""Where Tune's trials come from: the queue; and what it is told of their beginnings and ends."""

import time
from collections.abc import Iterator
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.utils.object_cache import _ObjectCache

from sweeps.ray.cluster import nodes
from sweeps.ray.hand import Hand, warn
from sweeps.ray.placement import Demand, slots

#: Seconds between two looks at a queue that had nothing to lease, and at the cluster's size.
POLL_SECONDS = 0.5


class ActorCache(_ObjectCache):
    """Tune's actors without a trial, given up while there is nothing to lease.

    Tune keeps one in case another trial comes, and with it a processor, which another sweep may be
    waiting for while this one may lease nothing.
    """

    def __init__(self, hand: Hand, may_keep_one: bool = True) -> None:
        super().__init__(may_keep_one=may_keep_one)
        self._hand = hand

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """The actors to end now."""
        self._may_keep_one = not self._hand.idle
        yield from super().flush_cached_objects(force_all=force_all)
        self._may_keep_one = True


class PackSearcher(Searcher):
    """Tune's source of trials: packs leased from the queue, each the first of a trial.

    Tune waits inside its loop while no trial lives, so the end must come from `suggest`.
    """

    def __init__(self, hand: Hand, demand: Demand) -> None:
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
            self._slots, self._counted = slots(self._demand, nodes()), now
        if now - self._vain < POLL_SECONDS or len(self._hand) >= self._slots:
            return None
        try:
            work = self._hand.queue.claim(trial_id)
            if work is None:
                self._vain = now
                self._hand.idle = True
                return Searcher.FINISHED if self._is_over() else None
        except Exception as error:
            self._vain = now
            warn("queue not readable", error)
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

    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The actor holds the lease now."""
        self._hand.started(trial.config["work"].pack_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Not charged to the pack; without effect when the worker has reported by itself."""
        try:
            error = str(trial.get_error() or "the worker process died")
            self._hand.release(trial.config["work"], error)
        except Exception as fault:
            warn("pack not released", fault, trial=trial.trial_id)
