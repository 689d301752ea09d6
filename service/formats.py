"""How the page writes numbers, times and lengths of time. Pure; None is always an em dash."""

from datetime import UTC, datetime

DASH = "—"
#: Narrow and does not break: 8 800, 2 m 11 s.
THIN = "\u202f"


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage, with a decimal only where it would round to 0 or 100."""
    if share is None:
        return DASH
    rounded = int(100 * share + 0.5)
    if rounded in (0, 100) and share not in (0, 1):
        return f"{100 * share:.1f}{THIN}%"
    return f"{rounded}{THIN}%"


def interval(low: float | None, high: float | None) -> str:
    """An interval of shares: ``35–72 %``."""
    if low is None or high is None:
        return DASH
    return f"{int(100 * low + 0.5)}–{int(100 * high + 0.5)}{THIN}%"


def number(value: float | None) -> str:
    """A whole number with its thousands set apart; other numbers to four digits."""
    if value is None:
        return DASH
    if float(value).is_integer():
        return f"{int(value):,}".replace(",", THIN)
    return f"{value:.4g}"


def error(value: float | None) -> str:
    """An error rate in [0, 1] with three decimals."""
    return DASH if value is None else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: ``2 m 11 s``."""
    if seconds is None:
        return DASH
    whole = round(seconds)
    for size, unit, part_size, part in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            first, rest = divmod(whole, size)
            return f"{first}{THIN}{unit} {rest // part_size}{THIN}{part}"
    return f"{whole}{THIN}s" if whole or not seconds else f"{seconds:.1f}{THIN}s"


def about(seconds: float | None) -> str:
    """An estimate of time left, rounded as coarsely as it deserves: ``about 7 min``."""
    if seconds is None:
        return "time left not known yet"
    if seconds < 60:
        return "less than a minute left"
    if seconds < 5400:
        return f"about {round(seconds / 60)}{THIN}min left"
    if seconds < 172800:
        return f"about {round(seconds / 3600)}{THIN}h left"
    return f"about {round(seconds / 86400)}{THIN}days left"


def moment(when: datetime | None) -> str:
    """A time as the machine-readable attribute of ``<time>``; the page shows it in local time."""
    return "" if when is None else when.astimezone(UTC).isoformat(timespec="seconds")


def clock(when: datetime | None) -> str:
    """A time as text for readers without scripts: ``2026-05-01 14:02 UTC``."""
    return DASH if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def plain(value: object) -> str:
    """A configuration's value as the spec would write it: ``[badd, bmul]``, ``0.001``, ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rate(per_second: float) -> str:
    """A rate to two digits: ``41``, ``0.35``."""
    return number(float(f"{per_second:.2g}")) if per_second else "0"
