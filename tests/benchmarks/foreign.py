"""Runs in an interpreter that has JAX or TensorFlow: loss and gradients of a peer, in float64.

    foreign.py jax|tensorflow workload in.npz out.npz

in.npz holds our parameters of one seed, and `inputs.i`, `targets.i` of every bin.
"""

import sys

import numpy as np

from benchmarks.workload import Workload


def jax_peer(workload, given):
    """The neural_gpu in JAX; kernels become (copies, 9·m, m_out) and go back."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from benchmarks.peers import jax_scan

    def columns(kernel):  # (copies, out, in, 3, 3) -> (copies, 9·in, out)
        return kernel.transpose(0, 3, 4, 2, 1).reshape(len(kernel), -1, kernel.shape[1])

    def layer(index):
        names = ("gates.weight", "gates.bias", "candidate.weight", "candidate.bias")
        values = {name: given[f"gru{index}.{name}"] for name in names}
        return {name: columns(v) if "weight" in name else v for name, v in values.items()}

    parameters = {
        "embedding": given["embedding"],
        "layers": [layer(index) for index in range(workload.config.model.layers)],
        "output.weight": given["output.weight"].T,
        "output.bias": given["output.bias"],
    }
    differentiate = jax.grad(
        lambda p: jax_scan.loss(workload.config, p, given["inputs.0"], given["targets.0"], None),
        has_aux=True,
    )
    gradients, (entropy, _) = differentiate(parameters)
    found = {"entropy": entropy, "output.weight": gradients["output.weight"].T}
    found["embedding"] = gradients["embedding"]
    for index, values in enumerate(gradients["layers"]):
        for name, value in values.items():
            if "weight" in name:
                copies, _, out = value.shape
                value = value.reshape(copies, 3, 3, -1, out).transpose(0, 4, 3, 1, 2)
            found[f"gru{index}.{name}"] = value
    return found


def tensorflow_peer(workload, given):
    """The diagonal family in TensorFlow; kernels become (3, m, m_out) and go back."""
    import tensorflow as tf

    from benchmarks.peers.tensorflow_graph import Diagonal

    model = Diagonal(workload.config, 0, tf.float64)
    model.drop = 0.0
    variables = {
        "input.weight": (model.input_weight, None),
        "input.bias": (model.input_bias, None),
        "gates.weight": (model.gates_weight, (2, 1, 0)),
        "gates.bias": (model.gates_bias, None),
        "candidate.weight": (model.candidate_weight, (2, 1, 0)),
        "candidate.bias": (model.candidate_bias, None),
        "output.weight": (model.output_weight, (1, 0)),
        "output.bias": (model.output_bias, None),
    }
    for name, (variable, axes) in variables.items():
        variable.assign(given[name].transpose(axes) if axes else given[name])
    with tf.GradientTape() as tape:
        bins = [
            model.loss(given[f"inputs.{i}"][:, 0], given[f"targets.{i}"], size)
            for i, size in enumerate(workload.lengths)
        ]
        entropy = tf.add_n([one[0] for one in bins]) / len(bins)
        saturation = tf.add_n([one[1] for one in bins]) / len(bins)
        objective = entropy + workload.config.training.saturation * saturation
    gradients = tape.gradient(objective, [variable for variable, _ in variables.values()])
    found = {"entropy": entropy.numpy(), "saturation": saturation.numpy()}
    for (name, (_, axes)), gradient in zip(variables.items(), gradients, strict=True):
        value = tf.convert_to_tensor(gradient).numpy()
        found[name] = value.transpose(axes) if axes else value
    return found


if __name__ == "__main__":
    which, text, source, target = sys.argv[1:]
    peer = jax_peer if which == "jax" else tensorflow_peer
    np.savez(target, **peer(Workload.from_json(text), dict(np.load(source))))
