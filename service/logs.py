"""Logging of the service's processes: to stderr, `key=value` for people or JSON for machines."""

import logging
import sys
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog


def configure_logging(log_format: Literal["text", "json"], **context: Any) -> None:
    """Set up structlog for this process.

    Args:
        log_format: `text` is `key=value`.
        context: Facts that every line of this process carries, such as its sweep.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "event"], drop_missing=True, bool_as_flag=False
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Lossy(sys.stderr))),
    )
    structlog.contextvars.bind_contextvars(**context)


class _Lossy:
    """A stream that loses what its file does not take: a full disk must not end what is logged."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError):
            self._file.flush()
