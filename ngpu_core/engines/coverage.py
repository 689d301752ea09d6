"""Which networks have a hand-written recurrence. Loads no torch: packs are planned with it."""

from ngpu_core.config import ModelConfig


def uncovered(model: ModelConfig) -> str | None:
    """The key and value that only the definition computes, under autograd; None: there is none."""
    if model.family == "lstm_attention":
        return "model.family lstm_attention"
    neural_gpu = model.family == "neural_gpu"
    beyond = {
        "unit": neural_gpu and model.unit != "cgru",
        "batch_norm": neural_gpu and model.batch_norm > 0,
        "tanh_cutoff": neural_gpu and model.tanh_cutoff >= 1.01,
        "layer_scale": neural_gpu and model.layer_scale < 1,
        "output_layer": neural_gpu and model.output_layer > 0,
        "task_id": neural_gpu and model.task_id,
        "soft_nonlinearities": not neural_gpu and model.soft_nonlinearities,
        "diagonal_gates": not neural_gpu and not model.diagonal_gates,
        "dropout_on": not neural_gpu and model.dropped == "state",
    }
    found = next((key for key, is_beyond in beyond.items() if is_beyond), None)
    return f"model.{found} {getattr(model, found)}" if found else None
