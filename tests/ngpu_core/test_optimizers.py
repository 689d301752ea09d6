"""Each optimizer against its formula, one number at a time."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngpu_core.gradient_noise import add_gradient_noise
from ngpu_core.optimizers import Adam, AdaMax
from ngpu_core.packing import Layout, SeedPack

numbers = st.floats(-3, 3, allow_nan=False, width=32)
gradients = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=6)


def pack_of(values: list[list[float]]) -> SeedPack:
    layout = Layout({"w": (len(values[0]),)})
    return SeedPack(seeds=tuple(range(len(values))), layout=layout, rows=torch.tensor(values))


def all_active(count: int) -> torch.Tensor:
    return torch.ones(count, dtype=torch.bool)


@settings(deadline=None, max_examples=50)
@given(steps=gradients)
def test_adam_clips_to_its_norm_and_takes_the_published_step(steps):
    adam = Adam(clip_norm=1.0, epsilon=1e-4)
    pack = pack_of([[0.5, -0.25]])
    adam.prepare(pack)
    value, first, second = [0.5, -0.25], [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(steps, start=1):
        rates = torch.tensor([0.01])
        adam.update(pack, torch.tensor([gradient]), rates, all_active(1), t)
        norm = sum(g * g for g in gradient) ** 0.5
        for i, g in enumerate(gradient):
            g *= min(1.0, 1.0 / norm) if norm else 1.0
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            rate = 0.01 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
            value[i] -= rate * first[i] / (second[i] ** 0.5 + 1e-4)
    torch.testing.assert_close(pack.parameters["w"][0], torch.tensor(value), rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(steps=gradients)
def test_adamax_clips_elementwise_to_its_running_maximum(steps):
    adamax = AdaMax(epsilon=1e-8)
    pack = pack_of([[0.5, -0.25]])
    adamax.prepare(pack)
    value, first, maximum = [0.5, -0.25], [0.0, 0.0], [0.0, 0.0]
    for t, gradient in enumerate(steps, start=1):
        adamax.update(pack, torch.tensor([gradient]), torch.tensor([0.01]), all_active(1), t)
        decay = 1 - max(0.0005, 0.01 * 0.5 ** (t / 2000))
        for i, g in enumerate(gradient):
            bound = 1.2 * maximum[i] + 1e-4
            g = min(max(g, -bound), bound)
            first[i] = 0.9 * first[i] + 0.1 * g
            maximum[i] = max(decay * maximum[i], abs(g))
            value[i] -= 0.01 * first[i] / (maximum[i] + 1e-8)
    torch.testing.assert_close(pack.parameters["w"][0], torch.tensor(value), rtol=1e-3, atol=1e-5)


def test_a_seed_that_is_not_active_keeps_its_values_even_under_a_gradient_of_nan():
    for optimizer in (Adam(clip_norm=1.0, epsilon=1e-4), AdaMax(epsilon=1e-8)):
        pack = pack_of([[1.0, 2.0], [3.0, 4.0]])
        optimizer.prepare(pack)
        gradient = torch.tensor([[float("nan"), 1.0], [1.0, 1.0]])
        optimizer.update(pack, gradient, torch.tensor([0.1, 0.1]), torch.tensor([False, True]), 1)

        assert pack.parameters["w"][0].tolist() == [1.0, 2.0]
        assert (pack.parameters["w"][1] < torch.tensor([3.0, 4.0])).all()
        assert all(slot.isfinite().all() for slot in pack.slots.values())


def test_clipping_and_rates_are_each_seeds_own():
    adam = Adam(clip_norm=1.0, epsilon=1e-4)
    together = pack_of([[0.0, 0.0], [0.0, 0.0]])
    adam.prepare(together)
    gradient = torch.tensor([[100.0, 0.0], [0.1, 0.2]])
    adam.update(together, gradient, torch.tensor([0.1, 0.2]), all_active(2), 1)
    for place, rate in enumerate((0.1, 0.2)):
        alone = pack_of([[0.0, 0.0]])
        adam.prepare(alone)
        adam.update(alone, gradient[[place]], torch.tensor([rate]), all_active(1), 1)
        assert torch.equal(alone.parameters["w"][0], together.parameters["w"][place])


def test_gradient_noise_has_its_deviation_and_is_keyed_by_seed_and_step():
    def noise(seeds, step):
        gradients = torch.zeros(len(seeds), 4000)
        add_gradient_noise(gradients, seeds, [0.5] * len(seeds), step)
        return gradients

    drawn = noise([3, 4], 7)
    assert drawn.abs().max() <= 1.0  # cut at two deviations
    assert 0.40 < drawn.std() < 0.48  # 0.88 of a normal's deviation
    assert torch.equal(drawn[1], noise([4], 7)[0])
    assert not torch.equal(drawn[1], noise([4], 8)[0])
