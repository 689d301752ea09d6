"""API tokens: who may do what. The record keeps a salted hash; the token itself is shown once.

A token is `ngpu_ID_SECRET`: the id finds its row, the secret is 256 random bits, so that one fast
keyed hash is enough.
"""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex

from sqlalchemy import Connection, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from db.clock import in_seconds, now
from db.errors import RecordError
from db.models import api_tokens
from db.paging import Row
from db.states import Role

PREFIX = "ngpu"
#: A token made elsewhere must be as long and as random as ours.
_FORM = re.compile(rf"{PREFIX}_([0-9a-f]{{12}})_([0-9a-f]{{64}})")
#: The time of the last use is kept to the minute: not every request is a write.
_USE_SECONDS = 60.0


class TokenExists(RecordError):
    """A token has this name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a token {name!r} already: choose another name")
        self.name = name


class NoToken(RecordError):
    """Tokens are required, and none is in force."""


class MalformedToken(RecordError):
    """A text is not a token."""

    def __init__(self) -> None:
        super().__init__(
            f"it holds no token: one is {PREFIX}_, 12 hexadecimal digits, _, and 64 of them"
        )


class TokenNotFound(RecordError):
    """No token that is in force has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no token {name!r} in force: see `ngpu token list`")
        self.name = name


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Whose token a request carries."""

    id: str
    name: str
    role: Role


def create_token(conn: Connection, name: str, role: Role) -> str:
    """A new token, to be shown once.

    Raises:
        TokenExists: The name is taken, be it by a revoked one: a log that names it stays clear.
    """
    token_id, secret = token_hex(6), token_hex(32)
    _insert(conn, name, role, token_id, secret)
    return f"{PREFIX}_{token_id}_{secret}"


def adopt_token(conn: Connection, name: str, role: Role, token: str) -> bool:
    """Put a token in force that was made elsewhere, as in a deployment's secret.

    The same token again changes nothing, also when it was revoked meanwhile. Another one under the
    same name replaces it: the former is revoked, and the new one is named `NAME-ID`.

    Returns:
        Whether it was new.

    Raises:
        MalformedToken: It is not of our form, so it may be guessed.
        TokenExists: Its id is another token's.
    """
    found = _FORM.fullmatch(token)
    if found is None:
        raise MalformedToken
    token_id, secret = found.groups()
    known = conn.execute(select(api_tokens).where(api_tokens.c.id == token_id)).one_or_none()
    if known is not None:
        if not hmac.compare_digest(_hash(known.salt, secret), known.hash):
            raise TokenExists(known.name)
        return False
    taken = [row.name for row in conn.execute(select(api_tokens.c.name))]
    for former in taken:
        if former == name or re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", former):
            _revoke(conn, former)
    _insert(conn, f"{name}-{token_id}" if name in taken else name, role, token_id, secret)
    return True


def _insert(conn: Connection, name: str, role: Role, token_id: str, secret: str) -> None:
    salt = token_hex(16)
    row = {"id": token_id, "name": name, "role": role, "salt": salt, "hash": _hash(salt, secret)}
    try:
        conn.execute(insert(api_tokens).values(**row, created_at=now()))
    except IntegrityError as error:
        raise TokenExists(name) from error


def list_tokens(conn: Connection) -> list[Row]:
    """Every token without what would let one in, the oldest first."""
    shown = ("name", "role", "created_at", "used_at", "revoked_at")
    columns = [api_tokens.c[name] for name in shown]
    rows = conn.execute(select(*columns).order_by(api_tokens.c.created_at, api_tokens.c.id))
    return [dict(row) for row in rows.mappings()]


def revoke_token(conn: Connection, name: str) -> None:
    """Take a token out of force: its next request is refused.

    Raises:
        TokenNotFound: No token in force has this name.
    """
    if not _revoke(conn, name):
        raise TokenNotFound(name)


def _revoke(conn: Connection, name: str) -> bool:
    in_force = (api_tokens.c.name == name) & api_tokens.c.revoked_at.is_(None)
    done = conn.execute(update(api_tokens).where(in_force).values(revoked_at=now()))
    return bool(done.rowcount)


def any_in_force(conn: Connection) -> bool:
    """Whether anybody could be let in."""
    in_force = api_tokens.c.revoked_at.is_(None)
    return bool(conn.scalar(select(func.count()).select_from(api_tokens).where(in_force)))


def holder_of(conn: Connection, token: str) -> Holder | None:
    """Whose token this is; None for one that is wrong or revoked."""
    prefix, _, rest = token.partition("_")
    token_id, _, secret = rest.partition("_")
    row = conn.execute(
        select(api_tokens).where(
            api_tokens.c.id == token_id[:64], api_tokens.c.revoked_at.is_(None)
        )
    ).one_or_none()
    # A token nobody has costs the same comparison.
    salt, expected = (row.salt, row.hash) if row else ("", "")
    right = hmac.compare_digest(_hash(salt, secret), expected)
    if row is None or not right or prefix != PREFIX:
        return None
    return Holder(id=row.id, name=row.name, role=Role(row.role))


def needs_note(conn: Connection, holder: Holder) -> bool:
    """Whether the time of its last use is older than a minute."""
    used = api_tokens.c.used_at
    stale = or_(used.is_(None), used < in_seconds(-_USE_SECONDS))
    return bool(
        conn.scalar(
            select(func.count()).select_from(api_tokens).where(api_tokens.c.id == holder.id, stale)
        )
    )


def note_use(conn: Connection, holder: Holder) -> None:
    """Keep that a token was used now."""
    conn.execute(update(api_tokens).where(api_tokens.c.id == holder.id).values(used_at=now()))


def _hash(salt: str, secret: str) -> str:
    return hmac.new(salt.encode(), secret.encode(errors="replace"), sha256).hexdigest()
