"""Why a request is refused before it reaches the record: exceptions that know no HTTP.

    Refusal
    ├── UnknownParameter      a query parameter the address does not take
    ├── BodyTooLarge          longer than one may be
    ├── UnreadableBody        neither YAML nor JSON, or not UTF-8
    ├── NoWeights             a seed run whose weights are not here
    ├── CrossSite             a change asked for by a page of another site
    ├── Unauthenticated
    │   ├── MissingToken      no token, where the service asks for one
    │   └── WrongToken        a token nobody has, or no longer
    ├── NotPermitted          the token's role is not enough
    ├── TooManySubmits        this token or address submitted too often
    ├── TooManyQueries        as many SQL queries run as may at once
    └── NotReady              the record is not at the schema this code expects

What the record itself refuses is in `db.errors`, what is wrong in a spec in `sweeps.problems`.
"""

import math
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
    """The body is longer than one may be."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is larger than {limit:,} bytes, the limit")


class UnreadableBody(Refusal):
    """The body's type is not one that is read here, or its bytes are not text."""


class NoWeights(Refusal):
    """A seed run's weights are not where this process can read them."""

    def __init__(self, seed_run_id: int, why: str) -> None:
        self.seed_run_id = seed_run_id
        super().__init__(f"there are no weights of seed run {seed_run_id} here: {why}")


class CrossSite(Refusal):
    """A page of another site asked for a change."""

    def __init__(self) -> None:
        super().__init__("a page of another site may change nothing here")


class ForeignHost(Refusal):
    """It was asked under a name that is not its own: a page elsewhere may have had it resolved."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"while it needs no tokens this service answers to localhost and 127.0.0.1, not to "
            f"{shown(host)}: name its address in NGPU_SERVER_URL, or set NGPU_REQUIRE_TOKENS=true"
        )


class Unauthenticated(Refusal):
    """Base of: who asks is not known."""


class MissingToken(Unauthenticated):
    """The service asks for a token, and there is none."""

    def __init__(self) -> None:
        super().__init__(
            "this service asks for a token: send `Authorization: Bearer …`, set NGPU_TOKEN, "
            "or log in at /login; `ngpu token create NAME` makes one"
        )


class WrongToken(Unauthenticated):
    """The token is nobody's."""

    def __init__(self) -> None:
        super().__init__(
            "the token is wrong or was revoked: `ngpu token create NAME` makes another"
        )


class NotPermitted(Refusal):
    """The token's role is not enough."""

    def __init__(self, name: str, role: str, needed: str) -> None:
        super().__init__(
            f"the token {shown(name)} may {role}, and this needs {needed}: "
            f"`ngpu token create NAME --role {needed}` makes one that may"
        )


class TooManySubmits(Refusal):
    """This token or address submitted too often."""

    def __init__(self, per_minute: int, seconds: float) -> None:
        self.retry_after = math.ceil(seconds)
        super().__init__(
            f"at most {per_minute} submits, retries and extensions a minute: "
            f"ask again in {self.retry_after} s"
        )


class TooManyQueries(Refusal):
    """As many users' SQL queries run as may at once."""

    def __init__(self) -> None:
        super().__init__("as many SQL queries run as may at once: ask again in a moment")


class NotReady(Refusal):
    """The service cannot answer yet, and says what to do."""
