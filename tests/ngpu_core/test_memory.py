"""Predicted memory is what training takes, and a plan is the fastest way that fits."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core import engine_memory
from ngpu_core.call_sizes import FLOAT, Call, parameter_shapes, parameter_values, row_columns
from ngpu_core.config import ModelConfig, RunConfig
from ngpu_core.data import TrainingData
from ngpu_core.engine_memory import ENGINES
from ngpu_core.engines import native
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.memory import (
    DoesNotFit,
    in_units,
    largest_pack,
    plan_memory,
    pool_bytes,
    predict_memory,
)
from ngpu_core.models.diagonal import Row
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config

MODELS = [
    ModelConfig(filters=5, layers=3, weight_copies=2, input_symbols=7, output_symbols=4),
    ModelConfig(),
    ModelConfig(family="diagonal_neural_gpu", filters=7, input_symbols=9, output_symbols=4),
    ModelConfig(filters=5, unit="resnet", layers=3, weight_copies=2, batch_norm=1),
    ModelConfig(filters=5, task_id=True, batch_norm=2, tanh_cutoff=1.2, output_layer=1),
    ModelConfig(filters=5, unit="resnet", task_id=True),
    ModelConfig(family="diagonal_neural_gpu", filters=7, soft_nonlinearities=True),
    ModelConfig(family="lstm_attention", filters=5, layers=2, input_symbols=9, output_symbols=4),
]
OF_512 = RunConfig(model=ModelConfig(filters=512))


@pytest.mark.parametrize("model", MODELS)
def test_parameters_are_counted_as_they_are_made(model):
    made = network(model).initialize(np.random.default_rng(0))

    assert parameter_shapes(model) == [value.shape for value in made.values()]
    assert parameter_values(model) == sum(value.size for value in made.values())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_columns_of_a_row_are_those_the_network_lays_out(lengths):
    row = Row.of(lengths)
    widths = [row.width(sum(length > time for length in lengths)) for time in range(max(lengths))]

    assert row_columns(tuple((length, length) for length in lengths)) == sum(widths)


@given(
    filters=st.integers(1, 200), height=st.integers(1, 4), layers=st.integers(1, 3),
    sequences=st.integers(1, 64), columns=st.integers(1, 300),
)  # fmt: skip
def test_the_native_engine_takes_as_many_sequences_at_a_time_as_is_counted(
    filters, height, layers, sequences, columns
):
    model = ModelConfig(filters=filters, height=height, layers=layers)

    counted = engine_memory.sequences_together(model, sequences, columns)

    symbols = torch.zeros(1, sequences, columns, dtype=torch.int64)
    batch = Bin(inputs=symbols[:, :, None], targets=symbols, padded_length=columns)
    assert counted == native._Call(model, [batch], 0).batches[0].group
    assert counted == native.sequences_together(model, sequences, columns)
    assert (engine_memory.CHUNKS, engine_memory.LARGE) == (native.CHUNKS, native.LARGE)


@pytest.mark.parametrize("shorter", [0.0, 0.9])
def test_pools_are_at_most_as_large_as_predicted_and_hardly_smaller(shorter):
    config = run_config(
        "diagonal_neural_gpu", training__examples_per_length=300, training__shorter_share=shorter,
        training__bins=(16, 20), training__batch_size=200,
    )  # fmt: skip
    data = TrainingData(config=config, seed=0)
    for size in config.training.bins:
        data.bin_batch(1, size)
    held = sum(pool.inputs.nbytes + pool.targets.nbytes for pool in data._pools.values())

    assert 0.9 * pool_bytes(config) <= held <= pool_bytes(config)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_curriculum_of_several_tasks_takes_at_least_what_each_of_them_takes(engine):
    def needed(*tasks, **training):
        changes = {f"training__{key}": value for key, value in training.items()}
        config = run_config("neural_gpu", training__tasks=tasks, **changes)
        return predict_memory(config, 4, engine=engine)

    both = needed("badd", "badde", curriculum=1)
    assert both >= max(needed("badd"), needed("badde"))
    assert needed("badd", "badde") == needed("badd")
    pools = {"examples_per_length": 1000, "curriculum": 1}
    assert needed("badd", "badde", **pools) - both >= needed("badd", **pools) - needed("badd")


def test_pools_of_several_tasks_add_up():
    def pools(*tasks):
        return pool_bytes(
            run_config(
                "neural_gpu", training__tasks=tasks, training__examples_per_length=50,
                training__curriculum=1,
            )
        )  # fmt: skip

    assert pools("badd", "badde") == pools("badd") + pools("badde")


def test_fresh_examples_are_not_held():
    assert pool_bytes(RunConfig()) == 0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", ["neural_gpu", "diagonal_neural_gpu"])
def test_more_seeds_take_more_and_keeping_less_takes_less(engine, family):
    config = run_config(family, model__filters=24)
    bytes_of = [predict_memory(config, seeds, engine=engine) for seeds in (1, 2, 8, 64)]
    whole, states = (
        predict_memory(OF_512, 1, engine=engine, segment=segment) for segment in (None, 1)
    )

    assert sorted(set(bytes_of)) == bytes_of
    assert whole >= states
    assert engine in ("autograd", "autograd at once") or whole > states  # it keeps everything


def test_unknown_engines_and_empty_packs_are_refused():
    with pytest.raises(ValueError, match="0 seeds"):
        predict_memory(RunConfig(), 0, engine="native")
    with pytest.raises(ValueError, match="'abacus'"):
        predict_memory(RunConfig(), 1, engine="abacus")


# Plans


@given(st.sampled_from([*ENGINES]), st.integers(1, 40), st.integers(26, 36))
def test_a_plan_fits_and_nothing_faster_does(engine, seeds, exponent):
    config, free = RunConfig(), 2**exponent

    def needed(segment):
        return predict_memory(config, seeds, engine=engine, segment=segment)

    if all(needed(segment) > free for segment in (None, *range(1, 7))):
        with pytest.raises(DoesNotFit):
            plan_memory(config, seeds, free, engine=engine)
        return

    plan = plan_memory(config, seeds, free, engine=engine)
    faster = () if plan.segment is None else (None, *range(1, plan.segment))

    assert plan.predicted_bytes == needed(plan.segment) <= free
    assert all(needed(segment) > free for segment in faster)


def test_as_memory_shrinks_states_are_kept_then_fewer_states_then_nothing_fits():
    config = run_config(
        "neural_gpu", model__filters=96, training__max_length=200, training__bins=(200,)
    )
    whole = predict_memory(config, 1, engine="torch")
    states = predict_memory(config, 1, engine="torch", segment=1)
    few = predict_memory(config, 1, engine="torch", segment=5)

    def segment(free: int) -> int | None:
        return plan_memory(config, 1, free, engine="torch").segment

    assert whole > states > few
    assert segment(whole) is None
    assert segment(whole - 1) == segment(states) == 1
    assert segment(states - 1) > 1
    with pytest.raises(DoesNotFit, match=r"training one seed needs .* MiB \(\d+ bytes\) even when"):
        plan_memory(config, 1, 2**20, engine="torch")


def test_the_largest_pack_that_fits_has_no_room_for_another_seed():
    config, free = RunConfig(), 2**28
    plan = largest_pack(config, 1000, free, engine="native")

    assert 1 < plan.seeds < 1000
    assert plan.predicted_bytes <= free
    with pytest.raises(DoesNotFit, match=f"training {plan.seeds + 1} seeds at once"):
        plan_memory(config, plan.seeds + 1, free, engine="native")
    assert largest_pack(config, 3, free, engine="native").seeds == 3
    with pytest.raises(DoesNotFit, match="training one seed"):
        largest_pack(config, 3, 2**20, engine="native")


def test_512_filters_are_planned_within_four_gibibytes_on_a_cpu():
    plan = plan_memory(OF_512, 1, 4 * 2**30, engine="native")

    assert plan.predicted_bytes <= 4 * 2**30


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "0.999 KiB"), (3 * 2**29, "1.5 GiB"), (2**20, "1 MiB")]
)
def test_bytes_are_written_for_people(count, text):
    assert in_units(count) == text


def test_planning_loads_no_torch():
    program = "import sys, ngpu_core.memory, sweeps.packing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.strip() == "False"


# What training takes


def training_of(family, **changes):
    """Always at full length, so that the first steps are the largest."""
    sizes = {
        "neural_gpu": {
            "model__weight_copies": 6,
            "training__min_length": 41,
            "training__max_length": 41,
            "training__bins": (41,),
        },
        "diagonal_neural_gpu": {
            "training__bins": (8, 12, 16, 20, 25, 28, 31, 36, 41),
            "training__examples_per_length": 0,
        },
        "lstm_attention": {
            "model__layers": 3,
            "training__min_length": 41,
            "training__max_length": 41,
            "training__bins": (41,),
        },
    }[family]
    common = {
        "training__batch_size": 32,
        "training__max_steps": 100,
        "training__steps_per_epoch": 100,
        "evaluation__lengths": (101,),
        "evaluation__sequences": 32,
    }
    return run_config(family, **{**common, **sizes, **changes})


def measured(config, *, engine, seeds=1, threads=1, segment=None, steps=3):
    """Bytes at the peak, in a process of its own."""
    case = {
        "family": config.model.family,
        "config": config.to_mapping(),
        "engine": engine,
        "seeds": seeds,
        "threads": threads,
        "segment": segment,
        "steps": steps,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.ngpu_core.measured", json.dumps(case)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


on_linux = pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is Linux's to tell"
)
slow = pytest.mark.slow


R24 = {"model__filters": 24}


def of(family, engine, *, how=None, marks=(), **changes):
    return pytest.param(
        family, engine, how or {}, changes, marks=marks, id=f"{engine}-{family}-{how}-{changes}"
    )


@on_linux
@pytest.mark.parametrize(
    ("family", "engine", "how", "changes"),
    [
        of("neural_gpu", "native", model__filters=24),
        of("diagonal_neural_gpu", "native", model__filters=96),
        of("neural_gpu", "torch", model__filters=24),
        of("neural_gpu", "native", model__filters=24, how={"seeds": 8}, marks=slow),
        of("neural_gpu", "native", model__filters=64, how={"segment": 1}, marks=slow),
        of("neural_gpu", "native", model__filters=128, how={"segment": 4}, marks=slow),
        of("diagonal_neural_gpu", "native", model__filters=96, how={"seeds": 16}, marks=slow),
        of("neural_gpu", "native", model__filters=24, how={"seeds": 4, "threads": 2}, marks=slow),
        of("neural_gpu", "torch", model__filters=24, how={"segment": 1}, marks=slow),
        of("diagonal_neural_gpu", "torch", model__filters=96, marks=slow),
        of("neural_gpu", "autograd", model__filters=24, marks=slow),
        of("diagonal_neural_gpu", "autograd", model__filters=24, marks=slow),
        of("neural_gpu", "autograd", **R24, model__unit="resnet"),
        of("lstm_attention", "autograd", model__filters=64),
        of("neural_gpu", "autograd", **R24, model__unit="resnet", model__batch_norm=2, marks=slow),
        of("neural_gpu", "autograd", **R24, model__tanh_cutoff=1.2, marks=slow),
        of("neural_gpu", "autograd", **R24, model__gate_cutoff=0.0, marks=slow),
        of("neural_gpu", "autograd", **R24, model__task_id=True, marks=slow),
        of("neural_gpu", "autograd", **R24, model__layer_scale=0.5, marks=slow),
        of("neural_gpu", "autograd", **R24, model__output_layer=1, marks=slow),
        of("diagonal_neural_gpu", "autograd", **R24, model__soft_nonlinearities=True, marks=slow),
        of("diagonal_neural_gpu", "autograd", **R24, model__diagonal_gates=False, marks=slow),
        of("diagonal_neural_gpu", "autograd", **R24, model__dropout_on="state", marks=slow),
        of("diagonal_neural_gpu", "autograd", **R24, model__dropout_on="none", marks=slow),
    ],
)
def test_training_takes_what_was_predicted(family, engine, how, changes):
    if engine == "native" and native.unsupported(ModelConfig()):
        pytest.skip("the native engine was not built")
    config = training_of(family, **changes)
    predicted = predict_memory(config, engine=engine, **{"seeds": 1, **how})

    assert measured(config, engine=engine, **how) == pytest.approx(predicted, rel=0.1)


@on_linux
@slow
@pytest.mark.parametrize("kind", [1, 2])
def test_normalized_gated_units_take_about_what_was_predicted(kind):
    """Where glibc puts their blocks differs from run to run, by up to a fifth (measured)."""
    config = training_of("neural_gpu", **R24, model__batch_norm=kind)
    predicted = predict_memory(config, 1, engine="autograd")

    assert 0.75 * predicted < measured(config, engine="autograd") < 1.1 * predicted


def live_bytes(act):
    """The most that tensors took at once while a function ran, on top of what there was."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        act()
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(np.cumsum([change for _, change in changes]))


def taken_by(engine, config, seeds, segment=None):
    """Bytes of live tensors in one step of all seeds at once, and the call's sizes."""
    trainer = PackTrainer(config, range(seeds), engine=engine)
    [data] = trainer._data.values()
    drawn = data.take(1, dict.fromkeys(range(seeds), (config.training.max_length,)))
    names, bins = list(drawn), trainer._bins(drawn)
    trainer.close()
    dropout, weights = trainer._dropout(names, 1), torch.zeros(seeds)
    taken = live_bytes(
        lambda: engine.differentiate(trainer.pack.parameters, bins, dropout, weights)
    )
    sizes = [(b.targets.shape[2], b.padded_length) for b in bins]
    model = config.model
    return taken, Call(
        model=model,
        seeds=seeds,
        sequences=config.training.batch_size,
        bins=tuple((model.columns(*size), model.time_steps(*size)) for size in sizes),
        segment=segment,
        dropout=config.training.dropout > 0 and model.dropped != "none",
    )


SHORT = {"training__min_length": 21, "training__max_length": 21, "training__bins": (21,)}
BINS = {"training__bins": (8, 12, 16, 20)}


@pytest.mark.parametrize("segment", [None, 1, 3])
@pytest.mark.parametrize(
    ("family", "seeds", "changes"),
    [
        ("neural_gpu", 3, {**SHORT, "model__filters": 24, "training__batch_size": 8}),
        ("diagonal_neural_gpu", 3, BINS),
    ],
)
def test_the_gpu_s_arithmetic_takes_what_was_predicted_on_tensors_of_a_cpu(
    family, seeds, changes, segment
):
    config = training_of(family, **changes)
    engine = CudaEngine(network(config.model), segment=segment)

    taken, call = taken_by(engine, config, seeds, segment)

    recorded = engine_memory.recorded_bytes(call)  # on a GPU only
    assert taken == pytest.approx(ENGINES["cuda"].training(call) - recorded, rel=0.1)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("neural_gpu", {}),
        ("neural_gpu", {"model__gate_cutoff": 0.0, "model__tanh_cutoff": 1.2}),
        ("neural_gpu", {"model__batch_norm": 2}),
        ("neural_gpu", {"model__task_id": True, "model__output_layer": 1}),
        ("neural_gpu", {"model__unit": "resnet"}),
        ("neural_gpu", {"model__unit": "resnet", "model__batch_norm": 1, "model__task_id": True}),
        ("neural_gpu", {"model__layer_scale": 0.5, "training__dropout": 0.0}),
        ("diagonal_neural_gpu", {"model__soft_nonlinearities": True}),
        ("diagonal_neural_gpu", {"model__diagonal_gates": False, "model__dropout_on": "none"}),
        ("diagonal_neural_gpu", {"model__dropout_on": "state"}),
        ("lstm_attention", {}),
        ("lstm_attention", {"training__dropout": 0.0, "model__layers": 1}),
    ],
    ids=str,
)
def test_seeds_under_autograd_at_once_take_what_was_predicted(family, changes):
    sizes = {
        "neural_gpu": {**SHORT, "training__batch_size": 8},
        "diagonal_neural_gpu": BINS,
        "lstm_attention": SHORT,
    }[family]
    maps = 64 if family == "lstm_attention" else 24
    config = training_of(family, **{"model__filters": maps, **sizes, **changes})
    engine = AutogradEngine(network(config.model), seeds_at_once=True)

    taken, call = taken_by(engine, config, seeds=3)

    gradients = FLOAT * 3 * parameter_values(config.model) * 2
    predicted = ENGINES["autograd at once"].training(call) + gradients + 2 * call.logits
    assert taken == pytest.approx(predicted, rel=0.1)


@on_linux
@slow
@pytest.mark.timeout(1800)
def test_a_step_of_512_filters_stays_within_four_gibibytes_on_a_cpu():
    config = training_of("neural_gpu", model__filters=512, evaluation__sequences=2)
    plan = plan_memory(config, 1, 4 * 2**30, engine="native", threads=2)

    taken = measured(config, engine="native", threads=2, segment=plan.segment, steps=1)

    assert taken <= 4 * 2**30
    assert taken == pytest.approx(plan.predicted_bytes, rel=0.1)
