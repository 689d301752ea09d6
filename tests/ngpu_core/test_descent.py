"""The compiled descent beside its definition in torch, on rows of any size and pull."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core import descent as descents
from ngpu_core.descent import NativeDescent, TorchDescent, descent
from ngpu_core.engines.native_build import load, targets
from ngpu_core.optimizers import Adam, AdaMax, PackOptimizer
from ngpu_core.packing import Layout, SeedPack
from ngpu_core.relaxation import add_pull

OPTIMIZERS = (Adam(clip_norm=1.0, epsilon=1e-4), AdaMax(epsilon=1e-8))
needs_library = pytest.mark.skipif(load() is None, reason="no compiler built the native engine")


@dataclass(frozen=True)
class Relaxing:
    """As much of a network as a descent looks at."""

    relaxed: frozenset[str]


@dataclass(frozen=True)
class Case:
    """Some steps of a pack, drawn."""

    optimizer: PackOptimizer
    copies: int
    #: Values of a copy, and of what has no copies.
    sizes: tuple[int, int]
    pulls: tuple[float, ...]
    rates: tuple[float, ...]
    #: Size of the gradients: below and above what is clipped.
    scale: float
    steps: int
    draw: int

    @property
    def network(self) -> Relaxing:
        return Relaxing(frozenset({"copied"}))

    def pack(self) -> SeedPack:
        copied, single = self.sizes
        layout = Layout({"first": (single,), "copied": (self.copies, copied), "last": (3, single)})
        seeds = tuple(range(len(self.pulls)))
        rows = self.random(0, len(seeds), layout.size)
        pack = SeedPack(seeds=seeds, layout=layout, rows=rows)
        self.optimizer.prepare(pack)
        return pack

    def random(self, step: int, *shape: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.draw + 1000 * step)
        return torch.randn(*shape, generator=generator)

    def gradients(self, step: int, pack: SeedPack) -> torch.Tensor:
        return self.scale * self.random(step, *pack.rows.shape)

    def train(self, chosen, pack: SeedPack, places: list[int] | None = None) -> None:
        """All steps with a descent; of the seeds at some places of the whole pack only."""
        places = places if places is not None else list(range(len(self.pulls)))
        whole = self.pack()
        for step in range(1, self.steps + 1):
            finite = chosen.update(
                pack,
                self.gradients(step, whole)[places],
                [self.pulls[place] for place in places],
                [self.rates[place] for place in places],
                [True] * len(places),
                step,
            )
            assert finite == [True] * len(places)


cases = st.builds(
    lambda optimizer, copies, sizes, seed_numbers, scale, steps, draw: Case(
        optimizer,
        copies,
        sizes,
        tuple(pull for pull, _ in seed_numbers),
        tuple(rate for _, rate in seed_numbers),
        scale,
        steps,
        draw,
    ),
    st.sampled_from(OPTIMIZERS),
    st.integers(1, 6),
    st.tuples(st.integers(1, 1200), st.integers(1, 70)),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.0005, 0.1]), st.sampled_from([0.001, 0.1])),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([1e-6, 1e-3, 1.0, 1e4]),
    st.integers(1, 4),
    st.integers(0, 999),
)


def native(case: Case, target: str | None = None) -> NativeDescent:
    library = load(target)
    assert library is not None
    return NativeDescent(library, case.network, case.optimizer, case.pack())


def assert_near(found: torch.Tensor, exact: torch.Tensor, size: torch.Tensor) -> None:
    """Within eight roundings of numbers as large as `size`."""
    assert ((found.double() - exact).abs() <= 8 * 2**-24 * size).all()


@needs_library
@pytest.mark.parametrize("target", list(targets()))
@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_each_step_is_the_definitions_up_to_a_few_roundings(target, case):
    if load(target) is None:
        pytest.skip(f"this processor has no {target}")
    chosen, pack = native(case, target), case.pack()
    arguments = case.pulls, case.rates, [True] * len(case.pulls)
    for step in range(1, case.steps + 1):
        before = SeedPack(seeds=pack.seeds, layout=pack.layout, rows=pack.rows.double())
        before.slots = {slot: rows.double() for slot, rows in pack.slots.items()}
        weights, gradients = before.rows.clone(), case.gradients(step, pack)
        pulled = gradients.double()
        add_pull(case.network, before, pulled, torch.tensor(case.pulls, dtype=torch.float64))
        largest = gradients.abs().double() + max(case.pulls) * weights.abs().max()

        chosen.update(pack, gradients, *arguments, step)

        assert_near(gradients, pulled, largest)
        # From here on with the pull as rounded: what it cancels to may be divided by its own size.
        active = torch.ones(len(case.rates), dtype=torch.bool)
        rates = torch.tensor(case.rates, dtype=torch.float64)
        case.optimizer.update(before, gradients.double(), rates, active, step)
        for slot, rows in pack.slots.items():
            assert_near(rows, before.slots[slot], rows.abs().max())
        steps = 10 * rates[:, None]  # no optimizer's steps are longer
        assert_near(pack.rows, before.rows, weights.abs() + steps)


@needs_library
@settings(deadline=None, max_examples=30)
@given(case=cases)
def test_a_seeds_bits_do_not_depend_on_its_companions_or_its_place(case):
    together = case.pack()
    case.train(native(case), together)
    for place in range(len(case.pulls)):
        alone = case.pack().alone(place)
        moved = SeedPack(seeds=(place,), layout=alone.layout, rows=alone.rows.clone())
        case.optimizer.prepare(moved)
        case.train(native(case), moved, [place])
        assert torch.equal(moved.rows[0], together.rows[place])
        for slot, rows in moved.slots.items():
            assert torch.equal(rows[0], together.slots[slot][place])


@pytest.mark.parametrize("kind", ["native", "torch"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_seeds_not_active_or_without_a_finite_gradient_keep_their_parameters(kind, optimizer):
    if kind == "native" and load() is None:
        pytest.skip("no compiler built the native engine")
    case = Case(optimizer, 2, (5, 3), (0.01,) * 5, (0.1,) * 5, 1.0, 1, 7)
    chosen = native(case) if kind == "native" else TorchDescent(case.network, optimizer)
    pack, gradients = case.pack(), case.gradients(1, case.pack())
    gradients[1, 4], gradients[2, 0], gradients[3, 20] = float("nan"), float("inf"), 1e30
    before = pack.rows.clone()

    finite = chosen.update(pack, gradients, case.pulls, case.rates, [False] + [True] * 4, 1)

    assert finite == [True, False, False, False, True]
    assert torch.equal(pack.rows[:4], before[:4])
    assert (pack.rows[4] != before[4]).all()
    assert all(rows.isfinite().all() for rows in pack.slots.values())


def test_without_a_library_or_for_other_numbers_it_is_the_definition(monkeypatch):
    case = Case(OPTIMIZERS[0], 2, (5, 3), (0.01,), (0.1,), 1.0, 1, 7)
    double = SeedPack(seeds=(0,), layout=case.pack().layout, rows=case.pack().rows.double())
    assert isinstance(descent(case.network, case.optimizer, double), TorchDescent)
    if load() is not None:
        assert isinstance(descent(case.network, case.optimizer, case.pack()), NativeDescent)
    for library in (None, object()):  # not built, or built from older sources
        monkeypatch.setattr(descents, "load", lambda library=library: library)
        assert isinstance(descent(case.network, case.optimizer, case.pack()), TorchDescent)
