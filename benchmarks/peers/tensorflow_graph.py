"""The diagonal Neural GPU in TensorFlow: the unrolled graph of every bin, as the reference's.

One graph holds every time step of every bin, forward and backward, and is run once a step, which is
how the reference program (SPECS D) works. Runs in any interpreter that has TensorFlow and numpy;
nothing here loads torch.
"""

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.worker import resident_peak, serve
from benchmarks.workload import Workload
from ngpu_core.config import RunConfig
from ngpu_core.data import TrainingData

Array = Any
SATURATION_LIMIT = 0.9


def excess(x: Array) -> Array:
    """Σ max(|x| − 0.9, 0)."""
    return tf.reduce_sum(tf.nn.relu(tf.abs(x) - SATURATION_LIMIT))


class Diagonal(tf.Module):
    """One seed's variables and its forward pass."""

    def __init__(self, config: RunConfig, seed: int, dtype: Any = tf.float32) -> None:
        super().__init__()
        model = config.model
        maps, generator = model.filters, np.random.default_rng(seed)

        def uniform(fan_in: int, *shape: int) -> tf.Variable:
            bound = (3 / fan_in) ** 0.5
            return tf.Variable(generator.uniform(-bound, bound, shape), dtype=dtype)

        self.input_weight = uniform(model.input_symbols, model.input_symbols, maps)
        self.input_bias = tf.Variable(np.zeros(maps), dtype=dtype)
        self.gates_weight = uniform(3 * maps, 3, maps, 2 * maps)
        self.gates_bias = tf.Variable(np.repeat([0.5, 0.7], maps), dtype=dtype)
        self.candidate_weight = uniform(3 * maps, 3, maps, maps)
        self.candidate_bias = tf.Variable(np.zeros(maps), dtype=dtype)
        self.output_weight = uniform(maps, maps, model.output_symbols)
        self.output_bias = tf.Variable(np.zeros(model.output_symbols), dtype=dtype)
        self.maps, self.dtype = maps, dtype
        self.drop = config.training.dropout

    def logits(self, inputs: Array, mask: Array, length: int) -> tuple[Array, Array]:
        """Ids (B, L) and the mask (B, L) → logits (B, L, classes) and the saturation cost."""
        row_mask = tf.cast(mask, self.dtype)[:, :, None]
        preactivation = tf.gather(self.input_weight, inputs) + self.input_bias
        saturation = length * excess(preactivation)
        state = self._dropout(tf.clip_by_value(preactivation, -1, 1)) * row_mask
        for _ in range(length):
            gates = tf.nn.conv1d(state, self.gates_weight, 1, "SAME") + self.gates_bias
            reset, update = tf.split(tf.clip_by_value((gates + 1) / 2, 0, 1), 2, axis=2)
            proposal = tf.nn.conv1d(reset * state, self.candidate_weight, 1, "SAME")
            proposal = proposal + self.candidate_bias
            candidate = self._dropout(tf.clip_by_value(proposal, -1, 1))
            state = (update * self._shift(state) + (1 - update) * candidate) * row_mask
            saturation += excess(gates) + excess(proposal)
        cost = saturation / tf.cast(length**2 * tf.shape(inputs)[0], self.dtype)
        return state @ self.output_weight + self.output_bias, cost

    def loss(self, inputs: Array, targets: Array, length: int) -> tuple[Array, Array, Array]:
        """Cross-entropy over all positions of one bin, its saturation cost, wrong symbols."""
        logits, saturation = self.logits(inputs, (inputs > 0) | (targets > 0), length)
        errors = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
        wrong = tf.argmax(logits, axis=2, output_type=tf.int32) != targets
        return tf.reduce_mean(errors), saturation, tf.reduce_sum(tf.cast(wrong, tf.int32))

    def _dropout(self, values: Array) -> Array:
        return tf.nn.dropout(values, self.drop) if self.drop else values

    def _shift(self, state: Array) -> Array:
        third = self.maps // 3
        stay, left, right = tf.split(state, [self.maps - 2 * third, third, third], axis=2)
        moved_right = tf.pad(left[:, :-1], [[0, 0], [1, 0], [0, 0]])
        moved_left = tf.pad(right[:, 1:], [[0, 0], [0, 1], [0, 0]])
        return tf.concat([stay, moved_right, moved_left], axis=2)


def graph_step(model: Diagonal, config: RunConfig) -> Callable[..., tuple[Array, Array]]:
    """The whole step as one graph: inputs and targets a bin → loss and wrong symbols."""
    training = config.training
    variables = model.trainable_variables
    first = [tf.Variable(tf.zeros_like(value)) for value in variables]
    maximum = [tf.Variable(tf.zeros_like(value)) for value in variables]
    count = tf.Variable(0.0)
    rate = training.learning_rate

    @tf.function
    def step(inputs: list[Array], targets: list[Array]) -> tuple[Array, Array]:
        with tf.GradientTape() as tape:
            found = [
                model.loss(one, wanted, size)
                for one, wanted, size in zip(inputs, targets, training.bins, strict=True)
            ]
            bins = float(len(found))
            entropy = tf.add_n([one[0] for one in found]) / bins
            saturation = tf.add_n([one[1] for one in found]) / bins
            objective = entropy + training.saturation * saturation
        gradients = tape.gradient(objective, variables)
        count.assign_add(1.0)
        beta2 = 1 - tf.maximum(0.0005, 0.01 * 0.5 ** (count / 2000))
        for value, gradient, m, v in zip(variables, gradients, first, maximum, strict=True):
            noise = tf.random.truncated_normal(value.shape) * rate * training.gradient_noise
            bound = 1.2 * v + 1e-4
            clipped = tf.clip_by_value(tf.convert_to_tensor(gradient) + noise, -bound, bound)
            m.assign(0.9 * m + 0.1 * clipped)
            v.assign(tf.maximum(beta2 * v, tf.abs(clipped)))
            value.assign_sub(rate * m / (v + training.epsilon))
        return entropy, tf.add_n([one[2] for one in found])

    return step


def main() -> None:
    """Build the graph and run it on command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", help="a Workload as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
    tf.config.threading.set_inter_op_parallelism_threads(asked.threads)
    base = resident_peak()
    config = Workload.from_json(asked.workload).config
    data = TrainingData(config=config, seed=0)
    step = graph_step(Diagonal(config, 0), config)
    done = 0

    def steps(count: int) -> None:
        nonlocal done
        for _ in range(count):
            done += 1
            drawn = [data.bin_batch(done, size) for size in config.training.bins]
            inputs = [tf.constant(batch.inputs[:, 0].astype(np.int32)) for batch in drawn]
            targets = [tf.constant(batch.targets.astype(np.int32)) for batch in drawn]
            entropy, wrong = step(inputs, targets)
            entropy.numpy(), wrong.numpy()

    serve(steps, {"tensorflow": tf.__version__}, base=base)


if __name__ == "__main__":
    main()
