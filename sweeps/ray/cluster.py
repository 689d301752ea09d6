"""A Ray cluster: the one a process holds on this machine, and what any offers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

#: Bytes of a local cluster's object store: no big object passes through it.
OBJECT_STORE_BYTES = 100 * 2**20


def nodes() -> list[Mapping[str, float]]:
    """What each living node of the cluster offers, by resource."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def local_cluster(cpus: int, folder: str) -> Iterator[str]:
    """Hold a Ray cluster of this machine alone, open to this machine alone.

    Args:
        cpus: Processors its trials may use.
        folder: A short path for its files and sockets.

    Yields:
        Its address, for `run_on_ray` in other processes of the same `RAY_AUTH_TOKEN_PATH`.
    """
    context = ray.init(
        num_cpus=cpus,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=folder,
        logging_level="warning",
    )
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


def end_broken_cluster() -> bool:
    """End this process's cluster at once if a process it cannot be without has died.

    Asking it, or ending it in order, would take as long as Ray tries to connect: half a minute.

    Returns:
        Whether it was ended.
    """
    node = ray._private.worker._global_node
    died = {kind for kind, _ in node.dead_processes()} if node is not None else set()
    if not died & {"gcs_server", "raylet"}:
        return False
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    return True


def cluster_lives() -> bool:
    """Whether the cluster that this process holds still answers."""
    try:
        return any(node["Alive"] for node in ray.nodes())
    except Exception:
        return False
