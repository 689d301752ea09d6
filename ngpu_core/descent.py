"""From a pack's gradients to its next parameters: the pull between copies, then the optimizer.

Written in torch, for any device; on a CPU the native engine's library takes a seed's row through
all of it at once, to the same numbers up to rounding (`engines/native/optimizer.h`).
"""

import ctypes
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ngpu_core.engines.native_build import load
from ngpu_core.models.network import Network
from ngpu_core.optimizers import Adam, PackOptimizer
from ngpu_core.packing import SeedPack
from ngpu_core.relaxation import add_pull, copies_in_row


class Descent(Protocol):
    """Updates a pack in place."""

    def update(
        self,
        pack: SeedPack,
        gradients: Tensor,
        pulls: Sequence[float],
        rates: Sequence[float],
        active: Sequence[bool],
        step: int,
    ) -> list[bool]:
        """One step of P seeds; which of them have a finite gradient.

        Seeds that have not, or are not active, keep their parameters.

        Args:
            pack: The seeds, with their optimizer's slots.
            gradients: (P, N), used up.
            pulls: Weight of the pull, a seed.
            rates: Learning rate, a seed.
            active: Whether a seed may be updated.
            step: Counts from 1.
        """
        ...


class TorchDescent:
    """The definition."""

    def __init__(self, network: Network, optimizer: PackOptimizer) -> None:
        self.network = network
        self.optimizer = optimizer

    def update(
        self,
        pack: SeedPack,
        gradients: Tensor,
        pulls: Sequence[float],
        rates: Sequence[float],
        active: Sequence[bool],
        step: int,
    ) -> list[bool]:
        """All seeds at once."""
        device = gradients.device
        add_pull(self.network, pack, gradients, torch.tensor(pulls, device=device))
        finite = torch.linalg.vector_norm(gradients, dim=1).isfinite()
        self.optimizer.update(
            pack,
            gradients,
            torch.tensor(rates, device=device),
            torch.tensor(active, device=device) & finite,
            step,
        )
        flags: list[bool] = finite.tolist()
        return flags


class _Copies(ctypes.Structure):
    """`struct Copies` of native/optimizer.h."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("start", "copies", "values"))


class _Descent(ctypes.Structure):
    """`struct Descent` of native/optimizer.h."""

    _fields_ = (
        ("values", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("parameters", "gradients", "first", "second")),
        ("relaxed", ctypes.POINTER(_Copies)),
        *((name, ctypes.c_int32) for name in ("relaxed_count", "active")),
        *((name, ctypes.c_float) for name in ("pull", "rate", "epsilon")),
        *((name, ctypes.c_float) for name in ("follow_first", "follow_second", "clip_norm")),
    )


class NativeDescent:
    """The compiled one: each seed's row in turn, float32 on a CPU.

    Calls for different seeds may run in threads side by side.
    """

    def __init__(
        self, library: ctypes.CDLL, network: Network, optimizer: PackOptimizer, pack: SeedPack
    ) -> None:
        relaxed = [_Copies(*one) for one in copies_in_row(network, pack.layout)]
        self.optimizer = optimizer
        self._relaxed = (_Copies * len(relaxed))(*relaxed)
        if isinstance(optimizer, Adam):
            self._descend, self._clip_norm = library.ngpu_adam, optimizer.clip_norm
        else:
            self._descend, self._clip_norm = library.ngpu_adamax, 0.0

    def update(
        self,
        pack: SeedPack,
        gradients: Tensor,
        pulls: Sequence[float],
        rates: Sequence[float],
        active: Sequence[bool],
        step: int,
    ) -> list[bool]:
        """Every seed in turn; to the last bit the same whoever else is in the pack."""
        keep_first, keep_second = self.optimizer.decays(step)
        correction = self.optimizer.correction(step)
        rows = (pack.rows, gradients.contiguous(), *pack.slots.values())
        finite = []
        for place, (pull, rate, may) in enumerate(zip(pulls, rates, active, strict=True)):
            seed = _Descent(
                pack.layout.size,
                *(row.data_ptr() + place * row.stride(0) * row.itemsize for row in rows),
                self._relaxed,
                len(self._relaxed),
                may,
                pull,
                rate * correction,
                self.optimizer.epsilon,
                1 - keep_first,
                1 - keep_second,
                self._clip_norm,
            )
            finite.append(bool(self._descend(ctypes.byref(seed))))
        return finite


def descent(network: Network, optimizer: PackOptimizer, pack: SeedPack) -> Descent:
    """The compiled one where it applies to a pack, else the one in torch."""
    library = load() if pack.rows.is_cpu and pack.rows.dtype == torch.float32 else None
    layout = getattr(library, "ngpu_descent_layout", None)  # missing: built from older sources
    if library is None or layout is None or layout() != ctypes.sizeof(_Descent):
        return TorchDescent(network, optimizer)
    return NativeDescent(library, network, optimizer, pack)
