"""Holds the local Ray cluster: `python -m service.keeper --parent PID`, a child of the scheduler.

The cluster lives exactly as long as this process, and this process no longer than its parent.
"""

import argparse
import json
import os
import secrets
import shutil
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from service.logs import configure_logging
from service.processes import (
    ProcessId,
    lives,
    orphaned,
    stop_on_signals,
    this_process,
    usable_cpus,
)
from service.settings import Settings

#: Seconds between two looks at the parent; every tenth also asks the cluster.
POLL_SECONDS = 0.5

#: Ray's own settings, for every process that loads it. Nothing leaves this machine, Tune writes no
#: logs of its own, a dead node is noticed in seconds. The report's address matters: Ray reports
#: even that it may not report.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "30",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",
    # Trials started at once; Tune starts a custom searcher's one after another by default.
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A local cluster, as its keeper announces it."""

    address: str
    folder: str
    keeper: ProcessId


def ray_environment(settings: Settings) -> dict[str, str]:
    """The variables of every process that loads Ray.

    A cluster that someone else runs has its own token, which the environment must name already.
    """
    if settings.ray_address is not None:
        return dict(RAY_ENVIRONMENT)
    token = str(settings.home / "ray_token")
    return RAY_ENVIRONMENT | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
        # The one way to make Ray listen on loopback only: no other machine may join.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def announced(settings: Settings) -> Cluster | None:
    """The cluster last announced, whether it lives or not."""
    try:
        facts = json.loads(_announcement(settings).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Cluster(
        address=facts["address"], folder=facts["folder"], keeper=ProcessId(**facts["keeper"])
    )


def make_token(settings: Settings) -> None:
    """Write the secret that local Ray processes know each other by, once."""
    path = settings.home / "ray_token"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))


def forget_cluster(settings: Settings) -> None:
    """Delete what a keeper that was killed left behind."""
    cluster = announced(settings)
    if cluster is not None and not lives(cluster.keeper):
        shutil.rmtree(cluster.folder, ignore_errors=True)
        _announcement(settings).unlink(missing_ok=True)


def _announcement(settings: Settings) -> Path:
    return settings.scratch / "ray_cluster.json"


def _announce(settings: Settings, address: str, folder: str) -> None:
    cluster = Cluster(address=address, folder=folder, keeper=this_process())
    path = _announcement(settings)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(asdict(cluster)))
    os.replace(beside, path)


def keep(settings: Settings, parent: int, stop: threading.Event) -> None:
    """Hold a cluster until told to stop, orphaned, or the cluster has gone."""
    # Ray takes seconds to load, and only this process and the runners pay for it.
    from sweeps.ray_runner import cluster_lives, local_cluster

    # The path of a socket may have 107 characters, which a home folder can use up alone.
    folder = tempfile.mkdtemp(prefix="ngpu-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        with local_cluster(settings.cpus or usable_cpus(), folder) as address:
            # Ray installs a handler of its own, which leaves its processes behind.
            stop_on_signals(stop.set)
            _announce(settings, address, folder)
            structlog.get_logger().info("ray started", address=address)
            rounds = 0
            while not stop.wait(POLL_SECONDS) and not orphaned(parent):
                rounds += 1
                if rounds % 10 == 0 and not cluster_lives():
                    raise RuntimeError("the local Ray cluster does not answer")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _announcement(settings).unlink(missing_ok=True)


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m service.keeper")
    parser.add_argument("--parent", type=int, required=True, help="pid to live no longer than")
    arguments = parser.parse_args()
    settings = Settings()
    configure_logging(settings.log_format)
    stop = threading.Event()
    stop_on_signals(stop.set)
    keep(settings, arguments.parent, stop)


if __name__ == "__main__":
    main()
