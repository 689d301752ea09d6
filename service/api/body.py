"""A request's body as a spec: its size, its type, its encoding, then what it says."""

from typing import Annotated, Any

from fastapi import Depends, Request

from service.refusals import BodyTooLarge, UnreadableBody
from sweeps.spec import SweepSpec, parse_spec
from sweeps.text import MAX_BYTES, Format

FORMATS: dict[str, Format] = {
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
    "text/x-yaml": "yaml",
    "application/json": "json",
}
#: Read and thrown away of a body that is too large, so that its sender gets to see the answer.
MOST_DISCARDED = 16 * MAX_BYTES

#: For OpenAPI: the route reads its body itself.
SPEC_BODY: dict[str, Any] = {
    "required": True,
    "description": "The spec itself; its JSON Schema is at /api/v1/schema/sweep",
    "content": {
        media_type: {"schema": {"type": "object"} if format_ == "json" else {"type": "string"}}
        for media_type, format_ in FORMATS.items()
    },
}


def body_format(request: Request) -> Format:
    """YAML or JSON, by the body's type."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in FORMATS:
        raise UnreadableBody(
            f"Content-Type {media_type[:100]!r} is not read here: send {' or '.join(FORMATS)}"
        )
    return FORMATS[media_type]


async def body_text(request: Request) -> str:
    """The whole body as text, if it is not too long."""
    body = bytearray()
    discarded = 0
    async for chunk in request.stream():
        if len(body) <= MAX_BYTES:
            body += chunk
        elif (discarded := discarded + len(chunk)) > MOST_DISCARDED:
            break
    if len(body) > MAX_BYTES:
        raise BodyTooLarge(MAX_BYTES)
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the body is not UTF-8: byte {error.start} is wrong") from error


def read_spec(
    format_: Annotated[Format, Depends(body_format)], text: Annotated[str, Depends(body_text)]
) -> SweepSpec:
    """The spec a body holds; in a thread, since reading one takes a while."""
    return parse_spec(text, format=format_)


SpecDep = Annotated[SweepSpec, Depends(read_spec)]
