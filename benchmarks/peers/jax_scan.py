"""The Neural GPU in JAX: `scan` over time, `vmap` over seeds, one `jit` for the whole step.

A 3×3 convolution is a matrix product over the nine shifted images (im2col): under `vmap` it becomes
one batched product, where `lax.conv` would become a grouped convolution, several times slower on
a CPU. Runs in any interpreter that has JAX and numpy; nothing here loads torch.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from benchmarks.worker import resident_peak, serve
from benchmarks.workload import Workload
from ngpu_core.config import RunConfig
from ngpu_core.data import TrainingData

Array = Any
Tree = dict[str, Any]


def shifted(state: Array) -> Array:
    """(B, H, L, m) → (B, H, L, 9·m): the neighbourhood of every cell, zeros beyond the edges."""
    _, height, length, _ = state.shape
    padded = jnp.pad(state, ((0, 0), (1, 1), (1, 1), (0, 0)))
    views = [
        padded[:, row : row + height, column : column + length]
        for row in range(3)
        for column in range(3)
    ]
    return jnp.concatenate(views, axis=-1)


def unit(weights: Tree, state: Array, cutoff: float) -> Array:
    """One convolutional GRU; kernels are (9·m, m_out)."""
    gates = shifted(state) @ weights["gates.weight"] + weights["gates.bias"] + 1
    opened = jnp.clip(cutoff * jax.nn.sigmoid(gates) - (cutoff - 1) / 2, 0, 1)
    reset, update = jnp.split(opened, 2, axis=-1)
    proposal = shifted(reset * state) @ weights["candidate.weight"] + weights["candidate.bias"]
    return update * state + (1 - update) * jnp.tanh(proposal)


def logits(
    config: RunConfig, parameters: Tree, inputs: Array, mask: Array, key: Array | None
) -> Array:
    """One seed's forward pass; `key` draws dropout, None leaves it out.

    Args:
        config: Sizes and dropout.
        parameters: `embedding`, `output.*`, and for each layer kernels (copies, 9·m, m_out).
        inputs: Ids, (B, rows, L).
        mask: 1 where there is a symbol, (B, L).
        key: A JAX random key.
    """
    model = config.model
    _, rows, length = inputs.shape
    times = length + model.extra_steps
    table = parameters["embedding"].at[0].set(0)
    state = jnp.tanh(table[inputs])
    state = jnp.pad(state, ((0, 0), (0, model.height - rows), (0, 0), (0, 0)))
    columns = mask[:, None, :, None].astype(state.dtype)
    drop = config.training.dropout * 8 / length if key is not None else 0.0

    def step(state: Array, now: tuple[list[Tree], Array]) -> tuple[Array, None]:
        weights, time_key = now
        if drop:
            state = jnp.where(random.bernoulli(time_key, 1 - drop, state.shape), state, 0)
            state = state / (1 - drop)
        for layer in weights:
            state = unit(layer, state, model.gate_cutoff) * columns
        return state, None

    copies = np.arange(times) % model.weight_copies
    keys = random.split(key if key is not None else random.key(0), times)
    by_time = jax.tree.map(lambda value: value[copies], parameters["layers"])
    state, _ = lax.scan(step, state, (by_time, keys))
    return state[:, 0] @ parameters["output.weight"] + parameters["output.bias"]


def loss(
    config: RunConfig, parameters: Tree, inputs: Array, targets: Array, key: Array | None
) -> tuple[Array, tuple[Array, Array]]:
    """Cross-entropy and relaxation pull; beside them the cross-entropy and the wrong symbols."""
    mask = (inputs > 0).any(axis=1) | (targets > 0)
    found = logits(config, parameters, inputs, mask, key)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(found), targets[..., None], axis=-1)[..., 0]
    entropy = -(chosen * mask).mean()
    spread = jax.tree.map(lambda v: jnp.square(v - v.mean(axis=0)).sum(), parameters["layers"])
    pull = config.training.pull * sum(jax.tree.leaves(spread))
    wrong = (found.argmax(axis=-1) != targets) & (targets > 0)
    return entropy + pull, (entropy, wrong.sum())


def update(
    config: RunConfig, state: Tree, inputs: Array, targets: Array, key: Array
) -> tuple[Tree, Array]:
    """One seed's step: gradient, clipping to a global norm, Adam. Its cross-entropy and wrongs."""
    training = config.training
    count = state["count"] + 1
    differentiate = jax.grad(partial(loss, config), has_aux=True)
    gradients, facts = differentiate(
        state["parameters"], inputs, targets, random.fold_in(key, count)
    )
    norm = jnp.sqrt(sum(jnp.square(value).sum() for value in jax.tree.leaves(gradients)))
    scale = training.clip_norm / jnp.maximum(norm, training.clip_norm)
    rate = training.learning_rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * scale * g, state["first"], gradients)
    second = jax.tree.map(
        lambda v, g: 0.999 * v + 0.001 * jnp.square(scale * g), state["second"], gradients
    )
    parameters = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) + training.epsilon),
        state["parameters"],
        first,
        second,
    )
    return {"parameters": parameters, "first": first, "second": second, "count": count}, facts


def initialize(config: RunConfig, seed: int) -> Tree:
    """Uniform kernels of the reference's bounds (SPECS B.1), zero biases."""
    model = config.model
    generator = np.random.default_rng(seed)

    def uniform(bound: float, *shape: int) -> np.ndarray:
        return generator.uniform(-bound, bound, shape).astype(np.float32)

    maps, copies = model.filters, model.weight_copies
    kernel = 1.8 * (3 / (9 * maps)) ** 0.5
    layers = [
        {
            "gates.weight": uniform(kernel, copies, 9 * maps, 2 * maps),
            "gates.bias": np.zeros((copies, 2 * maps), np.float32),
            "candidate.weight": uniform(kernel, copies, 9 * maps, maps),
            "candidate.bias": np.zeros((copies, maps), np.float32),
        }
        for _ in range(model.layers)
    ]
    return {
        "embedding": uniform(1.7, model.input_symbols, maps),
        "layers": layers,
        "output.weight": uniform(1.8 * (3 / maps) ** 0.5, maps, model.output_symbols),
        "output.bias": np.zeros(model.output_symbols, np.float32),
    }


def training_loop(workload: Workload) -> Callable[[int], None]:
    """A pack of seeds in one jitted step, with fresh data by our generators."""
    config, seeds = workload.config, workload.seeds
    alone = [initialize(config, seed) for seed in range(seeds)]
    parameters = jax.tree.map(lambda *values: jnp.stack(values), *alone)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = {
        "parameters": parameters,
        "first": zeros,
        "second": jax.tree.map(jnp.zeros_like, parameters),
        "count": jnp.zeros(seeds, jnp.int32),
    }
    keys = jnp.stack([random.key(seed) for seed in range(seeds)])
    step = jax.jit(jax.vmap(partial(update, config)), donate_argnums=0)
    data = [TrainingData(config=config, seed=seed) for seed in range(seeds)]
    done = 0

    def steps(count: int) -> None:
        nonlocal state, done
        for _ in range(count):
            done += 1
            drawn = [one.curriculum_batch(done, workload.lengths[0]) for one in data]
            inputs = np.stack([batch.inputs for batch in drawn]).astype(np.int32)
            targets = np.stack([batch.targets for batch in drawn]).astype(np.int32)
            state, facts = step(state, inputs, targets, keys)
            jax.block_until_ready((state, facts))

    return steps


def main() -> None:
    """Build the step and run it on command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", help="a Workload as JSON")
    asked = parser.parse_args()
    workload = Workload.from_json(asked.workload)
    base = resident_peak()
    serve(training_loop(workload), {"jax": jax.__version__}, base=base)


if __name__ == "__main__":
    main()
