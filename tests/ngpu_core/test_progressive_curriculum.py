"""Curricula of several tasks: SPECS B.3 against a second, plain writing of it, and by counting."""

from collections import Counter
from math import exp

import numpy as np
import pytest
import torch
from scipy.stats import binom

from ngpu_core.ahead import draw_step
from ngpu_core.checkpoint import load_seed, save_seed
from ngpu_core.curriculum import Curriculum, EpochStatistics, draw_task
from ngpu_core.data import TrainingData
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.events import EpochEnd, SeedEnded, TrainingEpoch
from ngpu_core.models.families import network
from ngpu_core.tasks.registry import TASKS
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config

KINDS = range(6)
NAMES = ["badd", "badde", "bmul", "scopy", "sbadd", "rev"]
#: On both sides of the two bounds, and on them.
ERRORS = [0.0, 0.005, 0.01, 0.011, 0.15, 0.151, 0.5, 1.0]
HISTORIES = 400
#: So that the ceiling is reached after nine mastered epochs, not thirty.
PULL = 0.02
EPOCHS = 30


def curriculum(kind, tasks, **changes):
    """Changes are of the section training unless they name another, `model__filters`."""
    dotted = {k if "__" in k else f"training__{k}": value for k, value in changes.items()}
    fixed = {
        "training__curriculum": kind,
        "training__tasks": tuple(tasks),
        "training__bins": (48,),
        "model__input_symbols": 33,
        "model__output_symbols": 33,
    }
    return run_config("neural_gpu", **{**fixed, **dotted})


class Plain:
    """What SPECS B.2 and B.3 say, in the order they say it."""

    def __init__(self, kind, valid, low, high, copies):
        self.kind, self.valid, self.low, self.high, self.copies = kind, valid, low, high, copies
        self.lengths = [max(min(low + 3, high), min(lengths)) for lengths in valid]
        self.rate, self.pull, self.recorded = 1e-3, PULL, [1e4] * 3
        self.averages = False

    def code(self, place, error):
        threshold = 0.01 if self.kind == 2 else 1
        if self.kind > 0 and self.lengths[place] == self.high and error > threshold:
            self.lengths[place] = self.high - 1
            return 0
        if error > 0.15:
            return 0
        extended = self.lengths[place] < self.high
        if extended:
            self.lengths[place] += 1
            while self.lengths[place] < self.high and self.lengths[place] not in self.valid[0]:
                self.lengths[place] += 1
        if self.kind > 0 and self.lengths[place] == self.high:
            return 0
        return 2 if extended else 1

    def epoch(self, seen):
        """`seen`: place -> (error, loss)."""
        code = max(self.code(place, error) for place, (error, _) in seen.items())
        self.averages = False
        if code >= 1 and self.copies > 1:
            if self.pull < 0.1:
                self.pull *= 1.2
            else:
                self.averages = True
        perplexity = exp(seen[min(seen)][1])
        if perplexity > max(self.recorded[-3:]):
            self.rate *= 0.98
        self.recorded.append(perplexity)
        if code == 2:
            self.recorded.append(1000)


@pytest.mark.parametrize("kind", KINDS)
def test_every_decision_is_that_of_the_plain_writing_over_hundreds_of_histories(kind):
    generator = np.random.default_rng(kind)
    happened = Counter()
    for _ in range(HISTORIES):
        tasks = list(generator.permutation(NAMES)[: generator.integers(1, 5)])
        low = int(generator.integers(4, 7))
        high = low + int(generator.integers(2, 9))
        copies = int(generator.integers(1, 4))
        config = curriculum(
            kind, tasks, min_length=low, max_length=high, pull=PULL, model__weight_copies=copies
        )
        trained = len(config.training.trained_tasks)
        valid = [{n for n in range(low, high + 1) if TASKS[name].valid(n)} for name in tasks]
        plain = Plain(kind, valid[:trained], low, high, copies)
        ours = Curriculum.start(config)
        errors = ERRORS[: generator.choice([4, 8])]
        for _ in range(EPOCHS):
            places = generator.permutation(trained)[: generator.integers(1, trained + 1)]
            seen = {
                int(place): (float(generator.choice(errors)), float(generator.integers(1, 9) / 4))
                for place in places
            }
            before = (plain.rate, plain.pull, tuple(plain.lengths))
            plain.epoch(seen)
            ours = ours.after_epoch(
                config,
                {
                    place: EpochStatistics(sequence_error=error, loss=loss)
                    for place, (error, loss) in seen.items()
                },
            )
            assert ours.lengths == tuple(plain.lengths)
            assert ours.average_copies == plain.averages
            assert ours.pull == pytest.approx(plain.pull)
            assert ours.learning_rate == pytest.approx(plain.rate)
            assert ours.at_full_length(config) == (min(plain.lengths) == high)
            happened["decayed"] += plain.rate < before[0]
            happened["pulled"] += plain.pull > before[1]
            happened["averaged"] += plain.averages
            happened["full"] += min(plain.lengths) == high
            happened["back"] += any(
                now < then for now, then in zip(plain.lengths, before[2], strict=True)
            )
    wanted = {"decayed", "pulled", "full"} | ({"back"} if kind == 2 else set())
    wanted |= set() if kind else {"averaged"}
    assert {what for what, times in happened.items() if times} >= wanted
    assert (happened["back"] > 0) == (kind == 2)


@pytest.mark.parametrize("kind", KINDS)
def test_at_full_length_a_progression_pulls_no_more_and_still_decays(kind):
    config = curriculum(kind, ["badd", "bmul"], max_length=9)
    full = Curriculum.start(config)
    while not full.at_full_length(config):
        right = dict.fromkeys(
            range(len(full.lengths)), EpochStatistics(loss=1.0, sequence_error=0.0)
        )
        full = full.after_epoch(config, right)
    settled = full
    for _ in range(4):
        settled = settled.after_epoch(config, {0: EpochStatistics(loss=0.1, sequence_error=0.0)})
    worse = settled.after_epoch(config, {0: EpochStatistics(loss=0.2, sequence_error=0.0)})

    assert (worse.pull == full.pull) == (kind > 0)
    assert worse.learning_rate < settled.learning_rate


def test_a_task_whose_only_length_is_the_longest_is_not_put_back_below_it():
    config = curriculum(2, ["badd"], min_length=9, max_length=9)
    wrong = {0: EpochStatistics(loss=1.0, sequence_error=1.0)}
    assert Curriculum.start(config).after_epoch(config, wrong).lengths == (9,)


def test_a_task_starts_at_a_length_it_has():
    config = curriculum(5, ["rev", "badd"], min_length=1)
    assert Curriculum.start(config).lengths == (4, 4)
    longer = [name for name, one in TASKS.items() if one.shortest == 5]
    early = curriculum(1, ["rev", *longer], min_length=1, max_length=9)
    assert Curriculum.start(early).lengths == (4, *[5] * len(longer))


def probabilities(kind, lengths, full):
    """P(task), as SPECS B.3 says it."""
    count = len(lengths)
    every = np.full(count, 1 / count)
    unsolved = np.array([length < full for length in lengths])
    if kind == 0:
        return np.eye(count)[0]
    if not unsolved.any():
        return np.eye(count)[-1] if kind == 5 else every
    first = np.eye(count)[int(unsolved.argmax())]
    if kind == 3:
        return first
    otherwise = unsolved / unsolved.sum() if kind in (4, 5) else every
    return 0.8 * first + 0.2 * otherwise


@pytest.mark.parametrize("lengths", [(8, 8, 8), (9, 8, 7), (9, 9, 8), (9, 9, 9), (8,), (9,)])
@pytest.mark.parametrize("kind", KINDS)
def test_tasks_are_drawn_as_often_as_the_reference_draws_them(kind, lengths):
    config = curriculum(kind, ["badd", "bmul", "rev"][: len(lengths)], max_length=9)
    generator, draws = np.random.default_rng(7), 10_000
    counted = Counter(draw_task(config, lengths, generator) for _ in range(draws))

    for place, share in enumerate(probabilities(kind, lengths, 9)):
        # One in a million on each side, were the share another's.
        low, high = binom.ppf([1e-6, 1 - 1e-6], draws, share)
        assert low <= counted[place] <= high


def test_the_tasks_of_steps_are_fixed_by_seed_and_step_and_drawn_with_the_same_shares():
    config = curriculum(1, ["rev", "id"], min_length=1, max_length=5, batch_size=1)
    steps, seen = range(1, 1001), []
    for seed in (3, 4):
        data = TrainingData(config=config, seed=seed)
        seen.append([draw_step(data, step, (4, 4)).place for step in steps])
    low, high = binom.ppf([1e-6, 1 - 1e-6], len(steps), 0.1)

    assert seen[0] != seen[1]
    assert all(low <= sum(places) <= high for places in seen)
    again = TrainingData(config=config, seed=3)
    assert [draw_step(again, step, (4, 4)).place for step in reversed(steps)] == seen[0][::-1]


def test_tasks_draw_from_pools_and_streams_of_their_own():
    config = curriculum(1, ["badd", "baddt"], examples_per_length=5)
    data = TrainingData(config=config, seed=0)
    first, second = (data.curriculum_batch(1, 9, place) for place in (0, 1))
    assert not np.array_equal(first.inputs, second.inputs)
    assert set(data._pools) == {(0, 9), (1, 9)}
    alone = TrainingData(config=curriculum(0, ["badd"], examples_per_length=5), seed=0)
    assert np.array_equal(first.inputs, alone.curriculum_batch(1, 9).inputs)


#: Inputs of one, two and four rows.
MIXED = ["badd", "badde", "scopy"]


def short(kind, **changes):
    """Two letters and words of one on: luck alone makes an epoch mastered, so lengths move."""
    fast = {"min_length": 1, "max_length": 5, "curriculum_error": 0.999, "max_steps": 24}
    letters = {"model__input_symbols": 3, "model__output_symbols": 3, "steps_per_epoch": 4}
    return curriculum(kind, ["rev", "id", "sort"], **{**fast, **letters, **changes})


def trained(trainer):
    return list(trainer.events())


def tensors(trainer, seed):
    return {
        f"{kind}.{name}": value
        for kind, named in trainer.pack.seed_tensors(seed).items()
        for name, value in named.items()
    }


@pytest.mark.parametrize("kind", range(1, 6))
def test_a_packed_seed_of_several_tasks_is_the_seed_alone(kind):
    config = short(kind)
    pack = PackTrainer(config, [4, 9, 6], threads=2)
    packed = trained(pack)
    for seed in (4, 9, 6):
        alone = PackTrainer(config, [seed])
        assert [repr(e) for e in packed if getattr(e, "seed", None) == seed] == [
            repr(e) for e in trained(alone) if hasattr(e, "seed")
        ]
        mine, yours = tensors(pack, seed), tensors(alone, seed)
        assert all(torch.equal(mine[name], yours[name]) for name in mine)
    lengths = [e.curriculum_length for e in packed if isinstance(e, TrainingEpoch)]
    assert set(lengths) == {4, 5}  # some task was solved, and trained on


@pytest.mark.parametrize("kind", range(1, 6))
def test_a_resumed_seed_of_several_tasks_is_the_uninterrupted_one(kind, tmp_path):
    config = short(kind)
    whole = PackTrainer(config, [7, 8])
    expected = [repr(e) for e in trained(whole) if hasattr(e, "seed") and e.step > 12]
    first = PackTrainer(config, [7, 8])
    next(e for e in first.events() if isinstance(e, EpochEnd) and e.step == 12)
    files = {s: save_seed(tmp_path / f"{s}.pt", first.seed_state(s)) for s in (7, 8)}
    second = PackTrainer(config, [8, 7])
    second.load_seed_states({s: load_seed(f.path, f.sha256) for s, f in files.items()})

    assert sorted(repr(e) for e in trained(second) if hasattr(e, "seed")) == sorted(expected)
    for seed in (7, 8):
        mine, yours = tensors(whole, seed), tensors(second, seed)
        assert all(torch.equal(mine[name], yours[name]) for name in mine)


def autograd_at_once(net):
    return AutogradEngine(net, seeds_at_once=True)


@pytest.mark.parametrize("make", [autograd_at_once, CudaEngine])
def test_seeds_computed_at_once_may_train_different_tasks(make):
    """On a GPU; the same code path on CPU tensors."""
    config = curriculum(1, MIXED, max_length=5, max_steps=10)
    seeds, start = [4, 5, 6, 7], (5, 5, 5)
    data = {seed: TrainingData(config=config, seed=seed) for seed in seeds}
    shapes = [{draw_step(data[seed], step, start).shape for seed in seeds} for step in range(1, 11)]
    together = PackTrainer(config, seeds, engine=make(network(config.model)))
    trained(together)
    alone = PackTrainer(config, [5], engine=AutogradEngine(network(config.model)))
    trained(alone)

    assert max(map(len, shapes)) > 1
    mine, yours = together.pack.seed_tensors(5), alone.pack.seed_tensors(5)
    for name, value in mine["parameters"].items():
        torch.testing.assert_close(value, yours["parameters"][name], rtol=0, atol=1e-5)


def test_an_epoch_tells_of_each_task_it_trained_and_of_its_length():
    events = trained(PackTrainer(short(1, max_steps=80, steps_per_epoch=20), [0]))
    by_step = {}
    for event in events:
        if isinstance(event, TrainingEpoch):
            by_step.setdefault(event.step, []).append(event)

    assert sorted(by_step) == [20, 40, 60, 80]
    for rows in by_step.values():
        names = [row.task for row in rows]
        assert names == [name for name in ("rev", "id", "sort") if name in names]
    assert max(map(len, by_step.values())) > 1
    lengths = [row.curriculum_length for rows in by_step.values() for row in rows[:1]]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_training_stops_when_every_task_is_solved_and_right():
    config = curriculum(
        5, ["id", "rev"], min_length=1, max_length=5, max_steps=3000, steps_per_epoch=20,
        stop_error=0.3, curriculum_error=0.3, batch_size=16, dropout=0.0, learning_rate=0.01,
        model__filters=12, model__input_symbols=3, model__output_symbols=3, evaluation__every=3000,
    )  # fmt: skip
    events = trained(PackTrainer(config, [0]))
    epochs = [event for event in events if isinstance(event, TrainingEpoch)]
    ended = next(event for event in events if isinstance(event, SeedEnded))
    last = [event for event in epochs if event.step == ended.step]

    assert ended.step < 3000
    assert "training sequence error" in ended.reason
    assert [event.task for event in last] == ["rev"]  # kind 5: solved, only the last is trained
    assert last[0].curriculum_length == 5
    assert last[0].wrong_sequences <= 0.3 * last[0].sequences
    assert {event.task for event in epochs} == {"id", "rev"}
