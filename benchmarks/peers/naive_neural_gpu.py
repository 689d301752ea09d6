"""The Neural GPU (SPECS B.1) as a user of PyTorch would write it: layers, a loop, autograd."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngpu_core.config import RunConfig

#: The dropout flag is the share at this length (SPECS B.2).
DROPOUT_LENGTH = 8


class ConvolutionalGRU(nn.Module):
    """out = g·s + (1 − g)·tanh(conv(r·s)) on an image."""

    def __init__(self, maps: int, cutoff: float) -> None:
        super().__init__()
        self.gates = nn.Conv2d(maps, 2 * maps, 3, padding=1)
        self.candidate = nn.Conv2d(maps, maps, 3, padding=1)
        self.cutoff = cutoff

    def forward(self, state: Tensor) -> Tensor:
        """(B, m, H, L) → the same."""
        gates = self.cutoff * torch.sigmoid(self.gates(state) + 1) - (self.cutoff - 1) / 2
        reset, update = torch.clamp(gates, 0, 1).chunk(2, dim=1)
        candidate = torch.tanh(self.candidate(reset * state))
        return update * state + (1 - update) * candidate


class NaiveNeuralGPU(nn.Module):
    """One seed's network, for batches whose sequences all fill their length."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        model = config.model
        self.embedding = nn.Embedding(model.input_symbols, model.filters, padding_idx=0)
        self.units = nn.ModuleList(
            ConvolutionalGRU(model.filters, model.gate_cutoff)
            for _ in range(model.layers * model.weight_copies)
        )
        self.output = nn.Linear(model.filters, model.output_symbols)
        self.layers, self.copies = model.layers, model.weight_copies
        self.height, self.extra = model.height, model.extra_steps
        self.dropout = config.training.dropout
        self.pull = config.training.pull

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Ids (B, rows, L) and the mask (B, L) → logits (B, L, classes)."""
        _, rows, length = inputs.shape
        state = torch.tanh(self.embedding(inputs)).permute(0, 3, 1, 2)
        state = F.pad(state, (0, 0, 0, self.height - rows))
        image_mask = mask[:, None, None, :].to(state.dtype)
        for time in range(length + self.extra):
            state = F.dropout(state, self.dropout * DROPOUT_LENGTH / length, self.training)
            for layer in range(self.layers):
                state = self.units[layer * self.copies + time % self.copies](state) * image_mask
        return self.output(state[:, :, 0].transpose(1, 2))

    def penalty(self) -> Tensor:
        """pull · Σ |copy − mean|² over the recurrent weights (SPECS B.2)."""
        total = self.output.bias.new_zeros(())
        for first in range(0, len(self.units), self.copies):
            copies = self.units[first : first + self.copies]
            for same in zip(*(copy.parameters() for copy in copies), strict=True):
                stacked = torch.stack(same)
                total = total + (stacked - stacked.mean(dim=0)).square().sum()
        return self.pull * total

    def loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Masked cross-entropy over the batch and all positions, and the logits."""
        mask = (inputs > 0).any(dim=1) | (targets > 0)
        logits = self(inputs, mask)
        errors = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        return (errors * mask).mean(), logits

    def load(self, parameters: Mapping[str, Tensor]) -> None:
        """Take one seed's parameters, named as `ngpu_core.models.neural_gpu` names them."""
        with torch.no_grad():
            self.embedding.weight.copy_(parameters["embedding"])
            self.embedding.weight[0] = 0
            self.output.weight.copy_(parameters["output.weight"])
            self.output.bias.copy_(parameters["output.bias"])
            for index, unit in enumerate(self.units):
                layer, copy = divmod(index, self.copies)
                for name, value in unit.named_parameters():
                    value.copy_(parameters[f"gru{layer}.{name}"][copy])
