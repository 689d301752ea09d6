"""Every engine computes the definition: the readable networks under autograd in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.config import ModelConfig
from ngpu_core.engines.autograd import AutogradEngine
from ngpu_core.engines.cuda import CudaEngine
from tests.ngpu_core.engine_cases import (
    ANY_PRECISION,
    CASES,
    ENGINES,
    Case,
    assert_equal_up_to,
    relative,
    settled,
)

every_engine = pytest.mark.parametrize("name", ENGINES)


def neural_gpus() -> st.SearchStrategy[Case]:
    return st.builds(
        lambda height, rows, **drawn: Case(
            model=ModelConfig(
                height=height,
                input_symbols=5,
                output_symbols=4,
                **{key: drawn.pop(key) for key in MODEL_KEYS},
            ),
            rows=min(rows, height),
            **drawn,
        ),
        height=st.sampled_from([1, 4, 5]),
        rows=st.integers(1, 2),
        filters=st.sampled_from([1, 3, 5, 8]),
        layers=st.integers(1, 3),
        weight_copies=st.sampled_from([1, 3]),
        gate_cutoff=st.sampled_from([1.0, 1.2]),
        extra_steps=st.integers(0, 1),
        bins=st.sampled_from([((6, 8),), ((5, 5), (3, 4))]),
        dropout=st.sampled_from([0.0, 0.2]),
        unequal=st.booleans(),
        seeds=st.sampled_from([(3,), (7, 1, 4)]),
        data_seed=st.integers(0, 9),
    )


MODEL_KEYS = ("filters", "layers", "weight_copies", "gate_cutoff", "extra_steps")


def diagonals() -> st.SearchStrategy[Case]:
    return st.builds(
        lambda filters, **drawn: Case(
            model=ModelConfig(
                family="diagonal_neural_gpu",
                filters=filters,
                height=1,
                input_symbols=5,
                output_symbols=4,
            ),
            **drawn,
        ),
        filters=st.sampled_from([1, 2, 3, 7, 12]),
        bins=st.sampled_from([((5, 5),), ((3, 3), (7, 7), (4, 4)), ((4, 4), (4, 4))]),
        dropout=st.sampled_from([0.0, 0.2]),
        saturation=st.sampled_from([0.0, 0.3]),
        unequal=st.booleans(),
        seeds=st.sampled_from([(3,), (7, 1, 4)]),
        data_seed=st.integers(0, 9),
    )


@pytest.mark.parametrize("name", ANY_PRECISION)
@settings(max_examples=40, deadline=None)
@given(case=neural_gpus() | diagonals(), segment=st.sampled_from([None, 1, 3]))
def test_an_engine_computes_the_definition(name, case, segment):
    expected = case.found(AutogradEngine(case.network()), torch.float64)
    found = case.found(ENGINES[name](case.network(), segment), torch.float64)

    assert_equal_up_to(1e-9, found, expected)


@pytest.mark.parametrize("segment", [None, 4])
@pytest.mark.parametrize("case", CASES)
@every_engine
def test_an_engine_computes_the_definition_in_float32(name, case, segment):
    chosen, expected = settled(case)
    found = chosen.found(ENGINES[name](chosen.network(), segment), torch.float32)

    assert_equal_up_to(1e-5, found, expected)


@pytest.mark.parametrize("case", CASES)
@every_engine
def test_an_engine_tests_as_the_definition_does(name, case):
    chosen, _ = settled(case)
    parameters = chosen.parameters(torch.float32)
    batch = chosen.batch()[0]
    expected = AutogradEngine(chosen.network()).logits(parameters, batch)
    found = ENGINES[name](chosen.network(), None).logits(parameters, batch)

    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@every_engine
def test_a_long_sequence_is_tested(name):
    case = Case(
        model=ModelConfig(filters=3, height=2, input_symbols=5, output_symbols=5),
        bins=((401, 401),),
        sequences=2,
        scale=0.5,
    )
    batch = case.batch()[0]
    expected = AutogradEngine(case.network()).logits(case.parameters(torch.float32), batch)
    found = ENGINES[name](case.network(), None).logits(case.parameters(torch.float32), batch)

    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_products_in_bfloat16_are_rounded_and_sums_are_not():
    chosen, expected = settled("as published")
    found = chosen.found(CudaEngine(chosen.network(), precision="bfloat16"), torch.float32)

    for name, gradient in expected.gradients.items():
        assert found.gradients[name].dtype == torch.float32
        assert relative(found.gradients[name], gradient) < 3e-2, name
    assert relative(found.losses, expected.losses) > 1e-6  # it did round
