"""The search, as a page and as JSON."""

from __future__ import annotations

import json

from bottle import HTTPResponse

from extrapypi import search as finder
from extrapypi.answers import prefers_json
from extrapypi.errors import InvalidInput
from extrapypi.listing import iso
from extrapypi.pages import header
from extrapypi.paging import Paged, page_number
from extrapypi.views import root
from extrapypi.views.browser import asked, page


def search(site, actor):
    """GET /dashboard/search/"""
    is_json = wants_json()
    text, fault, found = asked("q"), None, Paged([], 1, 1, 0)
    try:
        found = finder.find(text, page_number(asked("page")))
    except InvalidInput as error:
        if is_json:
            return as_json({"message": str(error)}, error.status)
        fault = error
    if is_json:
        return as_json(document(text, found))
    status = fault.status if fault else 200
    return page(site, actor, "search/search.html", status, query=text, found=found, fault=fault)


def wants_json() -> bool:
    """Whether the URL or the Accept header asks for JSON."""
    return asked("format") == "json" or prefers_json(header("Accept"))


def document(text: str, found: Paged) -> dict:
    """The JSON twin of the page."""
    return {
        "query": text,
        "page": found.page,
        "pages": found.pages,
        "total": found.total,
        "more": found.is_cut,
        "projects": [
            {
                "name": package.name,
                "summary": package.summary,
                "version": package.latest_version,
                "status": package.status,
                "updated": iso(package.updated_at),
                "url": f"{root()}/dashboard/packages/{package.normalized_name}/",
            }
            for package in found.rows
        ],
    }


def as_json(content: dict, status: int = 200) -> HTTPResponse:
    """The content for a program; nobody keeps it, because it is for one reader."""
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    return HTTPResponse(json.dumps(content).encode("ascii"), status, headers)
