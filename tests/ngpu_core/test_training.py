"""The loop: events, divergence, stopping, and that a run can stop anywhere."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.checkpoint import CorruptCheckpoint, load_seed, save_seed
from ngpu_core.events import EpochEnd, Evaluation, Outcome, SeedEnded, TrainingEpoch
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config, run_configs


def facts(events, *, after=0):
    return [repr(e) for e in events if hasattr(e, "seed") and e.step > after]


@settings(max_examples=10, deadline=None)
@given(config=run_configs, resume_at=st.sampled_from([3, 6]))
def test_a_resumed_run_is_the_uninterrupted_run(config, resume_at, tmp_path_factory):
    config = run_config_with_steps(config, 9)
    whole = PackTrainer(config, [7, 8])
    expected = facts(whole.events(), after=resume_at)

    folder = tmp_path_factory.mktemp("checkpoints")
    first = PackTrainer(config, [7, 8])
    for event in first.events():
        if isinstance(event, EpochEnd) and event.step == resume_at:
            break
    files = {s: save_seed(folder / f"{s}.pt", first.seed_state(s)) for s in (7, 8)}
    second = PackTrainer(config, [8, 7])  # the order of the pack is free
    second.load_seed_states({s: load_seed(f.path, f.sha256) for s, f in files.items()})
    resumed = facts(second.events(), after=resume_at)

    assert sorted(resumed) == sorted(expected)
    for seed in (7, 8):
        mine, yours = whole.pack.seed_tensors(seed), second.pack.seed_tensors(seed)
        for kind in mine:
            assert all(torch.equal(mine[kind][n], yours[kind][n]) for n in mine[kind])


def run_config_with_steps(config, steps):
    return replace(config, training=replace(config.training, max_steps=steps))


def test_a_diverging_seed_is_a_result_and_its_companions_finish():
    config = run_config(
        "neural_gpu",
        training__max_steps=40,
        training__learning_rate=1.0,
        training__divergence_factor=1.5,
        training__max_length=5,
        evaluation__every=40,
    )
    ended = [e for e in PackTrainer(config, list(range(12))).events() if isinstance(e, SeedEnded)]
    outcomes = {e.seed: e.outcome for e in ended}

    assert sorted(outcomes) == list(range(12))
    assert Outcome.DIVERGED in outcomes.values()
    assert Outcome.FINISHED in outcomes.values()
    for event in ended:
        alone = [e for e in PackTrainer(config, [event.seed]).events() if isinstance(e, SeedEnded)]
        assert alone == [event]


def test_a_non_finite_gradient_ends_only_its_own_seed():
    config = run_config("neural_gpu", training__max_steps=4)
    trainer = PackTrainer(config, [1, 2])
    trainer.pack.parameters["output.bias"][0] = math.inf
    ended = {e.seed: e for e in trainer.events() if isinstance(e, SeedEnded)}

    assert ended[1].outcome == Outcome.DIVERGED
    assert ended[1].step == 1
    assert ended[2].outcome == Outcome.FINISHED


@settings(max_examples=10, deadline=None)
@given(config=run_configs, cuts=st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_it_does_not_matter_how_many_steps_are_trained_at_one_go(config, cuts):
    config = replace(config, training=replace(config.training, steps_per_epoch=40))
    at_one_go, singly = PackTrainer(config, [7, 8, 9], threads=2), PackTrainer(config, [7, 8, 9])
    for count in cuts:
        assert not at_one_go.train_steps(count)
    for _ in range(sum(cuts)):
        assert not singly.train_steps(1)

    for seed in (7, 8, 9):
        mine, yours = at_one_go.seed_state(seed), singly.seed_state(seed)
        for kind, tensors in mine.pop("tensors").items():
            others = yours["tensors"][kind]
            assert all(torch.equal(value, others[name]) for name, value in tensors.items())
        del yours["tensors"]
        assert mine == yours


@given(
    step=st.integers(0, 29),
    fast=st.integers(1, 100),
    epoch=st.integers(1, 12),
    every=st.integers(1, 12),
)
def test_a_stretch_ends_with_the_epoch_the_test_and_the_training(step, fast, epoch, every):
    config = run_config(
        "neural_gpu", training__max_steps=30, training__steps_per_epoch=epoch,
        evaluation__every=every,
    )  # fmt: skip
    trainer = PackTrainer(config, [1])
    trainer.step, trainer._stretch = step, fast
    decisions = {30, *range(0, 31, epoch), *range(0, 31, every)}

    assert 1 <= trainer.stretch() <= fast
    assert step + trainer.stretch() == min(step + fast, min(one for one in decisions if one > step))


def test_the_stop_rule_reads_training_batches_and_the_last_test_still_runs():
    config = run_config(
        "neural_gpu", training__stop_error=0.999, training__curriculum_error=0.999,
        training__max_length=5, training__max_steps=600, training__steps_per_epoch=20,
        training__tasks=("id",), model__input_symbols=3, model__output_symbols=3,
        evaluation__every=599,
    )  # fmt: skip
    events = list(PackTrainer(config, [0]).events())
    ended = next(e for e in events if isinstance(e, SeedEnded))

    assert ended.step < 600
    assert "training sequence error" in ended.reason
    assert [e.step for e in events if isinstance(e, Evaluation)] == [ended.step]


def test_long_lengths_wait_until_training_goes_well_and_the_last_test_does_not():
    config = run_config("neural_gpu", evaluation__only_below=0.01, training__max_steps=9)
    steps = [e.step for e in PackTrainer(config, [0]).events() if isinstance(e, Evaluation)]

    assert steps == [9]


def test_a_bound_of_one_tests_a_seed_that_gets_everything_wrong():
    config = run_config("neural_gpu", training__max_steps=9)
    steps = [e.step for e in PackTrainer(config, [0]).events() if isinstance(e, Evaluation)]

    assert steps == [3, 6, 9]


def test_an_epoch_counts_every_in_curriculum_sequence():
    config = run_config("diagonal_neural_gpu", training__max_steps=6)
    epochs = [e for e in PackTrainer(config, [0]).events() if isinstance(e, TrainingEpoch)]

    assert [e.step for e in epochs] == [3, 6]
    assert all(e.sequences == 3 * 2 * 4 for e in epochs)  # steps × bins × batch
    assert all(0 <= e.wrong_symbols <= e.symbols for e in epochs)


def test_checkpoints_of_another_step_or_configuration_are_refused():
    config = run_config("neural_gpu")
    state = PackTrainer(config, [1]).seed_state(1)
    with pytest.raises(ValueError, match="need seeds"):
        PackTrainer(config, [1, 2]).load_seed_states({1: state})
    with pytest.raises(ValueError, match="another configuration"):
        PackTrainer(run_config("neural_gpu", model__filters=5), [1]).load_seed_states({1: state})


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    state = PackTrainer(run_config("neural_gpu"), [1]).seed_state(1)
    file = save_seed(tmp_path / "deep" / "1.pt", state)
    assert [p.name for p in file.path.parent.iterdir()] == ["1.pt"]

    damaged = bytearray(file.path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.path.write_bytes(damaged)
    with pytest.raises(CorruptCheckpoint, match=r"1\.pt: its contents"):
        load_seed(file.path, file.sha256)
    file.path.unlink()
    with pytest.raises(CorruptCheckpoint, match="missing"):
        load_seed(file.path, file.sha256)
