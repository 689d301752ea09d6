"""The pull between weight copies against autograd, and their averaging."""

import torch

from ngpu_core.config import ModelConfig
from ngpu_core.models.families import network
from ngpu_core.packing import SeedPack
from ngpu_core.relaxation import add_pull, average_copies
from tests.ngpu_core.configurations import run_config

NETWORK = network(ModelConfig(filters=3, height=2, weight_copies=4))


def pack_of(net, seeds=(2, 9, 4)) -> SeedPack:
    pack = SeedPack.initialize(net, seeds, "cpu")
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(pack.rows.shape, generator=generator, dtype=torch.float64)
    return SeedPack(seeds=pack.seeds, layout=pack.layout, rows=pack.rows.double() + noise)


def penalty(pack: SeedPack, parameters, seed: int) -> torch.Tensor:
    """Σ |copy − mean|² of one seed, over the relaxed tensors, copy by copy."""
    total = torch.zeros((), dtype=torch.float64)
    for name in NETWORK.relaxed:
        copies = parameters[name][pack.place(seed)]
        mean = sum(copies) / len(copies)
        for copy in copies:
            total = total + ((copy - mean) ** 2).sum()
    return total


def test_the_closed_form_pull_is_the_gradient_of_the_penalty():
    pack = pack_of(NETWORK)
    pulls = torch.tensor([0.0005, 0.0, 0.1], dtype=torch.float64)
    leaves = {name: value.clone().requires_grad_() for name, value in pack.parameters.items()}
    costs = torch.stack([penalty(pack, leaves, seed) for seed in pack.seeds])
    (pulls * costs).sum().backward()
    before = {name: torch.full_like(value, 0.25) for name, value in pack.parameters.items()}
    rows = pack.layout.rows(before)

    add_pull(NETWORK, pack, rows, pulls)

    gradients = pack.layout.views(rows)

    for name, gradient in gradients.items():
        added = leaves[name].grad if name in NETWORK.relaxed else torch.zeros_like(gradient)
        torch.testing.assert_close(gradient, before[name] + added, rtol=0, atol=1e-12)
    assert {"embedding", "output.weight", "output.bias"} == set(gradients) - NETWORK.relaxed


def test_averaging_replaces_the_copies_of_one_seed_by_their_mean():
    pack = pack_of(NETWORK)
    before = {name: value.clone() for name, value in pack.parameters.items()}

    average_copies(NETWORK, pack, 9)

    for name, value in pack.parameters.items():
        if name in NETWORK.relaxed:
            for copy in value[1]:
                torch.testing.assert_close(copy, before[name][1].mean(dim=0), rtol=0, atol=1e-12)
        else:
            assert torch.equal(value[1], before[name][1])
        assert torch.equal(value[[0, 2]], before[name][[0, 2]])
    assert penalty(pack, pack.parameters, 9) < 1e-20


def test_a_single_copy_and_a_family_without_copies_are_left_alone():
    for net in (
        network(ModelConfig(filters=3, weight_copies=1)),
        network(run_config("diagonal_neural_gpu").model),
    ):
        pack = pack_of(net, seeds=(1,))
        before = {name: value.clone() for name, value in pack.parameters.items()}
        gradients = torch.ones_like(pack.rows)
        add_pull(net, pack, gradients, torch.tensor([0.1], dtype=torch.float64))
        average_copies(net, pack, 1)
        assert all(torch.equal(value, before[name]) for name, value in pack.parameters.items())
        assert torch.equal(gradients, torch.ones_like(gradients))
