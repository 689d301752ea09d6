"""The local Ray cluster as the scheduler sees it: settings, announcement, keeper process.

Loading this file does not load Ray. The cluster is started when a sweep first needs it and ended
when none has needed it for a while.
"""

import json
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from service.control.processes import ProcessId, end, lives, spawn, this_process
from service.settings import Settings

#: Seconds an unneeded cluster is kept.
IDLE_SECONDS = 300.0
#: Seconds the keeper gets to end Ray's processes.
GRACE_SECONDS = 15.0

#: Ray's own settings, for every process that loads it. Nothing leaves this machine, Tune writes no
#: logs of its own, a dead node is noticed in seconds. The report's address matters: Ray reports
#: even that it may not report.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    # How soon a node learns that the head is another one; by default 60 s.
    "RAY_raylet_liveness_self_check_interval_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    # Its logs are on a small disk in memory where it runs in a container.
    "RAY_ROTATION_MAX_BYTES": "10000000",
    "RAY_ROTATION_BACKUP_COUNT": "1",
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
        facts = json.loads(announcement(settings).read_text())
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
        announcement(settings).unlink(missing_ok=True)


def announcement(settings: Settings) -> Path:
    """The file in which a keeper announces its cluster."""
    return settings.scratch / "ray_cluster.json"


def announce(settings: Settings, address: str, folder: str) -> None:
    """Say where this process's cluster is."""
    cluster = Cluster(address=address, folder=folder, keeper=this_process())
    path = announcement(settings)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(asdict(cluster)))
    os.replace(beside, path)


class LocalCluster:
    """The keeper process, started when an address is asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeper: subprocess.Popen[bytes] | None = None
        self._needed = time.monotonic()

    def address(self) -> str | None:
        """Where the cluster is; None while it starts. Call again."""
        self._needed = time.monotonic()
        if self._keeper is None:
            self._start()
            return None
        cluster = announced(self._settings)
        if cluster is None or cluster.keeper.pid != self._keeper.pid:
            return None
        return cluster.address

    def died(self) -> bool:
        """Whether the keeper ended by itself since the last call; it is forgotten then."""
        if self._keeper is None or self._keeper.poll() is None:
            return False
        structlog.get_logger().error("ray's keeper died", status=self._keeper.returncode)
        self._keeper = None
        return True

    def rest(self, *, needed: bool) -> None:
        """End a cluster that has not been needed for a while."""
        if needed:
            self._needed = time.monotonic()
        elif time.monotonic() - self._needed > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """End the cluster and wait until it is gone."""
        if self._keeper is not None:
            end(self._keeper, grace_seconds=GRACE_SECONDS)
            self._keeper = None

    def _start(self) -> None:
        forget_cluster(self._settings)
        make_token(self._settings)
        environment = {**self._settings.environment(), **ray_environment(self._settings)}
        self._keeper = spawn(
            "service.control.keeper",
            ["--parent", str(os.getpid())],
            environment=environment,
            log=self._settings.logs / "ray.log",
        )
