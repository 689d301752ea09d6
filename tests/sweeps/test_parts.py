"""A pack is cut where it does not fit, as little as possible, and keeps every seed."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.config import ModelConfig, RunConfig
from ngpu_core.memory import predict_memory
from sweeps.device_memory import FreeMemory, free_memory, is_out_of_memory
from sweeps.parts import Part, TooLarge, planned_parts, smaller_parts
from sweeps.recorder import PackWork

LARGE = RunConfig(model=ModelConfig(filters=256))


def work_of(seeds: int, run: RunConfig = LARGE) -> PackWork:
    return PackWork(
        pack_id=1, fence=1, sweep_id="s", configuration_id=1, run=run, seeds=tuple(range(seeds))
    )


def room(share: int, available: int | None = None) -> FreeMemory:
    return FreeMemory(share=share, available=share if available is None else available)


def needed(seeds: int, segment: int | None = None) -> int:
    return predict_memory(LARGE, seeds, engine="native", segment=segment)


def test_a_pack_that_fits_is_one_part_that_keeps_everything() -> None:
    assert planned_parts(work_of(4), room(needed(4))) == [Part(seeds=(0, 1, 2, 3), segment=None)]


def test_before_a_pack_is_cut_less_is_kept() -> None:
    (part,) = planned_parts(work_of(4), room(needed(4) - 1))

    assert part.seeds == (0, 1, 2, 3)
    assert part.segment is not None


def test_a_pack_is_cut_into_as_few_parts_as_fit_of_nearly_equal_size() -> None:
    parts = planned_parts(work_of(8), room(needed(3, segment=3)))

    assert [part.seeds for part in parts] == [(0, 1, 2), (3, 4, 5), (6, 7)]


def test_a_seed_beyond_the_share_may_take_what_is_free() -> None:
    (part,) = planned_parts(work_of(1), room(2**20, needed(1)))

    assert part.segment is None


def test_a_seed_that_cannot_fit_is_refused_with_bytes_and_advice() -> None:
    with pytest.raises(TooLarge, match=r"training one seed needs .*\(\d+ bytes\).*Let fewer"):
        planned_parts(work_of(3), room(2**20))


@given(st.integers(2, 70))
def test_a_part_out_of_memory_becomes_its_halves(seeds: int) -> None:
    part = Part(seeds=tuple(range(100, 100 + seeds)), segment=4)

    one, other = smaller_parts(work_of(1), part, "full")

    assert one.seeds + other.seeds == part.seeds
    assert len(one.seeds) - len(other.seeds) in (0, 1)
    assert one.segment == other.segment == 4


def test_a_single_seed_out_of_memory_keeps_less_and_then_gives_up_with_the_bytes() -> None:
    part = Part(seeds=(5,), segment=None)

    (less,) = smaller_parts(work_of(1), part, "full")

    assert less.seeds == (5,)
    assert less.segment is not None
    with pytest.raises(TooLarge, match=rf"seed 5 .*\({needed(1, less.segment)} bytes\).*full"):
        smaller_parts(work_of(1), less, "full")


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you …"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling …"), True),
        (RuntimeError("unable to mmap 24 bytes from file <x>: Cannot allocate memory (12)"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_was_refused_is_told_from_other_faults(error: Exception, is_memory) -> None:
    assert is_out_of_memory(error) is is_memory


def test_torch_s_own_refusal_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)

    assert is_out_of_memory(caught.value)


def test_a_trial_s_share_of_this_machine_grows_with_its_processors_up_to_what_is_free() -> None:
    one, all_of_them = free_memory(1, 0), free_memory(10_000, 0)

    assert 0 < one.share <= all_of_them.share <= all_of_them.available


def test_a_container_s_limits_are_the_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.device_memory._CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    for name, text in (
        ("memory.max", f"{2**28}\n"),
        ("memory.current", f"{2**26}\n"),
        ("cpu.max", "400000 100000\n"),
    ):
        (tmp_path / name).write_text(text)

    assert free_memory(1, 0) == FreeMemory(share=2**26, available=2**28 - 2**26)
    assert free_memory(4, 0).share == 2**28 - 2**26

    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(1, 0).available > 2**28
