"""Who may ask what: one dependency for every address of the API and every page.

A token comes as `Authorization: Bearer …`, or in the cookie that the login page sets. What an
address needs follows from its method, unless it is named here.
"""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from fastapi import Request
from sqlalchemy.exc import OperationalError

from db.engine import reading, writing
from db.states import Role
from db.tokens import Holder, holder_of, needs_note, note_use
from service.refusals import CrossSite, ForeignHost, MissingToken, NotPermitted, WrongToken
from service.settings import Settings, is_loopback

COOKIE = "ngpu_token"
_SAFE = ("GET", "HEAD", "OPTIONS")
#: Endpoints whose need their method does not tell: all others read with GET and need `admin` else.
NEEDS: Mapping[str, Role | None] = {
    "healthz": None,
    "readyz": None,
    "ask": Role.READ,
    "submit_sweep": Role.SUBMIT,
    "cancel_sweep": Role.SUBMIT,
    "pause_sweep": Role.SUBMIT,
    "resume_sweep": Role.SUBMIT,
    "stop_sweep": Role.SUBMIT,
    "prioritize_sweep": Role.SUBMIT,
    "retry_sweep": Role.SUBMIT,
    "extend_sweep": Role.SUBMIT,
}


def needed_role(endpoint: str, method: str) -> Role | None:
    """The role an address needs; None for everybody."""
    return NEEDS.get(endpoint, Role.READ if method in _SAFE else Role.ADMIN)


def authorize(request: Request) -> None:
    """Let a request in, or say why not.

    Raises:
        CrossSite: A page of another site sent it.
        ForeignHost: Its `Host` is not this service, and no token tells who asks.
        MissingToken: It carries no token.
        WrongToken: Its token is not one, or was revoked.
        NotPermitted: Its token's role is not enough.
    """
    _refuse_other_sites(request)
    settings: Settings = request.app.state.settings
    request.state.holder = None
    if not settings.tokens_required:
        _refuse_other_names(request, settings)
        return
    needed = needed_role(request.scope["endpoint"].__name__, request.method)
    if needed is None:
        return
    holder = _holder(request)
    request.state.holder = holder
    if holder.role.rank < needed.rank:
        raise NotPermitted(holder.name, holder.role, needed)


def _refuse_other_sites(request: Request) -> None:
    # Without tokens, a page anywhere could make the reader's own browser cancel a sweep.
    if request.method not in _SAFE and request.headers.get("sec-fetch-site") == "cross-site":
        raise CrossSite


def _refuse_other_names(request: Request, settings: Settings) -> None:
    # A page whose own name was made to mean 127.0.0.1 is of the same site as this service, for the
    # browser: only the name tells (DNS rebinding).
    host = request.headers.get("host", "")
    name = _name_in(f"//{host}")
    if not is_loopback(name) and name != _name_in(settings.server_url):
        raise ForeignHost(host)


def _name_in(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _holder(request: Request) -> Holder:
    token = token_of(request)
    if token is None:
        raise MissingToken
    engine = request.app.state.engine
    with reading(engine) as conn:
        holder = holder_of(conn, token)
        stale = holder is not None and needs_note(conn, holder)
    if holder is None:
        raise WrongToken
    if stale:
        _note(request, holder)
    return holder


def _note(request: Request, holder: Holder) -> None:
    try:
        with writing(request.app.state.engine) as conn:
            note_use(conn, holder)
    except OperationalError:
        # A record that cannot be written to can still be read.
        return


def token_of(request: Request) -> str | None:
    """The token a request carries: the header wins over the cookie."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    try:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return None
    return cookies[COOKIE].value or None if COOKIE in cookies else None
