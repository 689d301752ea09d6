"""The loop around a naive network, for training or testing: one seed, one process, over a pipe.

A training step does what ours does for a seed, no less: a fresh batch by the same generator,
dropout, loss with its penalties, clipping, optimizer, the counts of wrong sequences and symbols.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.peers.naive_diagonal import NaiveDiagonal
from benchmarks.peers.naive_neural_gpu import NaiveNeuralGPU
from benchmarks.worker import resident_peak, serve
from benchmarks.workload import Workload
from ngpu_core.config import RunConfig
from ngpu_core.data import TrainingData
from ngpu_core.models.families import network
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import Batch


class ClippedAdaMax:
    """AdaMax with elementwise clipping and gradient noise (SPECS D), a tensor after the other."""

    def __init__(self, model: nn.Module, config: RunConfig) -> None:
        self.parameters = list(model.parameters())
        self.rate = config.training.learning_rate
        self.noise = config.training.gradient_noise * self.rate
        self.first = [torch.zeros_like(value) for value in self.parameters]
        self.maximum = [torch.zeros_like(value) for value in self.parameters]
        self.step_count = 0

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients."""
        self.step_count += 1
        beta2 = 1 - max(0.0005, 0.01 * 0.5 ** (self.step_count / 2000))
        for value, first, maximum in zip(self.parameters, self.first, self.maximum, strict=True):
            assert value.grad is not None
            noise = nn.init.trunc_normal_(torch.empty_like(value), 0, 1, -2, 2)
            bound = 1.2 * maximum + 1e-4
            clipped = torch.clamp(value.grad + self.noise * noise, -bound, bound)
            first.mul_(0.9).add_(clipped, alpha=0.1)
            torch.maximum(maximum * beta2, clipped.abs(), out=maximum)
            value.sub_(self.rate * first / (maximum + 1e-8))


class NaiveLoop:
    """A model, its optimizer and its data."""

    def __init__(self, config: RunConfig, seed: int, device: str = "cpu") -> None:
        self.config, self.device = config, device
        self.data = TrainingData(config=config, seed=seed)
        self.model = naive_network(config, seed).to(device)
        training = config.training
        self.optimizer: torch.optim.Optimizer | ClippedAdaMax = (
            torch.optim.Adam(
                self.model.parameters(), lr=training.learning_rate, eps=training.epsilon
            )
            if training.optimizer == "adam"
            else ClippedAdaMax(self.model, config)
        )
        self.step_count = 0
        self.epoch_loss, self.wrong_sequences, self.wrong_symbols = 0.0, 0, 0

    def step(self) -> None:
        """One update, and what a user logs of it."""
        self.step_count += 1
        self.model.zero_grad()
        batches = [self._tensors(batch) for batch in self._draw()]
        objective, losses, logits = self._objective(batches)
        objective.backward()
        if self.config.training.optimizer == "adam":
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_norm)
        self.optimizer.step()
        self.epoch_loss += losses.item()
        for (_, targets), predicted in zip(batches, logits, strict=True):
            wrong = predicted.argmax(dim=2) != targets
            self.wrong_sequences += int(wrong.any(dim=1).sum())
            self.wrong_symbols += int(wrong.sum())

    @torch.no_grad()
    def test(self, sequences: int) -> None:
        """Count the wrong ones of that many fresh sequences, a batch after the other."""
        self.model.eval()
        training = self.config.training
        generator = stream(self.data.seed, "test")
        for start in range(0, sequences, training.batch_size):
            count = min(training.batch_size, sequences - start)
            batch = self.data.task(0).sample(generator, count, training.bins[-1])
            inputs, targets = self._tensors(batch)
            found = self.model.loss(inputs, targets)
            self.wrong_sequences += int((found[-1].argmax(dim=2) != targets).any(dim=1).sum())

    def _draw(self) -> list[Batch]:
        training = self.config.training
        if training.schedule == "all_bins":
            return [self.data.bin_batch(self.step_count, size) for size in training.bins]
        return [self.data.curriculum_batch(self.step_count, training.max_length)]

    def _tensors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        return inputs.long().to(self.device), targets.long().to(self.device)

    def _objective(
        self, batches: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """What is differentiated, the cross-entropy alone, and the logits a bin."""
        if isinstance(self.model, NaiveNeuralGPU):
            [(inputs, targets)] = batches
            loss, logits = self.model.loss(inputs, targets)
            return loss + self.model.penalty(), loss.detach(), [logits]
        bins = [self.model.loss(inputs, targets) for inputs, targets in batches]
        loss = torch.stack([one[0] for one in bins]).mean()
        saturation = torch.stack([one[1] for one in bins]).mean()
        objective = loss + self.model.saturation_weight * saturation
        return objective, loss.detach(), [one[2] for one in bins]


def naive_network(config: RunConfig, seed: int) -> NaiveNeuralGPU | NaiveDiagonal:
    """The naive network with the initial values our engine gives that seed."""
    diagonal = config.model.family == "diagonal_neural_gpu"
    model = NaiveDiagonal(config) if diagonal else NaiveNeuralGPU(config)
    values = network(config.model).initialize(stream(seed, "init"))
    model.load({name: torch.from_numpy(value) for name, value in values.items()})
    return model


def main() -> None:
    """Build the loop and step it on command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", help="a Workload as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    base, peak = memory(asked.device)
    workload = Workload.from_json(asked.workload)
    loop = NaiveLoop(workload.config, asked.seed, asked.device)

    def steps(count: int) -> None:
        for _ in range(count):
            loop.step()  # ends with `.item()`, so a GPU has finished, too

    about = {"torch": torch.__version__}
    serve(loop.test if workload.testing else steps, about, base=base, peak=peak)


def memory(device: str) -> tuple[int, Callable[[], int]]:
    """Bytes in use before there is any data, and a function that gives the peak."""
    if device == "cpu":
        return resident_peak(), resident_peak
    return 0, torch.cuda.max_memory_allocated


if __name__ == "__main__":
    main()
