"""Data drawn ahead is the data drawn late; its thread ends; what it raises is not lost."""

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.ahead import DataAhead, draw_step
from ngpu_core.data import TrainingData
from tests.ngpu_core.configurations import run_config, run_configs

PREFIX = "training data"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(PREFIX)]


def assert_equal(drawn, expected) -> None:
    assert drawn.place == expected.place
    assert [size for _, size in drawn.bins] == [size for _, size in expected.bins]
    for (batch, _), (other, _) in zip(drawn.bins, expected.bins, strict=True):
        assert np.array_equal(batch.inputs, other.inputs)
        assert np.array_equal(batch.targets, other.targets)


@settings(max_examples=15, deadline=None)
@given(
    config=run_configs,
    steps=st.integers(0, 5),
    first=st.integers(1, 5),
    lengths=st.lists(st.integers(8, 11), min_size=3, max_size=3),
)
def test_data_drawn_ahead_is_the_data_drawn_late_across_epochs_and_from_any_step(
    config, steps, first, lengths
):
    """Epochs are three steps long; the curriculum's lengths change at their ends."""
    tasks = len(config.training.trained_tasks)
    ahead = DataAhead(config, [4, 9], steps=steps)
    try:
        for step in range(first, 8):
            now = {4: (lengths[(step - 1) // 3],) * tasks, 9: (8,) * tasks}
            taken = ahead.take(step, now)
            assert list(taken) == [4, 9]
            for seed, drawn in taken.items():
                late = TrainingData(config=config, seed=seed)
                assert_equal(drawn, draw_step(late, step, now[seed]))
    finally:
        ahead.close()


def test_nothing_is_drawn_beyond_the_epoch_the_last_step_or_the_bound(monkeypatch):
    drawn = []

    def watched(data, step, lengths):
        drawn.append(step)
        return draw_step(data, step, lengths)

    monkeypatch.setattr("ngpu_core.ahead.draw_step", watched)
    config = run_config("neural_gpu", training__steps_per_epoch=4, training__max_steps=6)
    ahead = DataAhead(config, [0], steps=2)
    furthest = []
    for step in range(1, 7):
        ahead.take(step, {0: (8,)})
        ahead.close()  # waits for what has begun; what has not is drawn again
        furthest.append(max(drawn))
    assert all(now <= bound for now, bound in zip(furthest, [3, 4, 4, 4, 6, 6], strict=True))


def test_a_seed_that_is_no_longer_active_is_drawn_no_further():
    config = run_config("neural_gpu", training__steps_per_epoch=100, training__max_steps=100)
    ahead = DataAhead(config, [0, 1], steps=3)
    ahead.take(1, {0: (8,), 1: (8,)})
    assert list(ahead.take(2, {1: (8,)})) == [1]
    ahead.close()


class Unlucky(RuntimeError):
    pass


def test_what_drawing_raises_is_raised_by_the_step_that_needs_the_batch(monkeypatch):
    def failing(data, step, lengths):
        if step == 3:
            raise Unlucky(f"step {step}")
        return draw_step(data, step, lengths)

    monkeypatch.setattr("ngpu_core.ahead.draw_step", failing)
    config = run_config("neural_gpu", training__steps_per_epoch=10, training__max_steps=10)
    ahead = DataAhead(config, [0], steps=3)
    ahead.take(1, {0: (8,)})
    ahead.take(2, {0: (8,)})
    with pytest.raises(Unlucky, match="step 3"):
        ahead.take(3, {0: (8,)})
    ahead.close()
    assert not threads()


def test_closing_ends_the_thread_at_once_and_a_later_take_goes_on():
    config = run_config("neural_gpu")
    ahead = DataAhead(config, [0])
    assert not threads()
    ahead.take(1, {0: (8,)})
    assert len(threads()) == 1
    ahead.close()
    ahead.close()
    assert not threads()
    assert_equal(
        ahead.take(2, {0: (8,)})[0], draw_step(TrainingData(config=config, seed=0), 2, (8,))
    )
    ahead.close()


def test_dropping_it_ends_the_thread():
    ahead = DataAhead(run_config("neural_gpu"), [0, 1])
    ahead.take(1, {0: (8,), 1: (8,)})
    del ahead
    gc.collect()
    for _ in range(200):
        if not threads():
            break
        time.sleep(0.01)
    assert not threads()
