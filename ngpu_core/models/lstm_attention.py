"""The LSTM with attention that Kaiser and Sutskever compare with (SPECS A.3), in plain autograd.

An encoder of `layers` LSTMs reads the input symbol by symbol; a decoder of as many, which starts
from the encoder's last states, writes one output symbol a position. Before each it looks at the
encoder: a mean of the top layer's outputs, weighted by softmax(v·tanh(U·output + W·query)).

The sources say "3 layers of 64 units, attention, about 200k parameters"; 3 × 64 both ways are
198 000. The rest follows the sequence-to-sequence models that the same authors published in the
year before ("Grammar as a Foreign Language") and TensorFlow's defaults of the time:

* LSTM cells without peepholes, gates i, j, f, o in one product, 1 added to the forget gate;
* the decoder's input is its own last symbol and the last glimpse, merged by a linear layer; its
  first symbol is the pad; in training it is told the right last symbol (`told`), in tests it reads
  what it wrote, the likeliest symbol;
* the query is the output of the decoder's top layer; the answer is read from it and the glimpse;
* weights U(±sqrt(3 / fan_in)), embeddings U(±sqrt(3)), biases 0;
* dropout on the input of every LSTM, never from one position to the next (Zaremba et al. 2014);
* positions beyond a sequence are neither read nor looked at.

A sequence with a target everywhere that is all right when told is all right when not, and the other
way round: as long as no symbol is wrong, both read the same. So sequence error means the same in
training and in tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from ngpu_core.config import ModelConfig
from ngpu_core.dropout import HashedDropout, placed
from ngpu_core.models.network import Bin, Output, Parameters, cross_entropy, embed, tanh

FORGET_BIAS = 1.0
#: Attention a position gets that must get none; finite, so that no sequence is without any.
UNSEEN = -1e9


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the decoder looks at.

    Attributes:
        outputs: Of the encoder's top layer, (S, B, L, m).
        keys: U·output, (S, B, L, m).
        mask: The positions there are, (S, B, L) bool.
    """

    outputs: Tensor
    keys: Tensor
    mask: Tensor


#: Cell and output of a layer, (S, B, m) each.
State = tuple[Tensor, Tensor]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(S, B, n) by (S, n, k) to (S, B, k), each seed with its own."""
    if bias is None:
        return torch.bmm(x, weight)
    return torch.baddbmm(bias[:, None, :], x, weight)


def lstm(gates: Tensor, cell: Tensor) -> State:
    """The next cell and output from what goes into the four gates, (S, B, 4m)."""
    enter, value, forget, leave = gates.chunk(4, dim=2)
    kept = torch.sigmoid(forget + FORGET_BIAS) * cell
    cell = kept + torch.sigmoid(enter) * tanh(value)
    return cell, torch.sigmoid(leave) * tanh(cell)


@dataclass(frozen=True, kw_only=True)
class LSTMAttention:
    """An encoder and decoder of one size."""

    config: ModelConfig
    relaxed: frozenset[str] = frozenset()

    def initialize(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Weights U(±sqrt(3 / fan_in)), embeddings U(±sqrt(3)), biases 0."""
        parameters = {}
        for name, shape in self._shapes().items():
            if name.endswith("bias"):
                parameters[name] = np.zeros(shape, np.float32)
                continue
            fan_in = 1 if name.endswith("embedding") else shape[0]
            bound = sqrt(3 / fan_in)
            parameters[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
        return parameters

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        model = self.config
        units = model.filters
        shapes: dict[str, tuple[int, ...]] = {
            "input.embedding": (model.input_symbols, units),
            "output.embedding": (model.output_symbols, units),
        }
        for side in ("encoder", "decoder"):
            for layer in range(model.layers):
                shapes[f"{side}{layer}.weight"] = (2 * units, 4 * units)
                shapes[f"{side}{layer}.bias"] = (4 * units,)
        return shapes | {
            "merge.weight": (2 * units, units),
            "merge.bias": (units,),
            "attention.key.weight": (units, units),
            "attention.query.weight": (units, units),
            "attention.query.bias": (units,),
            "attention.vector": (units, 1),
            "output.weight": (2 * units, model.output_symbols),
            "output.bias": (model.output_symbols,),
        }

    def forward(
        self,
        parameters: Parameters,
        bins: Sequence[Bin],
        dropout: HashedDropout | None = None,
        *,
        told: bool = False,
    ) -> Output:
        """Each bin read, then answered."""
        dropout = placed(dropout, self.config)
        logits = []
        for index, batch in enumerate(bins):
            keep = self._keep(dropout, batch, index, parameters["merge.weight"])
            memory, states = self._encode(parameters, batch, keep)
            logits.append(self._decode(parameters, batch, memory, states, keep, told=told))
        return Output(logits=logits, saturation=logits[0].new_zeros(logits[0].shape[0]))

    def loss(self, logits: Tensor, batch: Bin) -> Tensor:
        """Masked cross-entropy, averaged as the Neural GPU's: over all positions of the bin."""
        errors = cross_entropy(logits, batch.targets) * batch.mask
        return errors.sum(dim=(1, 2)) / (batch.targets.shape[1] * batch.padded_length)

    def scored(self, batch: Bin) -> Tensor:
        """Positions with a target symbol."""
        return batch.targets > 0

    def _keep(
        self, dropout: HashedDropout | None, batch: Bin, index: int, like: Tensor
    ) -> Tensor | None:
        """The masks of the inputs of every LSTM, encoder first: (2·layers, L, S, B, m)."""
        if dropout is None or not dropout.threshold(batch.padded_length):
            return None
        _, sequences, length = batch.targets.shape
        shape = (sequences, length, 2 * self.config.layers, self.config.filters)
        return dropout.mask(index, 0, shape, batch.padded_length, like).permute(3, 2, 0, 1, 4)

    def _encode(
        self, parameters: Parameters, batch: Bin, keep: Tensor | None
    ) -> tuple[Memory, list[State]]:
        """What is to be looked at, and each layer's last state."""
        symbols = batch.inputs[:, :, 0]  # (S, B, L)
        inputs = list(embed(parameters["input.embedding"], symbols).unbind(dim=2))
        there = batch.mask.unbind(dim=2)
        states = []
        for layer in range(self.config.layers):
            weight, bias = (parameters[f"encoder{layer}.{part}"] for part in ("weight", "bias"))
            cell = output = torch.zeros_like(inputs[0])
            for place, x in enumerate(inputs):
                dropped = x if keep is None else x * keep[layer, place]
                gates = linear(torch.cat([dropped, output], dim=2), weight, bias)
                new_cell, new_output = lstm(gates, cell)
                here = there[place][:, :, None]
                cell = torch.where(here, new_cell, cell)
                output = torch.where(here, new_output, output)
                inputs[place] = output
            states.append((cell, output))
        outputs = torch.stack(inputs, dim=2)
        keys = linear(outputs.flatten(1, 2), parameters["attention.key.weight"])
        return Memory(outputs=outputs, keys=keys.view_as(outputs), mask=batch.mask), states

    def _decode(
        self,
        parameters: Parameters,
        batch: Bin,
        memory: Memory,
        states: list[State],
        keep: Tensor | None,
        *,
        told: bool,
    ) -> Tensor:
        """The logits (S, B, L, classes), position by position."""
        symbol = torch.zeros_like(batch.targets[:, :, 0])
        glimpse = torch.zeros_like(memory.outputs[:, :, 0])
        logits = []
        for place in range(batch.targets.shape[2]):
            last = embed(parameters["output.embedding"], symbol)
            seen = torch.cat([last, glimpse], dim=2)
            x = linear(seen, parameters["merge.weight"], parameters["merge.bias"])
            for layer in range(self.config.layers):
                if keep is not None:
                    x = x * keep[self.config.layers + layer, place]
                weight, bias = (parameters[f"decoder{layer}.{part}"] for part in ("weight", "bias"))
                cell, output = states[layer]
                cell, x = lstm(linear(torch.cat([x, output], dim=2), weight, bias), cell)
                states[layer] = cell, x
            glimpse = self._look(parameters, memory, x)
            answer = torch.cat([x, glimpse], dim=2)
            logits.append(linear(answer, parameters["output.weight"], parameters["output.bias"]))
            symbol = batch.targets[:, :, place] if told else logits[-1].argmax(dim=2)
        return torch.stack(logits, dim=2)

    def _look(self, parameters: Parameters, memory: Memory, query: Tensor) -> Tensor:
        """The mean of the memory weighted by how well it answers the query: (S, B, m)."""
        asked = linear(
            query, parameters["attention.query.weight"], parameters["attention.query.bias"]
        )
        match = tanh(memory.keys + asked[:, :, None, :]).flatten(1, 2)  # (S, B·L, m)
        scores = torch.bmm(match, parameters["attention.vector"]).view(memory.mask.shape)
        weights = torch.softmax(scores.masked_fill(~memory.mask, UNSEEN), dim=2)
        return (weights[:, :, None, :] @ memory.outputs)[:, :, 0]
