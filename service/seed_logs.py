"""What the log of a sweep says about one seed run.

A sweep's runners write one file, `logs/SWEEP.log`, in either log format; trials name configuration,
pack and seeds in every line, and Ray puts its own words before the lines of its workers.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from service.schemas import Row

#: What Ray's driver puts before a worker's line.
_WORKER = re.compile(r"^\([^)]*pid=\d+[^)]*\)\s*")
_PAIR = re.compile(r'([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|\S*)')
#: Bytes of a log's end that are looked through.
TAIL_BYTES = 8 * 2**20


class LogLine(Row):
    """One line of a log, and what was written below it, such as a traceback."""

    timestamp: str
    level: str
    event: str
    #: Its other facts, as text.
    fields: dict[str, str]
    text: str | None


def seed_log(file: Path, *, configuration_id: int, seed: int, limit: int) -> list[LogLine]:
    """The last lines about a seed run, the oldest first; none where there is no log.

    Args:
        file: The sweep's log.
        configuration_id: The seed run's.
        seed: Its seed.
        limit: Lines at most.
    """
    about = (
        line
        for line in read_log(_tail(file))
        if line.fields.get("configuration") == str(configuration_id) and _names(line, seed)
    )
    return list(deque(about, maxlen=limit))


def read_log(lines: Iterable[str]) -> Iterator[LogLine]:
    """Log lines from text of either format; other text belongs to the line before it."""
    current: LogLine | None = None
    for raw in lines:
        text = _WORKER.sub("", raw.rstrip("\n"))
        facts = _facts(text)
        if facts is None:
            if current is not None and text:
                current.text = text if current.text is None else f"{current.text}\n{text}"
            continue
        if current is not None:
            yield current
        current = _line(facts)
    if current is not None:
        yield current


def _facts(text: str) -> Mapping[str, Any] | None:
    """The facts of a line of a log; None for other text."""
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            return None
        return found if isinstance(found, dict) and "event" in found else None
    if not text.startswith("timestamp="):
        return None
    return {key: _unquoted(value) for key, value in _PAIR.findall(text)}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return value[1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")


def _line(facts: Mapping[str, Any]) -> LogLine:
    own = ("timestamp", "level", "event", "exception")
    return LogLine(
        **{key: str(facts.get(key, "")) for key in own[:3]},
        fields={key: str(value) for key, value in facts.items() if key not in own},
        text=facts.get("exception"),
    )


def _names(line: LogLine, seed: int) -> bool:
    """Whether a line is about a seed: about it alone, or about a pack it is in."""
    named = line.fields.get("seed", line.fields.get("seeds", ""))
    return str(seed) in re.findall(r"\d+", named)


def _tail(file: Path) -> Iterator[str]:
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        return
    with opened:
        opened.seek(0, 2)
        start = max(0, opened.tell() - TAIL_BYTES)
        opened.seek(start)
        if start:
            opened.readline()
        for line in opened:
            yield line.decode(errors="replace")
