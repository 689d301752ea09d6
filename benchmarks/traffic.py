"""How many bytes a step moves between operators: what places it in the roofline.

    python -m benchmarks.traffic WORKLOAD

The loop's bytes are counted while it runs: every operator of torch reads its arguments and writes
its results, forward, backward and optimizer. Our compiled engine is one operator; what it moves is
what it keeps of the forward pass, written once and read once. What stays in registers and in the
innermost cache within an operator is counted for neither.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.peers.naive import NaiveLoop
from benchmarks.workload import Workload

#: Values that our engine keeps of a map and cell in a unit: input, two gates, candidate.
KEPT = 4
_FLOAT_BYTES = 4


class OperatorBytes(TorchDispatchMode):
    """Adds up what operators read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operator and count its tensors."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [
                one for one in tree_leaves((args, kwargs, result)) if isinstance(one, Tensor)
            ]
            self.total += sum(one.numel() * one.element_size() for one in tensors)
        return result


def loop_bytes(workload: Workload) -> int:
    """What one step of the naive loop moves between operators."""
    loop = NaiveLoop(workload.config, 0)
    loop.step()  # creates the optimizer's slots
    with OperatorBytes() as counted:
        loop.step()
    return counted.total


def engine_bytes(workload: Workload) -> int:
    """What one seed-step of our compiled engine keeps, written and read."""
    model = workload.config.model
    rows = model.height if workload.family == "neural_gpu" else 1
    units = model.layers * sum(length * (length + model.extra_steps) for length in workload.lengths)
    return 2 * _FLOAT_BYTES * KEPT * model.filters * rows * workload.batch * units


def main() -> None:
    """Print both counts as JSON."""
    torch.set_num_threads(1)
    workload = Workload.from_json(sys.argv[1])
    print(json.dumps({"naive": loop_bytes(workload), "ours": engine_bytes(workload)}))


if __name__ == "__main__":
    main()
