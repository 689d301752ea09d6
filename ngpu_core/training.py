"""The training loop: a pack of seeds from its current state to the end, as events.

On a CPU each seed is computed on its own, in as many threads as there are, which keeps its working
set in cache and its numbers equal to the last bit; on a GPU those that share a shape are computed
at once. Either way a seed ends where it would alone.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngpu_core.ahead import DataAhead, Drawn
from ngpu_core.config import RunConfig
from ngpu_core.curriculum import Curriculum
from ngpu_core.descent import descent
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.choice import choose
from ngpu_core.engines.engine import Differentiated, Engine
from ngpu_core.epoch import Epoch
from ngpu_core.evaluation.carry_threshold import carry_threshold
from ngpu_core.evaluation.generalization import evaluate_seed, to_bin
from ngpu_core.evaluation.predictor import TrainedSeed
from ngpu_core.evaluation.probing import probe_seed
from ngpu_core.evaluation.short_tests import evaluate_short, promising
from ngpu_core.events import EpochEnd, Event, Outcome, Progress, SeedEnded
from ngpu_core.gradient_noise import UNCLIPPED, GradientNoise, add_gradient_noise
from ngpu_core.models.network import Bin
from ngpu_core.optimizers import clip_to_norm, optimizer
from ngpu_core.packing import SeedPack
from ngpu_core.relaxation import add_pull, average_copies

#: Seconds between two `Progress` events.
PROGRESS_SECONDS = 1.0
#: About how long the seeds of a pack train, each at its own pace, before they wait for each other.
STRETCH_SECONDS = 0.25
NOT_FINITE = "the loss or its gradient is not a finite number"


@dataclass(kw_only=True)
class SeedProgress:
    """One seed's changing state beside its tensors."""

    curriculum: Curriculum
    first_loss: float | None = None
    epoch: Epoch = field(default_factory=Epoch)
    #: Sequence error of the last whole epoch, of the task that did worst.
    epoch_error: float = 1.0
    tested_at: int = -1


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Why a seed trains no further, and since which step."""

    step: int
    reason: str


class PackTrainer:
    """Trains the seeds of one pack.

    Args:
        config: What to train; equal for all seeds.
        seeds: P distinct seeds.
        device: `cpu` or `cuda`.
        threads: Processor threads to use.
        engine: What computes; by default the fastest that can.

    Raises:
        ValueError: `seeds` is empty or repeats a seed.
    """

    def __init__(
        self,
        config: RunConfig,
        seeds: Sequence[int],
        *,
        device: str = "cpu",
        threads: int = 1,
        engine: Engine | None = None,
    ) -> None:
        self.config = config
        self.device = device
        share = max(1, threads // max(1, len(seeds)))
        self.engine = engine or choose(config, device=device, threads=share)
        self.pack = SeedPack.initialize(self.engine.network, seeds, device)
        side_by_side = min(threads, len(seeds)) if self.engine.releases_interpreter else 1
        self._threads = ThreadPoolExecutor(side_by_side) if side_by_side > 1 else None
        self._noise = GradientNoise(training=config.training)
        clip_norm = UNCLIPPED if self._noise.follows_clipping else config.training.clip_norm
        update = optimizer(replace(config.training, clip_norm=clip_norm))
        update.prepare(self.pack)
        self._descent = descent(self.engine.network, update, self.pack)
        self._alone = {seed: self.pack.alone(seed) for seed in self.pack.seeds}
        self.step = 0
        self._progress = {
            seed: SeedProgress(curriculum=Curriculum.start(config)) for seed in self.pack.seeds
        }
        self._active = list(self.pack.seeds)
        self._at_once = [self.pack.seeds] if self.engine.seeds_at_once else _singly(self.pack.seeds)
        self._data = {seeds: DataAhead(config, seeds) for seeds in self._at_once}
        self._stretch = 1

    def seed_state(self, seed: int) -> dict[str, Any]:
        """One seed's weights and training state, between two epochs: tensors and plain values."""
        progress = self._progress[seed]
        return {
            "seed": seed,
            "step": self.step,
            "config": self.config.to_mapping(),
            "tensors": self.pack.seed_tensors(seed),
            "curriculum": progress.curriculum.to_mapping(),
            "first_loss": progress.first_loss,
            "epoch_error": progress.epoch_error,
            "tested_at": progress.tested_at,
        }

    def load_seed_states(self, states: Mapping[int, Mapping[str, Any]]) -> None:
        """Go on from checkpoints: one state a seed of this pack, all at one step.

        Raises:
            ValueError: A seed is missing, the steps differ, or a state is of another configuration.
        """
        steps = {state["step"] for state in states.values()}
        if set(states) != set(self.pack.seeds) or len(steps) != 1:
            raise ValueError(
                f"checkpoints of seeds {sorted(states)} at steps {sorted(steps)}: "
                f"need seeds {sorted(self.pack.seeds)} at one step"
            )
        for seed, state in states.items():
            if state["config"] != self.config.to_mapping():
                raise ValueError(f"the checkpoint of seed {seed} is of another configuration")
            self.pack.load_seed_tensors(seed, state["tensors"])
            progress = self._progress[seed]
            progress.curriculum = Curriculum.from_mapping(state["curriculum"])
            progress.first_loss = state["first_loss"]
            progress.epoch_error = state["epoch_error"]
            progress.tested_at = state["tested_at"]
            progress.epoch = Epoch()
        self.step = steps.pop()

    def close(self) -> None:
        """End the threads; training may go on, with new ones."""
        for data in self._data.values():
            data.close()

    def events(self) -> Iterator[Event]:
        """Train to the end, yielding facts as they become true."""
        try:
            yield from self._train()
        finally:
            self.close()

    def _train(self) -> Iterator[Event]:
        reported = time.monotonic()
        while self._active:
            yield from self._diverged(self.train_steps(self.stretch()))
            if time.monotonic() - reported >= PROGRESS_SECONDS:
                reported = time.monotonic()
                yield Progress(step=self.step, active=tuple(self._active))
            last = self.step >= self.config.training.max_steps
            if self.step % self.config.training.steps_per_epoch == 0 or last:
                yield from self._end_epoch()
            if self.step % self.config.evaluation.every == 0 or last:
                yield from self._evaluate(last=last)
            if last:
                yield from self._finish(list(self._active), "trained to its last step")
            if self.step % self.config.training.steps_per_epoch == 0:
                yield EpochEnd(step=self.step, active=tuple(self._active))

    def stretch(self) -> int:
        """Steps to train at one go: about `STRETCH_SECONDS` of them, no further than a decision.

        Seeds side by side are never equally fast: the longer the stretch, the less one waits.
        """
        training = self.config.training
        decided = (training.steps_per_epoch, self.config.evaluation.every)
        to_decision = min(every - self.step % every for every in decided)
        return max(1, min(self._stretch, to_decision, training.max_steps - self.step))

    def train_steps(self, count: int) -> dict[int, Divergence]:
        """Some updates of every active seed, within an epoch; those that diverged.

        A seed that diverges is updated no further.
        """
        began = time.perf_counter()
        steps = range(self.step + 1, self.step + count + 1)
        each = self._threads.map if self._threads else map
        diverged: dict[int, Divergence] = {}
        for found in each(lambda seeds: self._train_seeds(seeds, steps), self._at_once):
            diverged |= found
        self.step += count
        seconds_a_step = (time.perf_counter() - began) / count
        self._stretch = max(1, int(STRETCH_SECONDS / seconds_a_step))
        return diverged

    def _train_seeds(self, seeds: tuple[int, ...], steps: range) -> dict[int, Divergence]:
        """Some updates of the active ones of seeds that are computed at once."""
        lengths = {
            seed: self._progress[seed].curriculum.lengths for seed in seeds if seed in self._active
        }
        diverged: dict[int, Divergence] = {}
        for step in steps:
            drawn = self._data[seeds].take(step, lengths) if lengths else {}
            for alike in _alike(drawn):
                for seed, reason in self._update(alike, step).items():
                    diverged[seed] = Divergence(step=step, reason=reason)
                    del lengths[seed]
        return diverged

    def _update(self, drawn: Mapping[int, Drawn], step: int) -> dict[int, str]:
        """One update of seeds alike in shape; the reason for each that diverged."""
        seeds, bins = list(drawn), self._bins(drawn)
        pack = self.pack.subset(seeds) if len(seeds) > 1 else self._alone[seeds[0]]
        curricula = [self._progress[seed].curriculum for seed in seeds]
        weights = np.array([one.saturation_weight for one in curricula], np.float32)
        found = self.engine.differentiate(
            pack.parameters,
            bins,
            self._dropout(seeds, step),
            torch.from_numpy(weights).to(self.device),
        )
        gradients = pack.layout.rows(found.gradients)
        pulls = self._add_noise(pack, gradients, step)
        losses = found.losses.tolist()
        self._count(drawn, bins, found, losses)
        diverging = self._diverging(seeds, losses)
        finite = self._descent.update(
            pack,
            gradients,
            pulls=pulls,
            rates=[one.learning_rate for one in curricula],
            active=[seed not in diverging for seed in seeds],
            step=step,
        )
        self.pack.store(pack)
        not_finite = [seed for seed, is_finite in zip(seeds, finite, strict=True) if not is_finite]
        return diverging | dict.fromkeys(not_finite, NOT_FINITE)

    def _add_noise(self, pack: SeedPack, gradients: Tensor, step: int) -> list[float]:
        """Noise on the gradients (S, N) of a pack; the weights of the pull still to be added."""
        progress = [self._progress[seed] for seed in pack.seeds]
        pulls = [one.curriculum.pull for one in progress]
        if self._noise.follows_clipping:
            weights = torch.tensor(pulls, dtype=gradients.dtype, device=gradients.device)
            add_pull(self.engine.network, pack, gradients, weights)
            clip_to_norm(gradients, self.config.training.clip_norm)
            pulls = [0.0] * len(pulls)
        deviations = [
            self._noise.deviation(
                step=step,
                learning_rate=one.curriculum.learning_rate,
                sequence_error=one.epoch_error,
            )
            for one in progress
        ]
        add_gradient_noise(gradients, pack.seeds, deviations, step)
        return pulls

    def _bins(self, drawn: Mapping[int, Drawn]) -> list[Bin]:
        """Batches of some seeds, alike in shape, as bins."""
        places = [one.place for one in drawn.values()]
        return [
            to_bin([batch for batch, _ in alike], alike[0][1], self.device, places)
            for alike in zip(*(one.bins for one in drawn.values()), strict=True)
        ]

    def _dropout(self, seeds: Sequence[int], step: int) -> HashedDropout:
        return HashedDropout(
            seeds=seeds,
            step=step,
            probability=self.config.training.dropout,
            scaled_by=8 if self.config.model.dropped == "state" else 0,
        )

    def _count(
        self,
        drawn: Mapping[int, Drawn],
        bins: list[Bin],
        found: Differentiated,
        losses: list[float],
    ) -> None:
        """Add in-curriculum batches to each seed's epoch."""
        length = max(batch.targets.shape[2] for batch in bins)
        padded = max(batch.padded_length for batch in bins)
        rows = zip(drawn, losses, found.saturation.tolist(), found.counts.tolist(), strict=True)
        for seed, loss, cost, row in rows:
            progress, place = self._progress[seed], drawn[seed].place
            counts = progress.epoch.of(place)
            if length <= progress.curriculum.lengths[place]:
                weighted = progress.curriculum.saturation_weight * cost
                counts.add(loss, weighted, row, padded)

    def _diverging(self, seeds: Sequence[int], losses: list[float]) -> dict[int, str]:
        """Why each seed diverges whose loss says so."""
        reasons = {}
        factor = self.config.training.divergence_factor
        for seed, loss in zip(seeds, losses, strict=True):
            progress = self._progress[seed]
            if progress.first_loss is None:
                progress.first_loss = loss
            if not isfinite(loss):
                reasons[seed] = NOT_FINITE
            elif loss > factor * progress.first_loss:
                first = f"{progress.first_loss:.3g}"
                reasons[seed] = f"loss {loss:.3g} is above {factor:g} times the first, {first}"
        return reasons

    def _diverged(self, diverged: Mapping[int, Divergence]) -> Iterator[Event]:
        for seed, one in diverged.items():
            self._active.remove(seed)
            yield SeedEnded(seed=seed, outcome=Outcome.DIVERGED, step=one.step, reason=one.reason)

    def _end_epoch(self) -> Iterator[Event]:
        """Report each seed's epoch and let its curriculum decide; stop those that may."""
        whole = self.step % self.config.training.steps_per_epoch == 0
        stopped = []
        for seed in self._active:
            progress = self._progress[seed]
            yield from progress.epoch.events(self.config, progress.curriculum, seed, self.step)
            if not whole:
                continue
            progress.epoch_error = progress.epoch.sequence_error
            mastered = progress.curriculum.at_full_length(self.config)
            progress.curriculum = progress.curriculum.after_epoch(
                self.config, progress.epoch.statistics()
            )
            if progress.curriculum.average_copies:
                average_copies(self.engine.network, self.pack, seed)
            if mastered and progress.epoch_error <= self.config.training.stop_error:
                stopped.append(seed)
            progress.epoch = Epoch()
        if stopped and self.step < self.config.training.max_steps:
            limit = self.config.training.stop_error
            yield from self._finish(stopped, f"training sequence error at or below {limit:g}")

    def _evaluate(self, *, last: bool) -> Iterator[Event]:
        bound = self.config.evaluation.only_below
        for seed in self._active:
            well = bound >= 1 or self._progress[seed].epoch_error < bound
            yield from self._test(seed, last=last, well=well)

    def _test(self, seed: int, *, last: bool = True, well: bool = True) -> Iterator[Event]:
        """The short lengths, and unless training or they go badly, the long ones."""
        progress = self._progress[seed]
        if progress.tested_at == self.step:
            return
        progress.tested_at = self.step
        alone = self.pack.alone(seed).parameters
        short = list(evaluate_short(self.engine, self.config, alone, seed, self.step))
        yield from short
        if last or (well and promising(self.config, short)):
            yield from evaluate_seed(self.engine, self.config, alone, seed, self.step)

    def _finish(self, seeds: list[int], reason: str) -> Iterator[Event]:
        """The last test of some seeds, their carries, their probes, and their end."""
        for seed in seeds:
            yield from self._test(seed)
            alone = self.pack.alone(seed).parameters
            yield from carry_threshold(self.engine, self.config, alone, seed, self.step)
            asked = TrainedSeed(engine=self.engine, parameters=alone)
            for result in probe_seed(asked, self.config, seed, self.step):
                yield result or Progress(step=self.step, active=tuple(self._active))
            self._active.remove(seed)
            yield SeedEnded(seed=seed, outcome=Outcome.FINISHED, step=self.step, reason=reason)


def _singly(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    return [(seed,) for seed in seeds]


def _alike(drawn: Mapping[int, Drawn]) -> list[dict[int, Drawn]]:
    """One step's batches, those together that are alike in shape."""
    by_shape: dict[tuple[tuple[int, ...], ...], dict[int, Drawn]] = {}
    for seed, one in drawn.items():
        by_shape.setdefault(one.shape, {})[seed] = one
    return list(by_shape.values())
