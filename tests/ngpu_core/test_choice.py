"""What no fast engine computes is left to the definition, and the log says which option made it."""

import logging
from dataclasses import replace

import pytest

from ngpu_core.config import ModelConfig, RunConfig
from ngpu_core.engines import choice
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.coverage import uncovered
from ngpu_core.engines.cuda import CudaEngine
from ngpu_core.engines.native import NativeEngine
from ngpu_core.engines.unrolled import TorchEngine
from ngpu_core.models.families import network
from tests.ngpu_core.configurations import run_config

LEFT_TO_AUTOGRAD = [
    {"unit": "resnet"},
    {"batch_norm": 1},
    {"batch_norm": 2},
    {"tanh_cutoff": 1.2},
    {"layer_scale": 0.5},
    {"output_layer": 1},
    {"task_id": True},
    {"family": "diagonal_neural_gpu", "soft_nonlinearities": True},
    {"family": "diagonal_neural_gpu", "diagonal_gates": False},
    {"family": "diagonal_neural_gpu", "dropout_on": "state"},
    {"family": "lstm_attention"},
]
COMPUTED_BY_ALL = [
    {},
    {"gate_cutoff": 0.0},
    {"weight_copies": 1},
    {"layer_scale": 2.0},
    {"tanh_cutoff": 1.0},
    {"dropout_on": "none"},
    {"dropout_on": "state"},
    {"family": "diagonal_neural_gpu"},
    {"family": "diagonal_neural_gpu", "dropout_on": "none"},
    {"family": "diagonal_neural_gpu", "dropout_on": "candidate"},
]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("options", LEFT_TO_AUTOGRAD, ids=str)
def test_what_no_fast_engine_computes_is_computed_under_autograd_and_the_log_says_why(
    options, device, caplog
):
    config = RunConfig(model=ModelConfig(**options))
    key, value = list(options.items())[-1]
    choice._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        engines = [choice.choose(config, device=device) for _ in range(3)]

    assert [engine.name for engine in engines] == ["autograd"] * 3
    assert all(engine.seeds_at_once == (device == "cuda") for engine in engines)
    [record] = caplog.records
    assert record.message.startswith(f"model.{key} {value}: computed under autograd")


@pytest.mark.parametrize("options", LEFT_TO_AUTOGRAD, ids=str)
@pytest.mark.parametrize("engine", ["native", "torch", "cuda"])
def test_an_engine_that_cannot_compute_an_option_refuses_it(engine, options):
    config = RunConfig(model=ModelConfig(**options))
    net = network(config.model)
    makers = {"native": NativeEngine, "torch": TorchEngine, "cuda": CudaEngine}

    with pytest.raises(ValueError, match=f"the {engine} engine cannot compute this: model"):
        choice.choose(config, asked=engine, device="cuda" if engine == "cuda" else "cpu")
    with pytest.raises((RuntimeError, TypeError), match="computed under autograd"):
        makers[engine](net)


@pytest.mark.parametrize("options", COMPUTED_BY_ALL, ids=str)
def test_every_other_option_is_computed_by_every_engine(options):
    assert uncovered(ModelConfig(**options)) is None
    assert TorchEngine(network(ModelConfig(**options)))


def test_every_option_of_a_model_is_on_one_side():
    """A new key of the network that engines do not know must be named in `coverage.py`."""
    named = {key for options in (*LEFT_TO_AUTOGRAD, *COMPUTED_BY_ALL) for key in options}
    sizes = {"filters", "height", "input_symbols", "output_symbols", "layers", "extra_steps"}

    assert named | sizes == set(vars(ModelConfig()))


def test_a_precision_that_autograd_does_not_have_is_said():
    config = run_config("neural_gpu", model__batch_norm=2)
    config = replace(config, training=replace(config.training, precision="tf32"))
    choice._say_once.cache_clear()

    assert isinstance(choice.choose(config, device="cuda"), AutogradEngine)
    assert choice._say_once.cache_info().misses == 1
