"""Processes that take turns: the pipe, the rounds, the medians, the machine they run on."""

import sys
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.ceilings import Ceilings, compiler, gpu_peak
from benchmarks.contenders import Contender, Failed, Rate, compete, steps_for
from benchmarks.machine import cache_bytes, describe, slug

COUNTING = """
import time
from benchmarks.worker import serve
def steps(count):
    print("a library's chatter")
    time.sleep(0.002 * count)
serve(steps, {"engine": "sleep"}, base=100, peak=lambda: 142)
"""


@pytest.fixture
def sleeper():
    contender = Contender("sleeper", [[sys.executable, "-c", COUNTING]] * 2, seeds=3)
    contender.wait()
    yield contender
    contender.close()


def test_a_contender_steps_all_its_processes_and_tells_its_memory(sleeper: Contender) -> None:
    assert sleeper.about == {"engine": "sleep"}
    assert sleeper.seeds == 6
    assert sleeper.run(5) >= 0.01
    assert sleeper.peak_bytes() == 42


def test_rounds_give_medians_and_what_was_measured_between(sleeper: Contender) -> None:
    rates, beside = compete([sleeper], rounds=3, seconds=0.02, between=lambda: 1.5)

    assert 0 < rates["sleeper"].median <= 3000
    assert beside == [1.5, 1.5, 1.5]
    assert 1 <= steps_for(sleeper, 0.02) <= 10


def test_a_process_that_ends_is_named() -> None:
    contender = Contender("broken", [[sys.executable, "-c", "raise SystemExit(3)"]])
    with pytest.raises(Failed, match=r"^broken: .*code 3"):
        contender.wait()
    contender.close()


def test_a_rate_is_a_median_with_quartiles() -> None:
    assert Rate.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Rate(median=3.0, quartiles=(2.0, 4.0))
    assert Rate.of([7.0]) == Rate(median=7.0, quartiles=(7.0, 7.0))


def test_a_machine_describes_itself() -> None:
    machine = describe({"torch": "2"})

    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 2**28
    assert machine["versions"]["torch"] == "2"


def machine(**changes: Any) -> Mapping[str, Any]:
    told = {
        "processor": "AMD EPYC 9654 (Genoa)",
        "family_model": ["25", "17"],
        "cores": 2,
        "caches": {"L2": "1024K", "L3": "32M"},
    }
    return told | changes


def test_a_file_is_named_for_the_machine() -> None:
    assert slug(machine()) == "amd-epyc-9654-genoa-25-17-2-cores"
    assert slug(machine(gpu="NVIDIA H200")) == "nvidia-h200"


def test_caches_are_read_as_linux_writes_them() -> None:
    assert cache_bytes(machine(), "L2") == 2**20
    assert cache_bytes(machine(), "L3") == 2**25
    assert cache_bytes(machine(), "L4") is None


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
def test_the_measuring_loops_run() -> None:
    ceilings = Ceilings()

    assert ceilings.fma_peak(1, 0.01) > 1e8
    assert ceilings.read_bandwidth(1, 2**16, 0.01) > 1e8


def test_a_known_gpu_has_a_peak_by_precision() -> None:
    assert gpu_peak("NVIDIA H200", "float32") == 67e12
    assert gpu_peak("NVIDIA L40S", "float32") == 91.6e12
    assert gpu_peak("Unheard-of 1", "float32") is None
