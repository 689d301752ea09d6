"""Which family a configuration asks for."""

from ngpu_core.config import ModelConfig
from ngpu_core.models.diagonal import DiagonalNeuralGPU
from ngpu_core.models.lstm_attention import LSTMAttention
from ngpu_core.models.network import Network
from ngpu_core.models.neural_gpu import NeuralGPU


def network(config: ModelConfig) -> Network:
    """The network of a configuration."""
    if config.family == "diagonal_neural_gpu":
        return DiagonalNeuralGPU(config=config)
    if config.family == "lstm_attention":
        return LSTMAttention(config=config)
    return NeuralGPU(config=config)
