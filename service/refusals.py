"""Why a request is refused before it reaches the record: exceptions that know no HTTP.

    Refusal
    ├── UnknownParameter      a query parameter the address does not take
    ├── BodyTooLarge          longer than a spec may be
    ├── UnreadableBody        neither YAML nor JSON, or not UTF-8
    ├── TooManyQueries        as many SQL queries run as may at once
    └── NotReady              the record is not at the schema this code expects

What the record itself refuses is in `db.errors`, what is wrong in a spec in `sweeps.problems`.
"""

from collections.abc import Iterable

from sweeps.problems import nearest, shown


class Refusal(Exception):
    """A request that is refused for a reason its sender can read."""


class UnknownParameter(Refusal):
    """The address does not take this query parameter."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        self.nearest = nearest(name, self.known)
        taken = ", ".join(self.known) or "none"
        super().__init__(f"there is no query parameter {shown(name)} here: it takes {taken}")


class BodyTooLarge(Refusal):
    """The body is longer than a spec may be."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is larger than {limit:,} bytes, the limit for a spec")


class UnreadableBody(Refusal):
    """The body's type is not one that is read here, or its bytes are not text."""


class TooManyQueries(Refusal):
    """As many users' SQL queries run as may at once."""

    def __init__(self) -> None:
        super().__init__("as many SQL queries run as may at once: ask again in a moment")


class NotReady(Refusal):
    """The service cannot answer yet, and says what to do."""
