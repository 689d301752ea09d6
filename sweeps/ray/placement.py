"""What a trial needs, and how many of its kind the nodes of a cluster hold. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class ClusterTooSmall(Exception):
    """No node of the cluster can ever run one trial of this sweep."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one trial of the sweep needs."""

    cpu: int
    gpu: float = 0.0


def fit(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> Demand:
    """What a trial really gets: never more processors than the largest node it can run on has.

    Processors are a matter of speed, not of results; a GPU that is not there is an error.

    Raises:
        ClusterTooSmall: No node has the GPU.
    """
    most_gpu = max(node.get("GPU", 0) for node in nodes)
    if demand.gpu > most_gpu:
        raise ClusterTooSmall(
            f"resources.gpu is {demand.gpu:g}: the largest node has {most_gpu:g}; use 0 for "
            "processors, or start a node with a GPU"
        )
    able = [node for node in nodes if node.get("GPU", 0) >= demand.gpu]
    most_cpu = int(max(node.get("CPU", 0) for node in able))
    return Demand(cpu=max(1, min(demand.cpu, most_cpu)), gpu=demand.gpu)


def slots(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials the cluster can hold at once, at least one.

    A trial runs on one node, and a share of a GPU is of one GPU: what is left over on several
    cannot be put together.
    """
    return max(1, sum(_room(demand, node) for node in nodes))


def _room(demand: Demand, node: Mapping[str, float]) -> int:
    room = int(node.get("CPU", 0) // demand.cpu)
    if demand.gpu:
        # Ten times 0.1 is one, whatever floating point makes of it.
        trials_a_gpu = int(1 / demand.gpu + 1e-6)
        room = min(room, int(node.get("GPU", 0)) * trials_a_gpu)
    return room
