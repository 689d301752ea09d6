"""The peer: the loop over `nn.Conv` layers that a user of Ray Tune would write, a model a seed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NaiveNeuralGPU(nn.Module):
    """A Neural GPU with six weight copies of two convolutional GRUs."""

    def __init__(self, filters: int, copies: int = 6, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(33, filters)
        self.gates = nn.ModuleList(
            nn.Conv2d(filters, 2 * filters, 3, padding=1) for _ in range(copies * layers)
        )
        self.candidates = nn.ModuleList(
            nn.Conv2d(filters, filters, 3, padding=1) for _ in range(copies * layers)
        )
        self.output = nn.Linear(filters, 33)
        self.copies, self.layers = copies, layers

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L) ids → (B, L, 33) logits."""
        row = torch.tanh(self.embedding(inputs)).permute(0, 2, 1).unsqueeze(2)
        state = F.pad(row, (0, 0, 0, 3))
        for time in range(inputs.shape[1]):
            state = F.dropout(state, 0.15 * 8 / inputs.shape[1])
            for layer in range(self.layers):
                index = (time % self.copies) * self.layers + layer
                gates = torch.clamp(1.2 * torch.sigmoid(self.gates[index](state) + 1) - 0.1, 0, 1)
                reset, update = gates.chunk(2, dim=1)
                candidate = torch.tanh(self.candidates[index](reset * state))
                state = update * state + (1 - update) * candidate
        return self.output(state[:, :, 0].permute(0, 2, 1))


class NaiveDiagonal(nn.Module):
    """A diagonal Neural GPU, one bin at a time."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, filters)
        self.gates = nn.Conv1d(filters, 2 * filters, 3, padding=1)
        self.candidate = nn.Conv1d(filters, filters, 3, padding=1)
        self.output = nn.Linear(filters, 13)
        self.third = filters // 3

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, L) ids → (B, L, 13) logits."""
        state = torch.clamp(self.embedding(inputs), -1, 1).permute(0, 2, 1)
        for _ in range(inputs.shape[1]):
            gates = torch.clamp((self.gates(state) + 1) / 2, 0, 1)
            reset, update = gates.chunk(2, dim=1)
            candidate = F.dropout(torch.clamp(self.candidate(reset * state), -1, 1), 0.1)
            left = F.pad(state[:, self.third : 2 * self.third, :-1], (1, 0))
            right = F.pad(state[:, -self.third :, 1:], (0, 1))
            shifted = torch.cat([state[:, : -2 * self.third], left, right], dim=1)
            state = update * shifted + (1 - update) * candidate
        return self.output(state.permute(0, 2, 1))


def naive_step(
    family: str, filters: int, lengths: tuple[int, ...], batch_size: int
) -> Callable[[], None]:
    """One training step on fixed random data, as a function to call again and again."""
    model = NaiveNeuralGPU(filters) if family == "neural_gpu" else NaiveDiagonal(filters)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    data = [
        (torch.randint(1, 3, (batch_size, length)), torch.randint(1, 3, (batch_size, length)))
        for length in lengths
    ]

    def step() -> None:
        optimizer.zero_grad()
        losses = [F.cross_entropy(model(x).flatten(0, 1), y.flatten()) for x, y in data]
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step
