"""Trials that run out of memory go on with less at once, and no seed loses or changes anything."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngpu_core.config import RunConfig
from ngpu_core.dropout import HashedDropout
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.engine import Differentiated
from ngpu_core.memory import predict_memory
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin, Parameters
from sweeps.device_memory import FreeMemory
from sweeps.trial import TrialEnd
from tests.sweeps.bench import Bench, claimed
from tests.sweeps.tiny import REVERSE, checkpoint_paths, pack_rows, results

#: All seeds share one shape a step, so that they are computed at once. Three epochs of four steps.
#: Training takes more memory than tests do.
TOGETHER = replace(
    REVERSE,
    model=replace(REVERSE.model, layers=1, weight_copies=1),
    training=replace(REVERSE.training, min_length=3, max_length=3, max_steps=12),
    evaluation=replace(REVERSE.evaluation, lengths=(2,), probes=()),
)


class Roomy(AutogradEngine):
    """Takes a whole pack at once and computes seed by seed: no bit depends on the companions."""

    def __init__(self, run: RunConfig, refuse: Callable[[int, int], bool]) -> None:
        super().__init__(network(run.model), seeds_at_once=True)
        self._refuse = refuse

    def differentiate(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None,
        saturation_weights: Tensor,
    ) -> Differentiated:
        assert dropout is not None
        if self._refuse(len(dropout.seeds), dropout.step):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        alone = [
            super(Roomy, self).differentiate(
                {name: value[[place]] for name, value in parameters.items()},
                [
                    replace(one, inputs=one.inputs[[place]], targets=one.targets[[place]])
                    for one in bins
                ],
                replace(dropout, seeds=(seed,)),
                saturation_weights[[place]],
            )
            for place, seed in enumerate(dropout.seeds)
        ]
        return Differentiated(
            losses=torch.cat([one.losses for one in alone]),
            saturation=torch.cat([one.saturation for one in alone]),
            counts=torch.cat([one.counts for one in alone]),
            gradients={
                name: torch.cat([one.gradients[name] for one in alone])
                for name in alone[0].gradients
            },
        )


Refuse = Callable[[int, int], bool]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Refuse], None]]:
    """Let every engine refuse (seeds at once, step) of this kind."""

    def install(refuse: Refuse) -> None:
        monkeypatch.setattr("sweeps.parts.choose", lambda run, **how: Roomy(run, refuse))

    return install


@cache
def undisturbed(run: RunConfig, seeds: tuple[int, ...]) -> dict[str, Any]:
    """What the seeds measure where there is room for all of them."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.parts.choose", lambda run, **how: Roomy(run, lambda *_: False))
        bench = Bench(Path(folder), run, [list(seeds)])
        bench.finish()
        found = results(bench.engine, bench.sweep)
        bench.engine.dispose()
        return found


@pytest.mark.parametrize(("room", "first_refused"), [(1, 1), (2, 6), (3, 1), (4, 6)])
def test_a_pack_that_is_too_large_is_finished_in_parts_by_the_same_trial(
    tmp_path: Path, refusing: Callable[[Refuse], None], room: int, first_refused: int
) -> None:
    refusing(lambda seeds, step: seeds > room and step >= first_refused)
    bench = Bench(tmp_path, TOGETHER, [[0, 1, 2, 3, 4]])

    assert bench.trial(claimed(bench.queue())) is TrialEnd.COMPLETE

    assert results(bench.engine, bench.sweep) == undisturbed(TOGETHER, (0, 1, 2, 3, 4))
    (pack,) = pack_rows(bench.engine, bench.sweep)
    assert (pack.state, pack.user_attempts, pack.infra_attempts) == ("done", 0, 0)
    assert bench.files() == checkpoint_paths(bench.engine, bench.sweep)


def test_it_goes_on_from_the_last_checkpoint(
    tmp_path: Path, refusing: Callable[[Refuse], None]
) -> None:
    computed: list[tuple[int, int]] = []

    def refuse(seeds: int, step: int) -> bool:
        computed.append((seeds, step))
        return seeds > 2 and step >= 7

    refusing(refuse)
    bench = Bench(tmp_path, TOGETHER, [[0, 1, 2, 3]])
    bench.finish()

    # The checkpoint is at step 4; then the halves take turns.
    assert [step for seeds, step in computed if seeds == 4] == list(range(1, 8))
    assert [step for seeds, step in computed if seeds == 2] == [
        *range(5, 9), *range(5, 9), *range(9, 13), *range(9, 13),
    ]  # fmt: skip


def test_a_seed_that_ended_before_is_not_trained_again(
    tmp_path: Path, refusing: Callable[[Refuse], None]
) -> None:
    diverging = replace(
        TOGETHER,
        training=replace(TOGETHER.training, divergence_factor=1.02, learning_rate=0.1),
    )
    expected = undisturbed(diverging, (0, 1, 2, 3, 4, 5))
    ended = {row[1]: row[3] for row in expected["seeds"] if row[2] == "diverged"}
    first = min(ended.values())
    assert 0 < len(ended) < 6

    refusing(lambda seeds, step: seeds > 2 and step > first)
    bench = Bench(tmp_path, diverging, [[0, 1, 2, 3, 4, 5]])
    bench.finish()

    assert results(bench.engine, bench.sweep) == expected


kills = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=2)


@given(kills=kills, room=st.integers(1, 3), first_refused=st.integers(1, 9))
@settings(max_examples=4)
def test_a_trial_in_parts_killed_at_any_write_leaves_the_rows_of_an_undisturbed_one(
    kills: list[tuple[int, bool]], room: int, first_refused: int
) -> None:
    def refuse(seeds: int, step: int) -> bool:
        return seeds > room and step >= first_refused

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.parts.choose", lambda run, **how: Roomy(run, refuse))
        bench = Bench(Path(folder), TOGETHER, [[0, 1, 2, 3]])
        for call, committed in kills:
            bench.trial_killed_at(call, committed)
        bench.finish()
        assert results(bench.engine, bench.sweep) == undisturbed(TOGETHER, (0, 1, 2, 3))
        bench.engine.dispose()


def test_a_killed_trial_in_parts_resumes_where_all_seeds_have_been(
    tmp_path: Path, refusing: Callable[[Refuse], None]
) -> None:
    refusing(lambda seeds, step: seeds > 2)
    bench = Bench(tmp_path, TOGETHER, [[0, 1, 2, 3]])
    assert bench.trial_killed_at(20)

    work = claimed(bench.queue())

    assert [ref.seed for ref in work.resume] == [0, 1, 2, 3]
    assert {ref.step for ref in work.resume} <= {4, 8}


def test_a_seed_that_does_not_fit_alone_fails_with_the_bytes_and_what_helps(
    tmp_path: Path, refusing: Callable[[Refuse], None]
) -> None:
    refusing(lambda seeds, step: True)
    bench = Bench(tmp_path, TOGETHER, [[0, 1]], max_failures=1)

    assert bench.trial(claimed(bench.queue())) is TrialEnd.FAILED

    error = pack_rows(bench.engine, bench.sweep)[0].error
    assert "seed 0 alone does not fit in memory: predicted are" in error
    assert " bytes)" in error
    assert "training.batch_size" in error
    assert "Tried to allocate 20.00 GiB" in error


def test_a_single_seed_keeps_less_before_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    class Native(Roomy):
        """Its memory is planned as the native engine's."""

        name = "native"

    def choose(run: RunConfig, *, segment: int | None, **how: Any) -> Roomy:
        asked.append(segment)
        return Native(run, lambda seeds, step: segment is None)

    monkeypatch.setattr("sweeps.parts.choose", choose)
    bench = Bench(tmp_path, TOGETHER, [[7]])
    bench.finish()

    assert results(bench.engine, bench.sweep) == undisturbed(TOGETHER, (7,))
    assert asked[0] is None
    assert asked[-1] is not None


def test_a_pack_that_is_known_not_to_fit_is_never_tried_whole(
    tmp_path: Path, refusing: Callable[[Refuse], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 0

    def watch(seeds: int, step: int) -> bool:
        nonlocal largest
        largest = max(largest, seeds)
        return False

    share = predict_memory(TOGETHER, 2, engine="autograd at once")
    refusing(watch)
    monkeypatch.setattr(
        "sweeps.trial.free_memory", lambda cpu, gpu: FreeMemory(share=share, available=share)
    )
    bench = Bench(tmp_path, TOGETHER, [[0, 1, 2, 3, 4]])
    bench.finish()

    assert largest == 2
    assert results(bench.engine, bench.sweep) == undisturbed(TOGETHER, (0, 1, 2, 3, 4))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_memory_that_the_system_refuses_splits_a_pack_that_then_finishes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sweeps.limited", str(tmp_path), "8", str(200 * 2**20)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert "going on with less at once" in done.stdout
    assert done.stdout.splitlines()[-1] == "complete: 8 seeds finished"
