"""The login page: it takes a token and keeps it in a cookie that scripts cannot read."""

from typing import Annotated
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from db.engine import reading
from db.tokens import holder_of
from service.access import COOKIE
from service.dashboard.html import render

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

#: A month, in seconds.
_KEPT = 30 * 24 * 3600

After = Annotated[str, Query(max_length=1000)]


def login_address(request: Request) -> str:
    """Where a page sends a reader without a token; they come back to it."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/login?after={quote(request.url.path + query, safe='')}"


def _inside(after: str) -> str:
    """An address of this service; nobody is sent elsewhere from here."""
    inside = after.startswith("/") and after[1:2] not in ("/", "\\") and after.isprintable()
    return after if inside else "/"


async def _token(request: Request) -> str:
    fields = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=10)
    return fields.get("token", [""])[0].strip()


@router.get("/login")
def login_page(request: Request, after: After = "/") -> Response:
    """A field for the token."""
    return render(request, "login.html", {"after": _inside(after), "wrong": False})


@router.post("/login")
async def login(
    request: Request, token: Annotated[str, Depends(_token)], after: After = "/"
) -> Response:
    """Keep a right token; ask again after a wrong one."""

    def right() -> bool:
        with reading(request.app.state.engine) as conn:
            return holder_of(conn, token) is not None

    if not await run_in_threadpool(right):
        context = {"after": _inside(after), "wrong": True}
        return render(request, "login.html", context, status=401)
    answer = RedirectResponse(_inside(after), status_code=303)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=_KEPT,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
def logout() -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
