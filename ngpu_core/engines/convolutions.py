"""Convolutions for a backward pass written by hand: the image in, the gradients out.

An image of S seeds is (S, N, height, columns, maps), a kernel (S, out, in, rows, 3) with 1 or 3
rows; the result has the image's size. Each object holds one kernel and the sum of its gradients.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ngpu_core.config import Precision
from ngpu_core.engines.fused import fused


class Convolution(Protocol):
    """A convolution that adds up the gradient of its kernel."""

    def __call__(self, image: Tensor) -> Tensor:
        """(S, N, height, columns, in) → (S, N, height, columns, out), a tensor of its own."""
        ...

    def back(self, image: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of `image` from that of the result; the kernel's is added up."""
        ...

    def gradients(self) -> tuple[Tensor, Tensor]:
        """What has been added up: for the kernel (S, out, in, rows, 3) and the bias (S, out)."""
        ...


#: From a kernel and a bias.
Convolutions = Callable[[Tensor, Tensor], Convolution]


def channels_first(image: Tensor) -> Tensor:
    """One seed's image as torch's convolutions see it, in the memory they are fastest in."""
    return image.permute(0, 3, 1, 2)


class SeedwiseConvolution:
    """One seed after the other through the library's convolution: what suits a CPU.

    With the maps last, oneDNN convolves at the speed of its matrix products and copies nothing.
    """

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        self._kernels = kernel.unbind()
        self._biases = bias.unbind()
        self._padding = [kernel.shape[3] // 2, 1]
        self._kernel_gradients = [torch.zeros_like(one) for one in self._kernels]
        self._bias_gradient = torch.zeros_like(bias)

    def __call__(self, image: Tensor) -> Tensor:
        """One library call a seed."""
        return _stacked(
            [
                F.conv2d(channels_first(image[seed]), kernel, bias, padding=self._padding)
                for seed, (kernel, bias) in enumerate(zip(self._kernels, self._biases, strict=True))
            ]
        )

    def back(self, image: Tensor, gradient: Tensor) -> Tensor:
        """One library call a seed."""
        results = []
        for seed, (kernel, total) in enumerate(
            zip(self._kernels, self._kernel_gradients, strict=True)
        ):
            change, addend, _ = torch.ops.aten.convolution_backward(
                channels_first(gradient[seed]),
                channels_first(image[seed]),
                kernel,
                None,
                [1, 1],
                self._padding,
                [1, 1],
                False,
                [0, 0],
                1,
                [True, True, False],
            )
            total.add_(addend)
            results.append(change)
        self._bias_gradient.add_(gradient.sum(dim=(1, 2, 3)))
        return _stacked(results)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Seeds stacked again."""
        return torch.stack(self._kernel_gradients), self._bias_gradient


def _stacked(results: list[Tensor]) -> Tensor:
    """Images of one seed each, channels first, as images of all seeds."""
    if len(results) == 1:
        return results[0].permute(0, 2, 3, 1).contiguous().unsqueeze(0)
    return torch.stack([one.permute(0, 2, 3, 1) for one in results])


class StackedConvolution:
    """All seeds in one batched matrix product: what suits a GPU.

    Some rows of the result are computed together, from the window of rows and columns they see:
    the kernel becomes a banded matrix, with zeros where a row of the result does not see a row of
    the window. That multiplies some zeros, copies each value three times instead of nine, and makes
    products of few maps wide enough to be efficient.

    Args:
        kernel: (S, out, in, rows, 3).
        bias: (S, out).
        height: Rows of the images.
        together: Rows of the result in one product.
        precision: Of the factors; sums are float32. `tf32` is the library's to do.
    """

    def __init__(
        self,
        kernel: Tensor,
        bias: Tensor,
        *,
        height: int,
        together: int,
        precision: Precision = "float32",
    ) -> None:
        self._bias = bias[:, None, None, None]
        self._reach = kernel.shape[3] // 2
        self._height = height
        self._together = together
        self._low = torch.bfloat16 if precision == "bfloat16" else None
        self._windows = column_windows_bfloat16 if self._low else column_windows
        self._band = self._rounded(self._banded(kernel))
        turned = kernel.flip(3, 4).transpose(1, 2)
        self._turned_band = self._rounded(self._banded(turned))
        self._band_gradient = torch.zeros_like(self._band, dtype=kernel.dtype)
        self._bias_gradient = torch.zeros_like(bias)

    def __call__(self, image: Tensor) -> Tensor:
        """Windows, one product for every few rows, bias."""
        return self._products(self._windows(image), self._band) + self._bias

    def back(self, image: Tensor, gradient: Tensor) -> Tensor:
        """The image's gradient is the same convolution with the kernel turned over."""
        self._add_kernel_gradient(self._windows(image), gradient)
        self._bias_gradient.add_(gradient.sum(dim=(1, 2, 3)))
        return self._products(self._windows(gradient), self._turned_band)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Every row of a band holds the kernel once: add them."""
        rows = 2 * self._reach + 1
        bands = [self._band_gradient[:, r : r + rows, :, :, r] for r in range(self._together)]
        total = torch.stack(bands).sum(dim=0)  # (S, rows, 3, in, out)
        return total.permute(0, 4, 3, 1, 2).contiguous(), self._bias_gradient

    def _banded(self, kernel: Tensor) -> Tensor:
        """(S, seen rows, 3, in, rows together, out) from (S, out, in, rows, 3)."""
        seeds, wide, maps, rows, _ = kernel.shape
        seen = self._together + 2 * self._reach
        band = kernel.new_zeros(seeds, seen, 3, maps, self._together, wide)
        for row in range(self._together):
            band[:, row : row + rows, :, :, row] = kernel.permute(0, 3, 4, 2, 1)
        return band

    def _spans(self) -> list[tuple[slice, slice, slice]]:
        """For each product: its rows of the result, the rows they see, and where in the band."""
        spans = []
        for start in range(0, self._height, self._together):
            stop = min(start + self._together, self._height)
            low, high = max(start - self._reach, 0), min(stop + self._reach, self._height)
            offset = start - self._reach
            spans.append((slice(start, stop), slice(low, high), slice(low - offset, high - offset)))
        return spans

    def _products(self, windows: Tensor, band: Tensor) -> Tensor:
        """(S, N, height, columns, out) from (S, N, columns, height, 3, in)."""
        seeds, batch, columns = windows.shape[:3]
        parts = []
        for rows, seen, inside in self._spans():
            matrix = band[:, inside, :, :, : rows.stop - rows.start]
            product = self._multiply(
                windows[:, :, :, seen].reshape(seeds, batch * columns, -1),
                matrix.flatten(1, 3).flatten(2),
            )
            parts.append(product.view(seeds, batch, columns, rows.stop - rows.start, -1))
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=3)
        return whole.transpose(2, 3)

    def _add_kernel_gradient(self, windows: Tensor, gradient: Tensor) -> None:
        seeds, batch, columns = windows.shape[:3]
        changes = self._rounded(gradient).transpose(2, 3)
        for rows, seen, inside in self._spans():
            target = self._band_gradient[:, inside, :, :, : rows.stop - rows.start]
            product = self._multiply(
                windows[:, :, :, seen].reshape(seeds, batch * columns, -1).transpose(1, 2),
                changes[:, :, :, rows].reshape(seeds, batch * columns, -1),
            )
            target.add_(product.view(target.shape))

    def _rounded(self, value: Tensor) -> Tensor:
        return value if self._low is None else value.to(self._low)

    def _multiply(self, left: Tensor, right: Tensor) -> Tensor:
        """Batched product; of bfloat16 factors the float32 sums."""
        if self._low is None:
            return torch.bmm(left, right)
        if left.is_cuda:
            return torch.bmm(left, right, out_dtype=torch.float32)
        return torch.bmm(left.float(), right.float())


@fused
def column_windows(image: Tensor) -> Tensor:
    """Each column with its neighbours: (S, N, columns, height, 3, maps), zeros beyond the ends."""
    return _windows(image)


@fused
def column_windows_bfloat16(image: Tensor) -> Tensor:
    """The same rounded to bfloat16."""
    return _windows(image.to(torch.bfloat16))


def _windows(image: Tensor) -> Tensor:
    padded = F.pad(image.transpose(2, 3), (0, 0, 0, 0, 1, 1))
    return torch.stack([padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:]], dim=4)
