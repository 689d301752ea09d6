"""Every error as application/problem+json (RFC 9457), by one table {exception: status}."""

import json
import logging
import re
from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from db import errors
from ngpu_core.tasks.registry import UnknownTask
from service import refusals
from service.figures.figure import Missing as FigureMissing
from service.figures.registry import UnknownFigure
from service.headers import SECURE
from sweeps.problems import SpecError

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"

#: What each refusal is in HTTP. A subclass is found through its bases.
STATUSES: Mapping[type[Exception], HTTPStatus] = {
    errors.SweepNotFound: HTTPStatus.NOT_FOUND,
    errors.SeedRunNotFound: HTTPStatus.NOT_FOUND,
    UnknownTask: HTTPStatus.NOT_FOUND,
    UnknownFigure: HTTPStatus.NOT_FOUND,
    FigureMissing: HTTPStatus.CONFLICT,
    errors.WrongState: HTTPStatus.CONFLICT,
    errors.SeedsExist: HTTPStatus.CONFLICT,
    errors.IdempotencyConflict: HTTPStatus.CONFLICT,
    errors.QueryRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.QueryImpossible: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BadCursor: HTTPStatus.BAD_REQUEST,
    refusals.NoWeights: HTTPStatus.NOT_FOUND,
    refusals.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    refusals.UnreadableBody: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    refusals.UnknownParameter: HTTPStatus.UNPROCESSABLE_ENTITY,
    SpecError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestValidationError: HTTPStatus.UNPROCESSABLE_ENTITY,
    refusals.CrossSite: HTTPStatus.FORBIDDEN,
    refusals.ForeignHost: HTTPStatus.FORBIDDEN,
    refusals.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    refusals.NotPermitted: HTTPStatus.FORBIDDEN,
    refusals.TooManySubmits: HTTPStatus.TOO_MANY_REQUESTS,
    refusals.TooManyQueries: HTTPStatus.SERVICE_UNAVAILABLE,
    refusals.NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    # The database is away for a moment: the client may ask again.
    OperationalError: HTTPStatus.SERVICE_UNAVAILABLE,
    InterfaceError: HTTPStatus.SERVICE_UNAVAILABLE,
    PoolTimeout: HTTPStatus.SERVICE_UNAVAILABLE,
}

RETRY_SECONDS = 2
#: Wrong values spelled out in the one-line detail; `problems` has them all.
DETAILED = 3


class WrongValue(BaseModel):
    """One thing that is wrong in the request, and where."""

    path: str = Field(examples=["grid.filters.24.model.filtres"])
    message: str = Field(examples=["there is no key filtres"])
    nearest: str | None = Field(default=None, examples=["filters"])


class Problem(BaseModel):
    """The body of every error (RFC 9457)."""

    type: str = Field(examples=["urn:ngpu:spec-error"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str
    instance: str = Field(examples=["/api/v1/sweeps"])
    problems: list[WrongValue] = []


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of these error statuses, for a route's `responses`."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def problem_response(
    request: Request,
    status: int,
    detail: str,
    *,
    type_: str = "about:blank",
    problems: list[WrongValue] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One problem as a response."""
    body = Problem(
        type=type_,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        problems=problems or [],
    )
    content = json.dumps(body.model_dump(), ensure_ascii=False, allow_nan=False)
    # Text the sender gave may hold half a surrogate pair: it must not break the answer.
    encoded = content.encode(errors="backslashreplace")
    return Response(encoded, status, headers={**SECURE, **(headers or {})}, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Give the app a handler for everything that can go wrong."""
    for kind in STATUSES:
        app.add_exception_handler(kind, refusal_response)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def refusal_response(request: Request, error: Exception) -> Response:
    """One of the refusals of the table as a response."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    headers = _headers(status, error)
    wrong = _wrong_values(error)
    return problem_response(
        request,
        status,
        _detail(error, wrong),
        type_=f"urn:ngpu:{_kebab(type(error).__name__)}",
        problems=wrong,
        headers=headers,
    )


def _headers(status: HTTPStatus, error: Exception) -> dict[str, str]:
    if isinstance(error, refusals.TooManySubmits):
        return {"Retry-After": str(error.retry_after)}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(RETRY_SECONDS)}
    return {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}


def _detail(error: Exception, wrong: list[WrongValue]) -> str:
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        logger.error("the database did not answer", exc_info=error)
        return "the database does not answer at the moment: ask again"
    if isinstance(error, RequestValidationError | SpecError):
        return _in_short(wrong)
    return str(error)


def _in_short(wrong: list[WrongValue]) -> str:
    first = [f"{value.path or 'the document'}: {value.message}" for value in wrong[:DETAILED]]
    more = [f"and {len(wrong) - DETAILED} more"] if len(wrong) > DETAILED else []
    return "; ".join(first + more)


def _wrong_values(error: Exception) -> list[WrongValue]:
    if isinstance(error, SpecError):
        return [
            WrongValue(path=one.path, message=one.message, nearest=one.nearest)
            for one in error.problems
        ]
    if isinstance(error, RequestValidationError):
        missing = [one["loc"][-1] for one in error.errors() if one["type"] == "missing"]
        return [_wrong_value(one, list(map(str, missing))) for one in error.errors()]
    if isinstance(error, refusals.UnknownParameter):
        path = f"query.{error.name}"
        return [WrongValue(path=path, message=str(error), nearest=error.nearest)]
    if isinstance(error, UnknownTask | UnknownFigure):
        return [WrongValue(path="path.name", message=str(error), nearest=error.nearest)]
    return []


def _wrong_value(one: Mapping[str, Any], missing: list[str]) -> WrongValue:
    """One complaint of pydantic; a key too many is compared with the keys that are missing."""
    path = ".".join(map(str, one["loc"]))
    if one["type"] != "extra_forbidden":
        return WrongValue(path=path, message=one["msg"])
    key = str(one["loc"][-1])
    nearest = next(iter(get_close_matches(key, missing, n=1)), None)
    return WrongValue(path=path, message=f"there is no key {key!r}", nearest=nearest)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400 and error.__cause__ is not None:
        # FastAPI's word for a body that is no text, or nested too deep, as opposed to bad JSON.
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return problem_response(request, status, "the body cannot be read as JSON")
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is nothing at {request.url.path[:200]}"
    elif error.status_code == 405:
        headers["Allow"] = _allowed(request) or headers.get("Allow", "")
        detail = f"{request.method} is not possible here: {headers['Allow']} is"
    return problem_response(request, error.status_code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of this address; the router knows only those of the first route that fits."""
    paths: Mapping[str, Mapping[str, Any]] = request.app.openapi()["paths"]
    methods = {
        method.upper()
        for path, operations in paths.items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path)
        for method in operations
    }
    return ", ".join(sorted(methods))


def _unexpected(request: Request, error: Exception) -> Response:
    # The reason goes to the log under a name the sender can quote, never to the sender.
    incident = uuid4().hex[:12]
    logger.error("incident %s at %s", incident, request.url.path, exc_info=error)
    detail = f"this is our mistake; the log names it as incident {incident}"
    return problem_response(request, 500, detail, type_="urn:ngpu:internal-error")


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
