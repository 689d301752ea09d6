"""`ngpu serve`: the web process, and the scheduler as its child.

The two share nothing but the record, so either may die: a dead scheduler is started again, and one
whose parent has died ends by itself. Ray is loaded by neither.
"""

import os
import signal
import subprocess
import threading
from types import FrameType

import structlog
import uvicorn

from db.engine import open_engine, reading
from db.tokens import NoToken, any_in_force
from service.app import create_app
from service.control.processes import end, spawn
from service.control.scheduler import check_schema
from service.logs import configure_logging
from service.settings import Settings

#: Seconds between two looks at the scheduler.
POLL_SECONDS = 0.5
#: Longest wait before a scheduler that keeps dying is started again.
LONGEST_BACK_OFF_SECONDS = 30.0
#: Seconds the scheduler gets to end its own children.
GRACE_SECONDS = 30.0


class _SchedulerChild:
    """Keeps one scheduler process alive until closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="scheduler-watch")

    def __enter__(self) -> "_SchedulerChild":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _spawn(self) -> subprocess.Popen[bytes]:
        arguments = ["--parent", str(os.getpid())]
        return spawn(
            "service.control.scheduler",
            arguments,
            environment=self._settings.environment(),
            log=None,
        )

    def _watch(self) -> None:
        back_off = POLL_SECONDS
        child = self._spawn()
        lived = 0.0
        while not self._closed.wait(POLL_SECONDS):
            lived += POLL_SECONDS
            if child.poll() is None:
                continue
            structlog.get_logger().error("scheduler died", status=child.returncode)
            back_off = POLL_SECONDS if lived > 60 else min(2 * back_off, LONGEST_BACK_OFF_SECONDS)
            if self._closed.wait(back_off):
                return
            child, lived = self._spawn(), 0.0
        end(child, grace_seconds=GRACE_SECONDS)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def serve(settings: Settings) -> None:
    """Run the web process and the scheduler until SIGINT or SIGTERM; leave no process behind."""
    settings.make_home()
    check_schema(settings)
    check_tokens(settings)
    _leave_on_signals()
    with _SchedulerChild(settings):
        _run_web(settings)


def serve_web(settings: Settings) -> None:
    """Run the web process alone until SIGINT or SIGTERM."""
    settings.make_home()
    if settings.embedded:
        check_schema(settings)
    check_tokens(settings)
    _leave_on_signals()
    _run_web(settings)


def check_tokens(settings: Settings) -> None:
    """Refuse to listen where others can ask while nobody could be let in.

    Raises:
        NoToken: Tokens are required, and there is none.
    """
    if not settings.tokens_required:
        return
    engine = open_engine(settings.database_url)
    with reading(engine) as conn:
        found = any_in_force(conn)
    engine.dispose()
    if not found:
        raise NoToken(
            f"listening on {settings.host} needs tokens, and there is none: make the first with "
            "`ngpu token create NAME --role admin`, or listen on 127.0.0.1"
        )


def _leave_on_signals() -> None:
    """End by an exception, so that what was started is ended first.

    uvicorn raises a caught signal again when it has shut down; this must not end the process
    before the scheduler has ended its children.
    """
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, _leave)


def _run_web(settings: Settings) -> None:
    configure_logging(settings.log_format)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()
