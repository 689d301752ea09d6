"""The diagonal Neural GPU (SPECS D) as a user of PyTorch would write it, a bin after the other."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngpu_core.config import RunConfig

#: |pre-activation| beyond which saturation costs.
SATURATION_LIMIT = 0.9


def hard_sigmoid(x: Tensor) -> Tensor:
    """clip((x + 1) / 2, 0, 1)."""
    return torch.clamp((x + 1) / 2, 0, 1)


def excess(x: Tensor) -> Tensor:
    """Σ max(|x| − 0.9, 0)."""
    return F.relu(x.abs() - SATURATION_LIMIT).sum()


class NaiveDiagonal(nn.Module):
    """One seed's network."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        model = config.model
        maps = model.filters
        self.embedding = nn.Embedding(model.input_symbols, maps)
        self.embedding_bias = nn.Parameter(torch.zeros(maps))
        self.gates = nn.Conv1d(maps, 2 * maps, 3, padding=1)
        self.candidate = nn.Conv1d(maps, maps, 3, padding=1)
        self.output = nn.Linear(maps, model.output_symbols)
        self.third = maps // 3
        self.dropout = config.training.dropout
        self.saturation_weight = config.training.saturation

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L) and the mask (B, L) → logits (B, L, classes) and the saturation cost."""
        batch, length = inputs.shape
        row_mask = mask[:, None, :].to(self.embedding_bias.dtype)
        preactivation = (self.embedding(inputs) + self.embedding_bias).transpose(1, 2)
        saturation = length * excess(preactivation)
        state = F.dropout(torch.clamp(preactivation, -1, 1), self.dropout, self.training) * row_mask
        for _ in range(length):
            gates = self.gates(state)
            reset, update = hard_sigmoid(gates).chunk(2, dim=1)
            proposal = self.candidate(reset * state)
            candidate = F.dropout(torch.clamp(proposal, -1, 1), self.dropout, self.training)
            state = (update * self.shift(state) + (1 - update) * candidate) * row_mask
            saturation = saturation + excess(gates) + excess(proposal)
        return self.output(state.transpose(1, 2)), saturation / (length**2 * batch)

    def shift(self, state: Tensor) -> Tensor:
        """A third of the maps takes the left neighbour's value, another the right one's."""
        stay, left, right = state.split(
            [state.shape[1] - 2 * self.third, self.third, self.third], dim=1
        )
        moved = [F.pad(left[..., :-1], (1, 0)), F.pad(right[..., 1:], (0, 1))]
        return torch.cat([stay, *moved], dim=1)

    def loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy over all positions of one bin, its saturation cost, and the logits.

        Args:
            inputs: Ids, (B, 1, L).
            targets: Ids, (B, L).
        """
        row = inputs[:, 0]
        logits, saturation = self(row, (row > 0) | (targets > 0))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), saturation, logits

    def load(self, parameters: Mapping[str, Tensor]) -> None:
        """Take one seed's parameters, named as `ngpu_core.models.diagonal` names them."""
        theirs = {
            "embedding.weight": "input.weight",
            "embedding_bias": "input.bias",
        }
        with torch.no_grad():
            for name, value in self.named_parameters():
                value.copy_(parameters[theirs.get(name, name)])
