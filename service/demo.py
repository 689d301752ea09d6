"""`ngpu demo`: the main job in one command, from a spec to a table of success fractions."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from service.client import Client, Json
from service.control.processes import end, spawn
from service.outcomes import outcome
from service.printing import message, print_table
from service.settings import Settings
from service.watching import print_success, watch_sweep
from sweeps.spec import SpecError, parse_spec

START_SECONDS = 90.0
END_SECONDS = 45.0
SEED_COLUMNS = ("configuration", "seed", "outcome", "best_error", "final_error", "page")


def run_demo(
    settings: Settings, text: str | None, *, seeds: int | None, new: bool, leave: bool
) -> int:
    """Start the service, train the demo sweep, show its results; the exit code.

    Args:
        settings: Where; a port that is taken is replaced by a free one.
        text: A spec, by default the demo's own.
        seeds: Seeds a configuration instead of the spec's.
        new: Train again what this home has trained before.
        leave: End when the sweep has ended, rather than at Ctrl-C.
    """
    try:
        spec = _spec(text, seeds)
    except SpecError as error:
        message(str(error))
        return 2
    settings = _on_a_free_port(settings)
    # Whoever ends the demo ends the service it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _service(settings), Client(settings.server_url, token=settings.token) as client:
            finished = _show(client, spec, new=new)
            if not leave:
                _stay(client)
            return 0 if finished else 1
    except KeyboardInterrupt:
        message("stopped; `ngpu serve` goes on where this ended")
        return 1


def _spec(text: str | None, seeds: int | None) -> Mapping[str, Any]:
    text = text or files("sweeps").joinpath("specs/demo.yaml").read_text()
    spec = parse_spec(text).canonical()
    if seeds is not None:
        spec["seeds"]["count"] = seeds
    return spec


def _on_a_free_port(settings: Settings) -> Settings:
    if settings.port and not _taken(settings.host, settings.port):
        return settings
    with socket.socket() as free:
        free.bind((settings.host, 0))
        port = free.getsockname()[1]
    if settings.port:
        message(f"port {settings.port} is taken: the demo uses {port} (choose one with --port)")
    return settings.model_copy(
        update={"port": port, "server_url": f"http://{settings.host}:{port}"}
    )


def _taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


@contextmanager
def _service(settings: Settings) -> Iterator[None]:
    log = settings.make_home() / "logs" / "serve.log"
    message(f"starting the service · everything it writes is under {settings.home}")
    child = spawn("service.cli", ["serve"], environment=settings.environment(), log=log)
    try:
        _await_ready(child, settings.server_url, log)
        yield
    finally:
        end(child, grace_seconds=END_SECONDS)


def _await_ready(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with Client(url) as client:
        while not client.ready():
            if child.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise OSError(f"the service did not start; the end of {log}:\n{last}")
            time.sleep(0.2)


def _show(client: Client, spec: Mapping[str, Any], *, new: bool) -> bool:
    """Train (or find) the sweep and print its results; whether it finished."""
    sweep = client.submit(spec, new=new)
    page = f"{client.server_url}/sweeps/{sweep['id']}"
    if not sweep["created"]:
        message(f"this home has sweep {sweep['name']} already: --new trains a fresh one")
    message(f"sweep {sweep['name']}: {sweep['progress']['requested']} seed runs · {page}")
    sweep = watch_sweep(client, sweep["id"])
    print_success(sweep, client.success(sweep["id"]))
    _print_others(client, sweep)
    print(f"\nThe page: {page}", flush=True)
    return bool(sweep["state"] == "finished")


def _print_others(client: Client, sweep: Json) -> None:
    """The seeds that did not learn the task."""
    others = [seed for seed in client.seeds(sweep["id"]) if not seed["succeeded"]]
    if not others:
        print("\nEvery seed generalized.")
        return
    print(f"\nSeeds that did not generalize: {len(others)}")
    lines = [
        {
            **seed,
            "outcome": outcome(seed).replace("-", " "),
            "page": f"{client.server_url}/seeds/{seed['seed_run_id']}",
        }
        for seed in others
    ]
    print_table(lines, SEED_COLUMNS)


def _stay(client: Client) -> None:
    message("The service stays up; Ctrl-C ends it.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        message("stopping the service")
