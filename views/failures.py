"""Errors as pages, in the look of the others."""

from __future__ import annotations

import http
from urllib.parse import quote

from bottle import HTTPError, HTTPResponse, request

from extrapypi.answers import FAULT, allowed, drain, note_fault
from extrapypi.auth import Actor
from extrapypi.errors import ExtraPyPIError
from extrapypi.views.browser import done, page

BROWSER_PAGES = ("/dashboard/", "/user/")


def error_page(site, actor: Actor | None, error: ExtraPyPIError) -> HTTPResponse:
    """The page that says what is wrong and what one can do; nothing of the program's insides."""
    note_fault(request.method, request.path, error, error.__cause__)
    drain()
    title = http.HTTPStatus(error.status).phrase
    response = page(
        site,
        actor if error.status < 500 else None,
        "failures/error_page.html",
        error.status,
        error=error,
        title=title,
    )
    if hasattr(error, "retry_after"):
        response.set_header("Retry-After", str(error.retry_after))
    return response


def log_in_first(site) -> HTTPResponse:
    """Sends the browser to the login page, and back afterwards."""
    query = request.environ.get("QUERY_STRING", "")
    back = request.path + (f"?{query}" if query else "")
    if request.method == "POST" or back == "/dashboard/":
        return done(site, "/dashboard/login")
    return done(site, f"/dashboard/login?next={quote(back, safe='')}")


def is_for_browsers() -> bool:
    """Whether the request at hand is for a page of the dashboard, there or not."""
    return f"{request.path}/".startswith(BROWSER_PAGES)


def bottle_page(site, error: HTTPError) -> HTTPResponse:
    """The page for an error of Bottle's own: an unknown path, a wrong method, a fault."""
    sentence = {
        404: "There is no such page.",
        405: "That is not possible here.",
        413: "The form is too large.",
        400: "The form cannot be read.",
        500: FAULT,
    }.get(error.status_code, f"{http.HTTPStatus(error.status_code).phrase}.")
    ours = ExtraPyPIError(sentence)
    ours.status = error.status_code
    response = error_page(site, None, ours)
    if error.status_code == 405:
        response.set_header("Allow", allowed(error))
    return response
