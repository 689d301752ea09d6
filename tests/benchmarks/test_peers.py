"""The peers compute what our readable networks compute: values and gradients in float64."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.peers.naive import NaiveLoop, naive_network
from benchmarks.peers.naive_neural_gpu import NaiveNeuralGPU
from benchmarks.workload import Workload
from ngpu_core.data import TrainingData
from ngpu_core.evaluation.generalization import to_bin
from ngpu_core.models.families import network
from ngpu_core.models.network import Bin
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import task

NEURAL_GPU = Workload(family="neural_gpu", filters=5, lengths=(9,), seeds=1, batch=3)
DIAGONAL = Workload(family="diagonal_neural_gpu", filters=7, lengths=(5, 8, 11), seeds=1, batch=4)
ROOT = Path(__file__).resolve().parents[2]


def drawn(workload: Workload) -> list[Bin]:
    """One step's batches."""
    config, data = workload.config, TrainingData(config=workload.config, seed=0)
    if workload.family == "neural_gpu":
        batches = [data.curriculum_batch(1, workload.lengths[0])]
    else:
        batches = [data.bin_batch(1, size) for size in workload.lengths]
    sizes = config.training.bins
    return [to_bin([one], size, "cpu") for one, size in zip(batches, sizes, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Defined:
    """What our readable network says of one seed, without dropout and without the seed axis."""

    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor]
    loss: float
    saturation: float


def definition(workload: Workload, bins: list[Bin]) -> Defined:
    """Loss and gradients in float64; the gradients with relaxation pull and saturation cost."""
    config = workload.config
    model = network(config.model)
    leaves = {
        name: torch.from_numpy(value).double()[None]
        for name, value in model.initialize(stream(0, "init")).items()
    }
    generator = torch.Generator().manual_seed(0)
    for name, value in leaves.items():
        if name in model.relaxed:  # equal biases of all copies would have no pull
            value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        value.requires_grad_()
    output = model.forward(leaves, bins)
    losses = [model.loss(one, batch) for one, batch in zip(output.logits, bins, strict=True)]
    loss = torch.stack(losses).mean()
    pull = sum(
        (leaves[name] - leaves[name].mean(dim=1, keepdim=True)).square().sum()
        for name in model.relaxed
    )
    training = config.training
    (loss + training.pull * pull + training.saturation * output.saturation.sum()).backward()
    return Defined(
        parameters={name: value.detach()[0] for name, value in leaves.items()},
        gradients={name: value.grad[0] for name, value in leaves.items() if value.grad is not None},
        loss=loss.item(),
        saturation=output.saturation.item(),
    )


def test_the_naive_neural_gpu_is_ours() -> None:
    config = NEURAL_GPU.config
    batch = task("badd").sample(np.random.default_rng(0), 4, 9)  # two rows
    bins = [to_bin([batch], 9, "cpu")]
    ours = definition(NEURAL_GPU, bins)
    model = NaiveNeuralGPU(config).double().eval()
    model.load(ours.parameters)

    loss, _ = model.loss(bins[0].inputs[0], bins[0].targets[0])
    (loss + model.penalty()).backward()

    assert loss.item() == pytest.approx(ours.loss, rel=1e-12)
    named = dict(model.named_parameters())
    torch.testing.assert_close(named["embedding.weight"].grad, ours.gradients["embedding"])
    torch.testing.assert_close(named["output.weight"].grad, ours.gradients["output.weight"])
    for index in range(len(model.units)):
        layer, copy = divmod(index, config.model.weight_copies)
        for name in ("gates.weight", "gates.bias", "candidate.weight", "candidate.bias"):
            theirs = named[f"units.{index}.{name}"].grad
            torch.testing.assert_close(theirs, ours.gradients[f"gru{layer}.{name}"][copy])


def test_the_naive_diagonal_network_is_ours() -> None:
    bins = drawn(DIAGONAL)
    ours = definition(DIAGONAL, bins)
    loop = NaiveLoop(DIAGONAL.config, 0)
    loop.model.double().eval().load(ours.parameters)

    batches = [(batch.inputs[0], batch.targets[0]) for batch in bins]
    objective, loss, _ = loop._objective(batches)
    objective.backward()

    assert loss.item() == pytest.approx(ours.loss, rel=1e-12)
    expected = ours.loss + DIAGONAL.config.training.saturation * ours.saturation
    assert objective.item() == pytest.approx(expected, rel=1e-9)
    theirs = {"embedding.weight": "input.weight", "embedding_bias": "input.bias"}
    for name, value in loop.model.named_parameters():
        torch.testing.assert_close(value.grad, ours.gradients[theirs.get(name, name)])


@pytest.mark.parametrize("workload", [NEURAL_GPU, DIAGONAL], ids=lambda one: one.family)
def test_the_naive_loop_starts_where_we_start_and_learns(workload: Workload) -> None:
    loop = NaiveLoop(workload.config, 3)
    before = [value.clone() for value in loop.model.parameters()]
    first = naive_network(workload.config, 3)
    torch.testing.assert_close(before, list(first.parameters()), rtol=0, atol=0)

    for _ in range(3):
        loop.step()

    assert np.isfinite(loop.epoch_loss)
    assert all(
        not torch.equal(old, new) for old, new in zip(before, loop.model.parameters(), strict=True)
    )


def interpreter(module: str) -> str:
    """An interpreter with a module: this one, or the one `JAX_PYTHON` (say) names."""
    named = os.environ.get(f"{module.upper()}_PYTHON")
    if named is None and importlib.util.find_spec(module) is None:
        pytest.skip(f"no {module} here; {module.upper()}_PYTHON may name an interpreter")
    return named or sys.executable


@pytest.mark.parametrize(("module", "workload"), [("jax", NEURAL_GPU), ("tensorflow", DIAGONAL)])
def test_a_foreign_peer_is_ours(module: str, workload: Workload, tmp_path: Path) -> None:
    bins = drawn(workload)
    ours = definition(workload, bins)
    given = {name: value.numpy() for name, value in ours.parameters.items()}
    for place, batch in enumerate(bins):
        given[f"inputs.{place}"] = batch.inputs[0].numpy().astype(np.int32)
        given[f"targets.{place}"] = batch.targets[0].numpy().astype(np.int32)
    np.savez(tmp_path / "in.npz", **given)
    script = [str(Path(__file__).with_name("foreign.py")), module, workload.to_json()]

    subprocess.run(
        [interpreter(module), *script, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )

    found = np.load(tmp_path / "out.npz")
    assert found["entropy"] == pytest.approx(ours.loss, rel=1e-12)
    for name in set(found) - {"entropy", "saturation"}:
        expected = ours.gradients[name].numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-7, atol=1e-11)
