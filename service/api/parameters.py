"""Query parameters every list shares, and the refusal of those an address does not take."""

from typing import Annotated

from annotated_types import Ge, Le
from fastapi import Path, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as QueryParameter
from fastapi.routing import APIRoute

from service.refusals import UnknownParameter

#: A number that the databases can hold; a larger one is wrong, not a fault of ours.
BigId = Annotated[int, Ge(0), Le(2**63 - 1)]
#: Ids and names are plain words: anything else would only trouble the database.
SweepId = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z_-]+$")]
TaskName = Annotated[str | None, Query(max_length=100, pattern=r"^[0-9A-Za-z_-]+$")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page.")]
Cursor = Annotated[
    str | None, Query(max_length=1000, description="The `next_cursor` of the page before.")
]


def refuse_unknown(request: Request) -> None:
    """A misspelt `?dry_run=true` must not submit: no parameter is ignored."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = {
        field.alias
        for field in get_flat_params(route.dependant)
        if isinstance(field.field_info, QueryParameter)
    }
    for name in request.query_params:
        if name not in known:
            raise UnknownParameter(name, known)
