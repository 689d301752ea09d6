"""Holds the local Ray cluster: `python -m service.control.keeper --parent PID`.

The cluster lives exactly as long as this process, and this process no longer than its parent.
"""

import argparse
import os
import shutil
import tempfile
import threading

import structlog

from service.control.local_ray import announce, announcement
from service.control.processes import orphaned, stop_on_signals, usable_cpus
from service.logs import configure_logging
from service.settings import Settings

#: Seconds between two looks at the parent; every tenth also asks the cluster.
POLL_SECONDS = 0.5


def keep(settings: Settings, parent: int, stop: threading.Event) -> None:
    """Hold a cluster until told to stop, orphaned, or the cluster has gone."""
    # Ray takes seconds to load, and only this process and the runners pay for it.
    from sweeps.ray.cluster import cluster_lives, end_broken_cluster, local_cluster

    # The path of a socket may have 107 characters, which a home folder can use up alone.
    folder = tempfile.mkdtemp(prefix="ngpu-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        with local_cluster(settings.cpus or usable_cpus(), folder) as address:
            # Ray installs a handler of its own, which leaves its processes behind.
            stop_on_signals(stop.set)
            announce(settings, address, folder)
            structlog.get_logger().info("ray started", address=address)
            rounds = 0
            while not stop.wait(POLL_SECONDS) and not orphaned(parent):
                rounds += 1
                if end_broken_cluster():
                    structlog.get_logger().error("a process of the local Ray cluster has died")
                    os._exit(1)  # what is left to tidy up is tidied by the next one's start
                if rounds % 10 == 0 and not cluster_lives():
                    raise RuntimeError("the local Ray cluster does not answer")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        announcement(settings).unlink(missing_ok=True)


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m service.control.keeper")
    parser.add_argument("--parent", type=int, required=True, help="pid to live no longer than")
    arguments = parser.parse_args()
    settings = Settings()
    configure_logging(settings.log_format)
    stop = threading.Event()
    stop_on_signals(stop.set)
    keep(settings, arguments.parent, stop)


if __name__ == "__main__":
    main()
