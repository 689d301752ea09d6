"""A whole unrolled recurrence as one operation, with its backward pass written by hand.

Time steps are taken one after the other over a state (S, N, height, columns, maps). What a step
keeps for its way back is its tape. Memory is a choice: keep every tape, or only every k-th state
and take the k steps after it again on the way back.

Columns may finish early, from the right: step t sees the first `width(t)` of them.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: What a step needs to go back.
Tape = Any


class Cell(Protocol):
    """The time steps of one network over one batch."""

    @property
    def steps(self) -> int:
        """Number of time steps, at least 1."""
        ...

    def width(self, time: int) -> int:
        """Columns still running at a time; never grows."""
        ...

    def step(self, time: int, state: Tensor, cost: Tensor | None) -> tuple[Tensor, Tape]:
        """One time step: the next state, and what going back needs.

        Args:
            time: Which step.
            state: Its state, which is not written to.
            cost: Where to add each seed's saturation cost, (S,); None where nobody asks.
        """
        ...

    def back(self, time: int, tape: Tape, gradient: Tensor, cost: Tensor) -> Tensor:
        """The gradient of a step's state; those of the weights are added up where they lie.

        Args:
            time: Which step.
            tape: What the step kept.
            gradient: Of the next state, which is not written to.
            cost: Of each seed's saturation cost, (S,).
        """
        ...


def unroll(cell: Cell, state: Tensor, segment: int | None) -> tuple[Tensor, Tensor]:
    """Final state and saturation cost (S,); keeps nothing where no gradient is wanted.

    Args:
        cell: The steps.
        state: First state, (S, N, height, columns, maps).
        segment: Time steps between two states kept; None keeps every tape.
    """
    if torch.is_grad_enabled():
        final, saturation = _Unrolled.apply(state, cell, segment)
        return final, saturation
    final = torch.empty_like(state)
    for time, _, after, _ in _steps(cell, state, range(cell.steps), None):
        _finish(cell, time, after, final)
    return final, state.new_zeros(state.shape[0])


class _Unrolled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, cell: Cell, segment: int | None) -> tuple[Tensor, Tensor]:
        ctx.cell, ctx.segment, ctx.kept = cell, segment, []
        state = state.detach()
        final = torch.empty_like(state)
        saturation = state.new_zeros(state.shape[0])
        for time, before, after, tape in _steps(cell, state, range(cell.steps), saturation):
            if segment is None:
                ctx.kept.append(tape)
            elif time % segment == 0:
                ctx.kept.append(before)
            _finish(cell, time, after, final)
        return final, saturation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        final, cost = gradients
        gradient = final[:, :, :, :0]
        for time, tape in _tapes_backwards(ctx.cell, ctx.kept, ctx.segment):
            arriving = final[:, :, :, gradient.shape[3] : ctx.cell.width(time)]
            if arriving.shape[3]:
                gradient = torch.cat([gradient, arriving], dim=3)
            gradient = ctx.cell.back(time, tape, gradient, cost)
        return gradient, None, None


def _steps(
    cell: Cell, state: Tensor, times: range, cost: Tensor | None
) -> Iterator[tuple[int, Tensor, Tensor, Tape]]:
    """Time, state before and after (both of the running columns), and tape of each step."""
    for time in times:
        before = state[:, :, :, : cell.width(time)]
        state, tape = cell.step(time, before, cost)
        yield time, before, state, tape


def _finish(cell: Cell, time: int, after: Tensor, final: Tensor) -> None:
    """Write the columns for which this step was the last."""
    running = cell.width(time + 1) if time + 1 < cell.steps else 0
    if running < after.shape[3]:
        final[:, :, :, running : after.shape[3]] = after[:, :, :, running:]


def _tapes_backwards(
    cell: Cell, kept: list[Any], segment: int | None
) -> Iterator[tuple[int, Tape]]:
    """Every step's tape, last first, each let go once it was used."""
    if segment is None:
        for time in reversed(range(cell.steps)):
            yield time, kept.pop()
        return
    for start in reversed(range(0, cell.steps, segment)):
        times = range(start, min(start + segment, cell.steps))
        tapes = [tape for _, _, _, tape in _steps(cell, kept.pop(), times, None)]
        for time in reversed(times):
            yield time, tapes.pop()
