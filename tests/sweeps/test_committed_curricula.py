"""Sweeps the authors committed (SPECS B.5): each can be written as a spec with its job count."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from sweeps.expansion import configurations
from sweeps.spec import load_spec

#: Settings of July 2016: trained on the first task, tested on both.
PAIRS = [
    pair
    for name in ("sbadd", "badd", "badde", "sbadde", "baddz")
    for pair in (f"{name},{name}t", f"{name}t,{name}")
]


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What one file of the history's `run` folder lists; its jobs are the product."""

    jobs: int
    tasks: list[str]
    filters: list[int]
    kinds: list[int]
    seeds: int
    steps: int = 200_000
    #: Steps between tests: 2 epochs by default.
    every: int = 400
    always_large: bool = False
    #: The flag layer_scale.
    scales: tuple[float, ...] = (1.0,)

    def document(self) -> dict[str, Any]:
        rule = {"short_sequences": 32, "stop_after_wrong": 4}
        if not self.always_large:
            rule["short_below"] = 0.05
        return {
            "name": "committed",
            "base": {
                "model": {"extra_steps": 0},
                "training": {"max_steps": self.steps},
                "evaluation": {"lengths": [201], "sequences": 128, "every": self.every, **rule},
            },
            "grid": {
                "task": {names: {"training.tasks": names.split(",")} for names in self.tasks},
                "filters": {str(n): {"model.filters": n} for n in self.filters},
                "curriculum": {str(kind): {"training.curriculum": kind} for kind in self.kinds},
                "layer scale": {str(scale): {"model.layer_scale": scale} for scale in self.scales},
            },
            "seeds": {"count": self.seeds},
        }


def late(jobs: int, tasks: list[str], **rest: Any) -> Committed:
    """A sweep from 11 August 2016 on: tested every 4 epochs."""
    return Committed(jobs=jobs, tasks=tasks, every=800, **rest)


BOTH = [128, 256]
COMMITTED = {
    "118": Committed(
        jobs=650, tasks=["scopy", "sdup", "bmul", *PAIRS], filters=[24, 128], kinds=[0], seeds=25
    ),
    "133": Committed(
        jobs=40, tasks=["bmul", "qmul", "mul", "bmul,qmul", "bmul,mul"], filters=[128], kinds=[2],
        seeds=8, steps=80_000,
    ),
    "134": Committed(
        jobs=24, tasks=["mul", "bmul,qmul,mul", "bmul,qmul,omul,mul"], filters=[128], kinds=[2],
        seeds=8,
    ),
    "135": Committed(jobs=8, tasks=["qmul"], filters=[256], kinds=[2], seeds=8, steps=80_000),
    "136": Committed(jobs=8, tasks=["mul"], filters=[256], kinds=[2], seeds=8, steps=80_000),
    "137": Committed(
        jobs=20, tasks=["badd", "qadd", "add", "badd,qadd", "badd,add"], filters=[128], kinds=[2],
        seeds=4,
    ),
    "138": Committed(
        jobs=24, tasks=["bmul", "qmul", "mul", "bmul,qmul", "bmul,mul", "bmul,qmul,mul"],
        filters=[128], kinds=[2], seeds=4,
    ),
    "139": late(
        15, ["bmul,qmul", "bmul,mul", "bmul,qmul,mul"], filters=[128], kinds=[1], seeds=5
    ),
    "140": late(16, ["bmul,fmul,mul", "bmul,fmul,omul,mul"], filters=BOTH, kinds=[2], seeds=4),
    "141": late(16, ["bmul,fmul,mul", "bmul,fmul,omul,mul"], filters=BOTH, kinds=[1], seeds=4),
    "142": late(
        16, ["3badd", "3qadd", "3add", "badd,3badd"], filters=[128], kinds=[1], seeds=4
    ),
    "143": late(8, ["3bmul", "bmul,3bmul"], filters=[128], kinds=[1], seeds=4),
    "144": Committed(jobs=4, tasks=["baddt", "addt"], filters=[128], kinds=[2], seeds=2),
    "145": late(
        24,
        ["kbmul", "bmul,3bmul,kbmul", "bmul,kbmul", "kbadd", "badd,kbadd", "badd,3badd,kbadd"],
        filters=[128], kinds=[1], seeds=4,
    ),
    "146": late(
        16, ["add,3add", "add,kadd", "kadd", "kbmul"], filters=[128], kinds=[1], seeds=4
    ),
    "147": late(
        36, ["bmul,qmul,mul", "bmul,qmul,fmul,mul"], filters=BOTH, kinds=[1, 3, 4], seeds=3
    ),
    "148": late(4, ["bmul,mul"], filters=[256], kinds=[1], seeds=4),
    "150": late(36, ["bmul,qmul,mul", "bmul,fmul,mul"], filters=BOTH, kinds=[1, 3, 4], seeds=3),
    "152": late(16, ["bmul,qmul,mul", "bmul,fmul,mul"], filters=BOTH, kinds=[5], seeds=4),
    "164": late(4, ["mul", "bmul,mul"], filters=[256], kinds=[5], seeds=2),
    "165": late(
        4, ["bmul,qmul,mul", "bmul,mul"], filters=BOTH, kinds=[5], seeds=1, scales=(0.5,)
    ),
    "172": late(
        16, ["bexpra"], filters=[24, 128, 256, 512], kinds=[5], seeds=4, always_large=True
    ),
    "179": late(
        24, ["bmulz", "bmule", "bmul"], filters=[24, 128], kinds=[0], seeds=4, steps=100_000,
        always_large=True,
    ),
    "187": late(
        12, ["bmulz", "bmule", "bmul"], filters=[128], kinds=[0], seeds=4, steps=100_000,
        always_large=True,
    ),
    "190": late(
        12, ["baddt"], filters=[24], kinds=[0], seeds=12, steps=60_000, always_large=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", COMMITTED)
def test_a_committed_sweep_is_a_spec_with_its_job_count(number: str) -> None:
    committed = COMMITTED[number]
    spec = load_spec(committed.document())
    runs = [each.run for each in configurations(spec)]

    assert len(runs) * spec.seeds.count == committed.jobs
    assert {(",".join(run.training.tasks), run.training.curriculum) for run in runs} == {
        (names, kind) for names in committed.tasks for kind in committed.kinds
    }
    for run in runs:
        assert run.evaluation_tasks == run.training.tasks
        trained = run.training.tasks if run.training.curriculum else run.training.tasks[:1]
        assert run.training.trained_tasks == trained


def test_a_slice_of_a_product_is_two_specs() -> None:
    """Sweep 162 is jobs 6 to 15 of seeds × tasks × filters × layer scales, the last fastest."""
    scales = (1.0, 1.5, 2.0)
    first = late(6, ["bmul,mul"], filters=BOTH, kinds=[5], seeds=1, scales=scales)
    second = late(4, ["bmul,qmul,mul"], filters=BOTH, kinds=[5], seeds=1, scales=scales)
    missing = [{"filters": "256", "layer scale": scale} for scale in ("1.5", "2.0")]
    specs = [
        load_spec(first.document()),
        load_spec({**second.document(), "exclude": missing, "seeds": {"first": 1, "count": 1}}),
    ]

    jobs = [
        (seed, ",".join(one.run.training.tasks), one.run.model.filters, one.run.model.layer_scale)
        for spec in specs
        for one in configurations(spec)
        for seed in spec.seeds.all
    ]

    tasks = ("bmul,qmul,mul", "bmul,mul")
    assert jobs == list(product(range(2), tasks, BOTH, scales))[6:16]
