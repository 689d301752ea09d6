"""What a recurrence keeps, and steps recorded by shape and replayed on new numbers."""

import logging
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.engines.engine import Differentiated
from ngpu_core.engines.masks import draw_masks
from ngpu_core.engines.recordings import SIGHTINGS, Feed, Recordings, rounded
from ngpu_core.engines.recurrence import unroll
from tests.ngpu_core.engine_cases import CASES, LONG_DIAGONAL, LONG_NEURAL_GPU, Case


def test_every_nth_state_kept_is_all_that_is_kept():
    class Counting:
        """Adds one; its tape is the time."""

        steps = 7
        taken: ClassVar[list[int]] = []

        def width(self, time):
            return 2 if time < 5 else 1

        def step(self, time, state, cost):
            self.taken.append(time)
            return state * 2, time

        def back(self, time, tape, gradient, cost):
            assert tape == time
            assert gradient.shape[3] == self.width(time)
            return gradient * 2

    state = torch.ones(1, 1, 1, 3, 1, requires_grad=True)
    final, _ = unroll(Counting(), state[:, :, :, :2], 3)
    assert final.flatten().tolist() == [2**7, 2**5]
    final.sum().backward()
    assert state.grad is not None
    assert state.grad.flatten().tolist() == [2**7, 2**5, 0]
    assert Counting.taken == [0, 1, 2, 3, 4, 5, 6, 6, 3, 4, 5, 0, 1, 2]


class PretendedGraphs:
    """Records by remembering what to compute, and writes results where the first were."""

    def __init__(self):
        self.recorded = 0

    def run(self, compute, feed):
        return compute(feed)

    def record(self, compute, feed):
        self.recorded += 1
        found = compute(feed)

        def run():
            anew = compute(feed.for_seeds(feed.seeds))  # a bin remembers its mask
            for mine, new in zip(results(found), results(anew), strict=True):
                mine.copy_(new)

        return run, found


def results(found: Differentiated) -> list[Tensor]:
    return [found.losses, found.saturation, found.counts, *found.gradients.values()]


def feed_of(case: Case, step: int) -> Feed:
    """The inputs of a step, other ones each step."""
    now = replace(case, data_seed=step)
    dropout = HashedDropout(seeds=case.seeds, step=step, probability=0.2, scaled_by=0)
    parameters = now.parameters(torch.float32)
    bins = now.batch()
    times = [batch.targets.shape[2] + 1 for batch in bins]
    return Feed(
        parameters=dict(parameters),
        bins=bins,
        masks=draw_masks(dropout, bins, times, parameters["output.bias"]),
        saturation_weights=torch.full((len(case.seeds),), 0.1 * step),
    )


def assert_replays(recordings: Recordings, engine: CudaEngine, case: Case, steps: int) -> None:
    for step in range(steps):
        found = recordings(feed_of(case, step))
        expected = engine._compute(feed_of(case, step))
        for mine, yours in zip(results(found), results(expected), strict=True):
            torch.testing.assert_close(mine, yours, rtol=1e-4, atol=1e-6)


def test_recordings_are_replayed_with_new_numbers_and_the_oldest_let_go():
    case = replace(LONG_DIAGONAL, model=replace(LONG_DIAGONAL.model, filters=3), sequences=2)
    engine = CudaEngine(case.network())
    graphs = PretendedGraphs()
    recordings = Recordings(engine._compute, graphs, limit=2)
    for columns in (4, 5, 6, 4):
        now = replace(case, bins=((columns, columns),))
        assert_replays(recordings, engine, now, SIGHTINGS + 3)

    assert len(recordings) == 2
    assert graphs.recorded == 4  # the first shape was let go and came again


def test_numbers_of_seeds_are_rounded_up_to_few():
    assert [rounded(seeds) for seeds in range(1, 14)] == [
        1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16
    ]  # fmt: skip
    model = replace(LONG_NEURAL_GPU.model, filters=3)
    case = replace(LONG_NEURAL_GPU, model=model, sequences=2, bins=((4, 4),))
    engine = CudaEngine(case.network())
    graphs = PretendedGraphs()
    recordings = Recordings(engine._compute, graphs, limit=9)
    for seeds in (7, 6, 5, 7, 5):
        now = replace(case, seeds=tuple(range(seeds)))
        assert_replays(recordings, engine, now, SIGHTINGS + 1)

    assert graphs.recorded == 2  # of the whole pack, and of six


def test_a_step_that_cannot_be_recorded_is_computed_and_the_log_says_so(caplog):
    class Refusing(PretendedGraphs):
        def record(self, compute, feed):
            raise RuntimeError("operation not permitted when stream is capturing")

    case = replace(LONG_DIAGONAL, model=replace(LONG_DIAGONAL.model, filters=3), sequences=2)
    engine = CudaEngine(case.network())
    recordings = Recordings(engine._compute, Refusing(), limit=2)
    with caplog.at_level(logging.WARNING):
        assert_replays(recordings, engine, case, SIGHTINGS + 3)

    assert [record.message for record in caplog.records] == [
        "steps are not recorded but launched anew each time: "
        "operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_looks_at_no_number_so_that_it_can_be_recorded(case, precision):
    chosen = CASES[case]
    engine = CudaEngine(chosen.network(), precision=precision)
    parameters = chosen.parameters(torch.float32)
    bins = [
        replace(batch, inputs=batch.inputs.to("meta"), targets=batch.targets.to("meta"))
        for batch in chosen.batch()
    ]
    dropout = HashedDropout(seeds=chosen.seeds, step=1, probability=chosen.dropout, scaled_by=0)
    there = {name: value.to("meta") for name, value in parameters.items()}
    times = [max(columns for columns, _ in chosen.bins) + 1] * len(bins)
    feed = Feed(
        parameters=there,
        bins=bins,
        masks=draw_masks(dropout, bins, times, there["output.bias"]),
        saturation_weights=torch.zeros(len(chosen.seeds), device="meta"),
    )
    found = engine._compute(feed)

    assert {value.device.type for value in results(found)} == {"meta"}
    assert {name: value.shape for name, value in found.gradients.items()} == {
        name: value.shape for name, value in parameters.items()
    }
