"""The compiled engine beside what every engine is held to: its targets, threads and absence."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout, row_hash
from ngpu_core.engines import choice, native
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.engine import Differentiated
from ngpu_core.engines.native import NativeEngine
from ngpu_core.engines.native_build import load, targets, usable
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.packing import SeedPack
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config
from tests.ngpu_core.engine_cases import Case

FAMILIES = ["neural_gpu", "diagonal_neural_gpu"]
needs_library = pytest.mark.skipif(load() is None, reason="no compiler built the native engine")


def differentiated(family: str, filters: int, engine, dtype=torch.float32) -> Differentiated:
    """One batch of two bins, sequences of unequal lengths, an odd number of them."""
    config = run_config(family, model__filters=filters)
    pack = SeedPack.initialize(network(config.model), [5], "cpu")
    generator = torch.Generator().manual_seed(filters)
    bins = []
    for columns in (9, 6):
        rows = 2 if family == "neural_gpu" else 1
        symbols = torch.randint(1, 13, (1, 5, rows + 1, columns), generator=generator)
        ends = torch.randint(2, columns + 1, (1, 5, 1, 1), generator=generator)
        symbols = symbols * (torch.arange(columns) < ends)
        bins.append(
            Bin(inputs=symbols[:, :, :rows], targets=symbols[:, :, rows], padded_length=columns + 1)
        )
    dropout = HashedDropout(seeds=[5], step=2, probability=0.2, scaled_by=0)
    parameters = {name: value.to(dtype) for name, value in pack.parameters.items()}
    weights = torch.tensor([0.01], dtype=dtype)
    return engine(network(config.model)).differentiate(parameters, bins, dropout, weights)


@needs_library
@settings(max_examples=40, deadline=None)
@given(
    filters=st.integers(1, 50), height=st.integers(1, 9), columns=st.integers(1, 22),
    sequences=st.integers(1, 7), layers=st.integers(1, 2), target=st.sampled_from([*usable()]),
)  # fmt: skip
def test_tiles_fit_states_of_any_size(filters, height, columns, sequences, layers, target):
    case = Case(
        # Without a cutoff nothing depends on the side of a kink.
        model=ModelConfig(
            filters=filters, height=height, layers=layers, weight_copies=2, gate_cutoff=1.0
        ),
        bins=((columns, columns),),
        sequences=sequences,
        dropout=0.1,
    )
    ours = case.found(NativeEngine(case.network(), target=target), torch.float32)
    exact = case.found(AutogradEngine(case.network()), torch.float64)

    torch.testing.assert_close(ours.losses.double(), exact.losses.double(), rtol=1e-5, atol=0)
    # A tensor that has next to no gradient is measured beside the others.
    whole = torch.cat([value.flatten() for value in exact.gradients.values()]).norm()
    for name, value in exact.gradients.items():
        bound = 3e-5 * max(float(value.norm()), 1e-2 * float(whole))
        assert (ours.gradients[name].double() - value).norm() < bound, name


@needs_library
@settings(max_examples=40, deadline=None)
@given(
    filters=st.integers(3, 100), columns=st.integers(1, 30), sequences=st.integers(1, 40),
    target=st.sampled_from([*usable()]),
)  # fmt: skip
def test_tiles_fit_lines_of_any_length(filters, columns, sequences, target):
    case = Case(
        model=ModelConfig(
            family="diagonal_neural_gpu", filters=filters, input_symbols=9, output_symbols=7
        ),
        bins=((columns, columns),),
        sequences=sequences,
    )
    parameters, [batch] = case.parameters(torch.float32), case.batch()
    doubles = {name: value.double() for name, value in parameters.items()}
    ours = NativeEngine(case.network(), target=target).logits(parameters, batch)
    exact = AutogradEngine(case.network()).logits(doubles, batch)

    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=3e-5 * float(exact.abs().max()))


@needs_library
@pytest.mark.parametrize("target", list(targets()))
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("filters", [7, 16, 24])
def test_every_instruction_set_gives_the_definitions_gradients(target, family, filters):
    if load(target) is None:
        pytest.skip(f"this processor has no {target}")
    ours = differentiated(family, filters, lambda net: NativeEngine(net, target=target))
    exact = differentiated(family, filters, AutogradEngine, torch.float64)
    torch.testing.assert_close(ours.losses.double(), exact.losses, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.saturation.double(), exact.saturation, rtol=1e-5, atol=1e-9)
    for name, value in exact.gradients.items():
        error = (ours.gradients[name].double() - value).norm() / value.norm().clamp(min=1e-9)
        assert error < 1e-5, name


@needs_library
def test_the_engine_says_which_instruction_set_it_took():
    net = network(run_config("neural_gpu").model)
    assert NativeEngine(net).instruction_set == usable()[0]
    assert [NativeEngine(net, target=one).instruction_set for one in usable()] == list(usable())
    with pytest.raises(RuntimeError, match="no library for mmx"):
        NativeEngine(net, target="mmx")


@needs_library
@pytest.mark.parametrize("family", FAMILIES)
def test_threads_and_segments_change_no_bit(family):
    one = differentiated(family, 24, NativeEngine)
    for others in (
        lambda net: NativeEngine(net, threads=2),
        lambda net: NativeEngine(net, segment=1),
        lambda net: NativeEngine(net, threads=3, segment=4),
    ):
        other = differentiated(family, 24, others)
        assert torch.equal(one.losses, other.losses)
        assert torch.equal(one.saturation, other.saturation)
        for name, value in one.gradients.items():
            assert torch.equal(value, other.gradients[name]), name


@needs_library
def test_seeds_trained_in_threads_side_by_side_end_where_they_do_in_turn():
    config = run_config("neural_gpu")
    in_turn, side_by_side = (
        PackTrainer(config, [1, 2, 3]),
        PackTrainer(config, [1, 2, 3], threads=2),
    )
    for trainer in (in_turn, side_by_side):
        list(trainer.events())
    assert torch.equal(in_turn.pack.rows, side_by_side.pack.rows)


@needs_library
@pytest.mark.parametrize("target", list(targets()))
@given(
    key=st.integers(0, 2**63 - 1), index=st.integers(0, 40),
    times=st.integers(0, 9), sequences=st.integers(0, 33),
)  # fmt: skip
def test_rows_of_masks_are_hashed_as_the_definition_hashes_them(
    target, key, index, times, sequences
):
    library = load(target)
    if library is None:
        pytest.skip(f"this processor has no {target}")
    hashes = native.row_hashes(library, key, index, times, sequences)
    assert np.array_equal(hashes, row_hash([key], index, range(times), sequences)[0])


def test_without_the_library_training_goes_on_and_the_log_says_once_what_is_lost(
    monkeypatch, caplog
):
    monkeypatch.setattr(native, "load", lambda target=None: None)
    choice._say_once.cache_clear()
    config = run_config("neural_gpu")
    with caplog.at_level(logging.WARNING):
        engines = [choice.choose(config).name for _ in range(3)]
    assert "native" not in engines
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "make setup" in caplog.text
    with pytest.raises(ValueError, match="native engine cannot compute this"):
        choice.choose(config, asked="native")


def test_the_build_says_which_sets_there_are_without_torch():
    """`setup.py` loads this file where torch is not installed."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from importlib.util import module_from_spec, spec_from_file_location\n"
        "spec = spec_from_file_location('b', 'ngpu_core/engines/native_build.py')\n"
        "module = module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(sorted(module.targets()))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "portable" in listed.stdout
