"""The database's clock: every time in the record is told by it, never by a worker.

PostgreSQL stores `timestamptz`; SQLite stores UTC text with milliseconds, which sorts as time does.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, DateTime, Dialect, Double, Text, bindparam, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

_TEXT_FORMAT = "%Y-%m-%d %H:%M:%f"


class UtcTime(TypeDecorator[datetime]):
    """A moment, timezone aware and in UTC on the Python side."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite, which has no time type."""
        return dialect.type_descriptor(
            Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times: which zone would they be in?"""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: pass an aware datetime")
        utc = value.astimezone(UTC)
        if dialect.name != "sqlite":
            return utc
        return utc.replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """An aware datetime in UTC."""
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        return value.astimezone(UTC)


class now(FunctionElement[datetime]):
    """The database's time at this statement."""

    type = UtcTime()
    inherit_cache = True


class _InSeconds(FunctionElement[datetime]):
    type = UtcTime()
    inherit_cache = True


def in_seconds(seconds: float | str) -> FunctionElement[datetime]:
    """The database's time `seconds` from now: a bound parameter, or the name of one."""
    bound: BindParameter[float]
    if isinstance(seconds, str):
        bound = bindparam(seconds, type_=Double())
    else:
        bound = literal(float(seconds), Double())
    return _InSeconds(bound)


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return f"strftime('{_TEXT_FORMAT}', 'now')"


@compiles(_InSeconds, "postgresql")
def _in_seconds_postgresql(element: _InSeconds, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(clock_timestamp() + {compiler.process(element.clauses, **kw)} * interval '1 second')"


@compiles(_InSeconds, "sqlite")
def _in_seconds_sqlite(element: _InSeconds, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime('{_TEXT_FORMAT}', 'now', {seconds} || ' seconds')"
