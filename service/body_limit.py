"""No request's body is longer than a spec may be. The address that takes specs reads its own."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import refusal_response
from service.refusals import BodyTooLarge
from sweeps.text import MAX_BYTES

#: Read and thrown away of a body that is too large, so that its sender gets to see the answer.
MOST_DISCARDED = 16 * MAX_BYTES


class BodyLimit:
    """Reads a body before the app does, up to its limit.

    Args:
        app: What comes after.
        exempt: The path whose handler limits its body itself.
    """

    def __init__(self, app: ASGIApp, *, exempt: str) -> None:
        self.app = app
        self.exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its whole body, or refuse it."""
        if scope["type"] != "http" or scope["path"] == self.exempt:
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if len(body) > MAX_BYTES:
            await refusal_response(Request(scope), BodyTooLarge(MAX_BYTES))(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)


async def _body(receive: Receive) -> bytes:
    """The body, or a piece of it that is longer than the limit."""
    body = bytearray()
    discarded = 0
    more = True
    while more and discarded <= MOST_DISCARDED:
        message = await receive()
        chunk = message.get("body", b"")
        if len(body) <= MAX_BYTES:
            body += chunk
        else:
            discarded += len(chunk)
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
