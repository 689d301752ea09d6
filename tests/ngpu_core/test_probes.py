"""Probes ask what they say, and whoever answers right is wrong nowhere."""

import re
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ngpu_core.carries import curve_carry_lengths
from ngpu_core.config import RunConfig
from ngpu_core.engines.choice import choose
from ngpu_core.evaluation.answers import answers
from ngpu_core.evaluation.cofactors import cofactor_pairs
from ngpu_core.evaluation.generalization import to_bin
from ngpu_core.evaluation.predictor import Ensemble, TrainedSeed
from ngpu_core.evaluation.probe import UnfitProbe, block_size, in_digits
from ngpu_core.evaluation.probes import (
    PROBES,
    UnknownProbe,
    asked_shapes,
    error_lengths,
    probe,
    probes_of,
)
from ngpu_core.evaluation.probing import ask, probe_seed
from ngpu_core.events import ProbeResult, Progress
from ngpu_core.memory import STATE_BUDGET
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.packing import SeedPack
from ngpu_core.tasks.registry import TASKS, task
from ngpu_core.training import PackTrainer
from tests.ngpu_core.configurations import run_config

SHORT = run_config("neural_gpu", evaluation__length_limit=30, evaluation__length_sequences=5)
#: (probe, task) for every probe, in each of the layouts it fits.
CASES = [
    (name, written)
    for name in PROBES
    for written in ("badde", "baddz", "mul", "bmul_dn", "scopy")
    if probe(name).fits(task(written))
]


class Oracle:
    """Writes the right answer, but for one position, which it gets wrong everywhere."""

    def __init__(self, config: RunConfig, wrong_at: int | None = None) -> None:
        self.network = network(config.model)
        self.device = "cpu"
        self.wrong_at = wrong_at

    def scores(self, batch: Bin) -> torch.Tensor:
        written = batch.targets.clone()
        if self.wrong_at is not None:
            written[..., self.wrong_at] = 1 + written[..., self.wrong_at] % 2
        return torch.nn.functional.one_hot(written, self.network.config.output_symbols)


def results(predictor, name, written, config=SHORT, seed=0):
    found = ask(predictor, probe(name), task(written), config, seed, 7)
    return [one for one in found if one is not None]


def asked(name, written, seed=0, config=SHORT):
    """(point, operands, answer) of every question."""
    chosen = task(written)
    for point, batch in probe(name).all_questions(chosen, config, seed):
        length = batch.targets.shape[1]
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
            answer = chosen.decode_target(targets, length)
            yield point, chosen.decode(inputs, length), answer


@pytest.mark.parametrize(("name", "written"), CASES)
def test_who_answers_right_is_wrong_nowhere(name, written):
    found = results(Oracle(SHORT), name, written)
    points = probe(name).points(task(written), SHORT)

    assert [(one.point, one.label) for one in found] == [(at.number, at.label) for at in points]
    assert len({one.point for one in found}) == len({one.label for one in found}) == len(found)
    for one in found:
        assert (one.wrong_sequences, one.wrong_symbols) == (0, 0)
        assert (one.first_wrong, one.last_wrong) == (None, None)
        assert one.sequences >= 1
        assert one.symbols >= one.sequences


@pytest.mark.parametrize(("name", "written"), CASES)
def test_who_is_wrong_at_one_position_is_wrong_there(name, written):
    for one in results(Oracle(SHORT, wrong_at=2), name, written):
        assert one.wrong_sequences == one.wrong_symbols
        if written not in ("baddz", "scopy"):  # whose third symbol may be no symbol that counts
            assert one.wrong_sequences == one.sequences
        assert {one.first_wrong, one.last_wrong} <= {2, None}
        assert (one.first_wrong is None) == (one.wrong_symbols == 0)


@pytest.mark.parametrize("written", ["badd", "add", "badde"])
@pytest.mark.parametrize("name", ["carries", "carries_offset"])
def test_carries_run_through_as_many_digits_as_they_say(name, written):
    base = task(written).base
    places: dict[int, int] = {}
    shifts = set()
    for point, (first, second), answer in asked(name, written):
        place = places[point.number] = places.get(point.number, -1) + 1
        assert answer == first + second
        if place < 32:  # those without overflow come first: no digit is carried out of
            assert _longest_carry(first, second, base) == 0
            total = base**point.number - 1
        else:  # from the lowest digit that is not 0 up to the last of them
            zeros = _trailing_zeros(first, base)
            assert _longest_carry(first, second, base) == _trailing_zeros(answer, base) - zeros
            total = base**point.number
        shift = _trailing_zeros(answer, base) - _trailing_zeros(total, base)
        assert answer == total * base**shift
        shifts.add(shift)
    assert list(places) == [*range(1, 30), *range(30, 96, 5)] == curve_carry_lengths(95)
    assert set(places.values()) == {63}
    assert shifts == {0} if name == "carries" else len(shifts) > 50


def _trailing_zeros(number, base):
    return next(place for place in range(300) if number % base ** (place + 1))


def _longest_carry(first, second, base):
    """Digits in a row that are carried out of, by schoolbook addition."""
    longest = run = carry = 0
    while first or second:
        carry = (first % base + second % base + carry) // base
        run = run + 1 if carry else 0
        longest = max(longest, run)
        first, second = first // base, second // base
    return longest


@pytest.mark.parametrize(("written", "base"), [("mul", 10), ("bmul", 2), ("qmul", 4)])
def test_structured_products_are_what_they_say(written, base):
    for point, (first, second), answer in asked("powers", written):
        assert sorted([first, second]) == sorted([base**point.number, base ** (100 - point.number)])
        assert answer == base**100
    pairs = set()
    for point, (first, second), answer in asked("powers_less_one", written):
        assert first * second == answer == base**100 - 1
        assert point.label == str(min(first, second))
        pairs.add(frozenset([first, second]))
    assert pairs == {frozenset(pair) for pair in cofactor_pairs(base, 100)}
    assert frozenset([base**50 - 1, base**50 + 1]) in pairs
    for point, (first, second), answer in asked("squares_less_one", written):
        assert {first, second} == {base**point.number - 1, base**point.number + 1}
        assert answer == base ** (2 * point.number) - 1
    for point, (first, second), answer in asked("repunits", written):
        assert first == second == sum(base**i for i in range(point.number))
        assert answer == first * first


def test_cofactors_are_all_divisors_that_cyclotomic_factors_give():
    assert cofactor_pairs(2, 6) == ((1, 63), (3, 21), (7, 9))
    assert cofactor_pairs(10, 2) == ((1, 99), (9, 11))


def test_all_pairs_of_single_digits_are_asked_once_with_99_zeros_before_each():
    found = [(operands, point.label) for point, operands, _ in asked("padded_digits", "mul")]

    assert [pair for pair, _ in found] == [(a, b) for a in range(10) for b in range(10)]
    assert all(label == f"{a}×{b}" for (a, b), label in found)
    batch = next(iter(probe("padded_digits").all_questions(task("mul"), SHORT, 0)))[1]
    assert (batch.inputs[0, 0, :201] > 0).all()


def test_runs_of_equal_digits_are_as_long_as_they_say():
    for point, operands, _ in asked("equal_digits", "add"):
        for operand in operands:
            text = str(operand).zfill(100)
            changes = [i for i in range(1, 100) if text[i] != text[i - 1]]
            assert len({change % point.number for change in changes}) <= 1


@given(limit=st.integers(7, 5000), written=st.sampled_from(["badd", "bmul_dn", "rev", "sbadde"]))
def test_lengths_grow_by_a_third_up_to_the_limit(limit, written):
    found = list(error_lengths(task(written), limit))

    assert all(task(written).valid(length) for length in found)
    assert found[0] >= 7
    assert found[-1] >= limit - 1
    assert all(b <= max(a + 2, 4 * a // 3 + 1) for a, b in pairwise(found))
    assert found == sorted(set(found))


def test_the_published_lengths_end_at_4001():
    assert list(error_lengths(task("bmul_dn"), 4001))[:5] == [7, 9, 12, 16, 21]
    assert list(error_lengths(task("bmul_dn"), 4001))[-2:] == [3569, 4001]


def test_equal_seeds_are_asked_the_same_whatever_else_is_asked():
    for name in ("random_pairs", "carries_offset", "lengths"):
        written = "badd"
        first, again, other = (
            [operands for _, operands, _ in asked(name, written, seed)] for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other
        points = probe(name).points(task(written), SHORT)
        alone = list(probe(name).questions(task(written), SHORT, 1, points[-1]))
        whole = [
            batch
            for at, batch in probe(name).all_questions(task(written), SHORT, 1)
            if at == points[-1]
        ]
        assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(alone, whole, strict=True))


def test_the_documentation_names_every_probe():
    text = (Path(__file__).parents[2] / "docs" / "probes.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(PROBES)


def test_probes_that_do_not_fit_are_refused_by_name():
    with pytest.raises(UnfitProbe, match="padded_digits does not fit task badd: it asks multipl"):
        probe("padded_digits").points(task("badd"), SHORT)
    with pytest.raises(UnfitProbe, match="carries does not fit task bmul"):
        list(probe("carries").all_questions(task("bmul"), SHORT, 0))
    with pytest.raises(UnfitProbe, match="mulz"):  # which writes no leading zeros
        probe("padded_digits").points(task("mulz"), SHORT)
    with pytest.raises(UnknownProbe, match="nearest name is 'carries'"):
        probe("carrys")
    assert all(probe("lengths").fits(each) for each in TASKS.values())


@given(number=st.integers(0, 10**30 - 1), base=st.sampled_from([2, 4, 5, 8, 10]))
def test_digits_of_a_number_are_its_own(number, base):
    found = in_digits(number, base, 100)[0]
    assert sum(int(digit) * base**place for place, digit in enumerate(found)) == number
    with pytest.raises(OverflowError):
        in_digits(base**5, base, 5)


def test_long_sequences_are_asked_in_small_blocks():
    config = replace(SHORT, evaluation=replace(SHORT.evaluation, probes=("lengths",),
                     length_limit=4001, length_sequences=1024))  # fmt: skip
    point = probe("lengths").points(task("badd"), config)[-1]
    blocks = [
        len(one.targets) for one in probe("lengths").questions(task("badd"), config, 0, point)
    ]

    assert point.number == 4001
    assert sum(blocks) == 1024
    assert max(blocks) * 4001 <= 2**17
    assert asked_shapes(config) >= {(4001, block_size(4001)), (7, 128)}


def test_memory_does_not_grow_with_the_number_of_long_sequences():
    def peak(sequences):
        config = run_config(
            "diagonal_neural_gpu", evaluation__length_limit=4001,
            evaluation__length_sequences=sequences,
        )  # fmt: skip
        oracle, sizes = Oracle(config), []
        tracemalloc.start()
        point = probe("lengths").points(task("bmul_dn"), config)[-1]
        for block in probe("lengths").questions(task("bmul_dn"), config, 0, point):
            for part in answers(oracle, block):
                assert not part.wrong.any()
                sizes.append(len(part.written))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(sizes) == sequences
        assert max(sizes) * 4001 * 13 <= STATE_BUDGET
        return highest

    assert peak(256) < 1.5 * peak(32)


def trained(config, seeds):
    trainer = PackTrainer(config, seeds)
    events = list(trainer.events())
    return trainer, events


def test_probes_are_asked_once_after_training_of_every_task_they_fit():
    config = run_config(
        "neural_gpu", evaluation__tasks=("badd", "scopy"), evaluation__length_limit=12,
        evaluation__length_sequences=3, evaluation__probes=("lengths",),
    )  # fmt: skip
    trainer, events = trained(config, [5])
    found = [event for event in events if isinstance(event, ProbeResult)]

    assert [(one.task, one.probe, one.point) for one in found] == [
        *[("badd", "lengths", length) for length in (7, 9, 11)],
        *[("scopy", "lengths", length) for length in (7, 9, 12)],
    ]
    assert {(one.seed, one.step) for one in found} == {(5, 6)}
    assert any(isinstance(event, Progress) for event in events)  # it is not taken for hung
    again = TrainedSeed(engine=trainer.engine, parameters=trainer.pack.alone(5).parameters)
    assert [one for one in probe_seed(again, config, 5, 6) if one] == found


def members(config, seeds):
    """Seeds that have not been trained, but prefer some symbols: their states fade to nothing."""
    pack = SeedPack.initialize(network(config.model), seeds, "cpu")
    bias = pack.parameters["output.bias"]
    bias.copy_(torch.randn(bias.shape, generator=torch.Generator().manual_seed(0)))
    engine = choose(config)
    return [TrainedSeed(engine=engine, parameters=pack.alone(seed).parameters) for seed in seeds]


@pytest.mark.parametrize("family", ["neural_gpu", "diagonal_neural_gpu"])
def test_an_ensemble_of_equals_is_its_member(family):
    config = run_config(family, evaluation__length_limit=12, evaluation__length_sequences=9)
    [member] = members(config, [3])
    written = "badd" if family == "neural_gpu" else "badd_dn"

    alone = results(member, "lengths", written, config)
    assert results(Ensemble([member] * 3), "lengths", written, config) == alone


def test_an_ensemble_is_the_mean_of_its_members_probabilities():
    config = run_config("neural_gpu")
    each = members(config, [1, 2, 3])
    batch = task("badd").sample(np.random.default_rng(0), 4, 11)
    one = to_bin([batch], 11, "cpu")

    expected = sum(torch.softmax(member.scores(one).double(), -1) for member in each) / 3
    assert torch.allclose(Ensemble(each).scores(one), expected, atol=1e-12)
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])
    other = members(run_config("neural_gpu", model__filters=5), [1])
    with pytest.raises(ValueError, match="one size"):
        Ensemble([*each, *other])


def test_a_configuration_asks_each_probe_of_the_tasks_it_fits():
    config = run_config(
        "neural_gpu", evaluation__tasks=("badd", "bmul"),
        evaluation__probes=("padded_digits", "carries", "random_pairs"),
    )  # fmt: skip
    assert [(one.name, probe.name) for one, probe in probes_of(config)] == [
        ("bmul", "padded_digits"), ("badd", "carries"),
        ("badd", "random_pairs"), ("bmul", "random_pairs"),
    ]  # fmt: skip
