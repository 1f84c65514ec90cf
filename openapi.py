"""The description of the HTTP API, by OpenAPI 3.1, as /openapi.json serves it."""

from __future__ import annotations

from typing import Any

from extrapypi import __version__
from extrapypi.distributions import FILENAME
from extrapypi.pages import HTML, JSON, OFFERS, TEXT_HTML
from extrapypi.schemas import SCHEMAS, TEXT, ref

Described = dict[str, Any]

ABOUT = """\
A private Python package index. HTTP Basic says who asks: a user's name and password, or `__token__`
and a token. `HEAD` goes wherever `GET` does. A final slash may be there or not, but it is
redirected where the description has another one. Every answer has a header `X-Request-ID`.\
"""
JSON_API = "application/json"
PLAIN, BINARY, PAGE = "text/plain; charset=utf-8", "application/octet-stream", "text/html"
FAULTS = {  # status -> what it means, and the headers that come with it
    400: ("The request breaks a rule, which the sentence names.", ()),
    401: ("Credentials are missing or wrong.", ("WWW-Authenticate",)),
    403: ("The role, or what the token is for, is not enough.", ()),
    404: ("There is no such thing here, for this reader.", ()),
    406: ("None of the content types that are asked for can be had.", ()),
    410: ("An action of old tools that is gone.", ()),
    413: (
        "The body is larger than MAX_UPLOAD_SIZE, or than it may be where nothing is uploaded.",
        (),
    ),
    429: ("Too many wrong passwords.", ("Retry-After",)),
    431: ("The header is too large.", ()),
    503: ("Database or storage do not answer now.", ("Retry-After",)),
    507: ("The disk is full.", ("Retry-After",)),
}
ALWAYS = (400, 413, 431, 503)
READING = (401, 403, 404, 429, *ALWAYS)
HEADERS = {
    "Accept-Ranges": "Bytes.",
    "Cache-Control": "Who may keep it, and for how long.",
    "Content-Range": "Which bytes these are.",
    "ETag": "Changes with the content; for If-None-Match.",
    "Last-Modified": "When it was uploaded.",
    "Location": "Where to go.",
    "Retry-After": "Seconds.",
    "Vary": "Which headers of the request it depends on.",
    "WWW-Authenticate": "Basic.",
    "X-PyPI-Last-Serial": "Grows with every change of the index.",
}
OF_FILES, OF_PAGES = ("Accept-Ranges", "ETag", "Last-Modified"), ("ETag", "Vary")
OF_INDEX = (*OF_PAGES, "X-PyPI-Last-Serial")


def parameter(name: str, place: str, text: str, **schema: Any) -> Described:
    """A parameter of a path, a query or a header."""
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": {"type": "string", **schema},
    }


PARAMETERS = {
    "project": parameter(
        *("project", "path", "A project's name, best as it is normalized (PEP 503)"),
        pattern="^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        examples=["my-project"],
    ),
    "version": parameter(
        "version", "path", "A version (PEP 440)", pattern="^[!-.0-~]+$", examples=["0.1.0"]
    ),
    "filename": parameter(
        *("filename", "path", "The name of a wheel or sdist"),
        pattern=f"^{FILENAME.pattern.removesuffix(chr(92) + 'Z')}$",
        examples=["my_project-0.1.0-py3-none-any.whl"],
    ),
    "path": parameter("path", "path", "Anything", pattern="^[a-z0-9/-]+$", examples=["audience"]),
    "format": parameter(
        "format", "query", "A content type, stronger than Accept", enum=list(OFFERS)
    ),
    "known": parameter("If-None-Match", "header", "ETags of what the client has"),
    "range": parameter("Range", "header", "One range of bytes", examples=["bytes=0-99"]),
}


def answer(text: str, *headers: str, **content: Described) -> Described:
    """What a status means, and what comes with it."""
    names = ("Cache-Control", *headers)
    made = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"description": text, "headers": made, "content": content}


def faults(*statuses: int) -> Described:
    """The errors with these statuses."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def operation(text: str, parameters: str = "", **about: Any) -> Described:
    """What one method of a path does.

    :param parameters: words of :data:`PARAMETERS`.
    """
    names = [{"$ref": f"#/components/parameters/{name}"} for name in parameters.split()]
    return {"summary": text, **({"parameters": names} if names else {}), **about}


def fault(status: int) -> Described:
    """An error, in each of its forms."""
    text, headers = FAULTS[status]
    return answer(text, *headers, **{PLAIN: {"schema": TEXT}, JSON_API: {"schema": ref("Error")}})


UNCHANGED = {"304": answer("The client has it already.", "ETag")}
MOVED = {"301": answer("The same, under the normalized name.", "Location")}
ELSEWHERE = {"302": answer("It is elsewhere.", "Location")}
DONE = {  # which nobody keeps
    "200": {
        "description": "It was taken, or was there already.",
        "content": {PLAIN: {"schema": TEXT}},
    }
}


def index_page(name: str, text: str) -> Described:
    """The answers with an index page, as JSON and as HTML."""
    content = {JSON: {"schema": ref(name)}, HTML: {"schema": TEXT}, TEXT_HTML: {"schema": TEXT}}
    return {"200": answer(text, *OF_INDEX, **content), **UNCHANGED}


def plain(text: str, *headers: str, kind: str = PLAIN) -> Described:
    """The answer 200 with a text of this type."""
    return {"200": answer(text, *headers, **{kind: {"schema": TEXT}})}


def logged_in(role: str) -> list[Described]:
    """What somebody of this role at least asks with."""
    return [{"password": [role]}, {"token": [role]}]


JSON_PAGE = {
    "200": answer(
        "A project, or a release of it.", *OF_INDEX, **{JSON_API: {"schema": ref("Release")}}
    ),
    **UNCHANGED,
    **MOVED,
    **faults(*READING),
}
FILE = {
    "200": answer("The whole file.", *OF_FILES, **{BINARY: {}}),
    "206": answer("A part of it.", "Content-Range", *OF_FILES, **{BINARY: {}}),
    "302": answer("A presigned URL of the object store, where one is for this client.", "Location"),
    "416": answer("The part lies outside of the file.", "Content-Range"),
    **UNCHANGED,
    **MOVED,
    **faults(*READING),
}
METADATA = {
    **plain("The core metadata, as it is in the wheel.", *OF_PAGES),
    **UNCHANGED,
    **MOVED,
    **faults(*READING),
}
UPLOAD = operation(
    "Publishes a wheel or sdist (maintainers; developers to create a project)",
    requestBody={
        "required": True,
        "content": {"multipart/form-data": {"schema": ref("Upload")}},
    },
    responses={**DONE, **faults(401, 403, 410, 429, 507, *ALWAYS)},
)
DOWNLOAD = operation("A distribution", "project filename known range", responses=FILE)
OF_FILE = operation("Its core metadata (PEP 658)", "project filename known", responses=METADATA)
TO_PAGE = {**ELSEWHERE, **faults(*READING)}
OIDC = operation("There is no trusted publishing", "path", responses=faults(404, *ALWAYS))
OPEN: Described = {"security": []}
PATHS: Described = {
    "/simple/": {
        "get": operation(
            "The list of projects",
            "format known",
            responses={**index_page("ProjectList", "The list."), **faults(406, *READING)},
        ),
        "post": UPLOAD,
    },
    "/simple/{project}/": {
        "get": operation(
            "A project's files",
            "project format known",
            responses={**index_page("Project", "The files."), **MOVED, **faults(406, *READING)},
        )
    },
    "/simple/{project}/{filename}": {"get": DOWNLOAD},
    "/simple/{project}/{filename}.metadata": {"get": OF_FILE},
    "/packages/{project}/{filename}": {"get": DOWNLOAD},
    "/packages/{project}/{filename}.metadata": {"get": OF_FILE},
    "/pypi/{project}/json": {
        "get": operation(
            "PyPI's JSON of a project",
            "project known",
            responses=JSON_PAGE,
        )
    },
    "/pypi/{project}/{version}/json": {
        "get": operation(
            "PyPI's JSON of a release",
            "project version known",
            responses=JSON_PAGE,
        )
    },
    "/legacy/": {
        "get": operation(
            "A page of help", responses={**plain("The page.", kind=PAGE), **faults(*READING)}
        ),
        "post": UPLOAD,
    },
    "/legacy/+simple/{project}/": {
        "get": operation(
            "A project's files in HTML, where hatch looks",
            "project known",
            responses={
                **plain("The files.", *OF_INDEX, kind=PAGE),
                **UNCHANGED,
                **faults(*READING),
            },
        )
    },
    "/legacy/{project}/": {
        "get": operation("Leads to the project's page", "project", responses=TO_PAGE)
    },
    "/legacy/{project}/{version}/": {
        "get": operation("Leads to the release's page", "project version", responses=TO_PAGE)
    },
    "/project/{project}/": {
        "get": operation("Leads to the project's page", "project", responses=TO_PAGE)
    },
    "/ping": {
        "get": operation(
            "Whether the server runs", responses={**plain("pong"), **faults(*ALWAYS)}, **OPEN
        )
    },
    "/health": {
        "get": operation(
            "Whether database and storage answer",
            responses={**plain("They do."), **faults(*ALWAYS)},
            **OPEN,
        )
    },
    "/metrics": {
        "get": operation(
            "The numbers of this process for Prometheus, with METRICS = True (admins)",
            responses={
                **plain("The numbers.", kind="text/plain; version=0.0.4; charset=utf-8"),
                **faults(*READING),
            },
            security=logged_in("admin"),
        )
    },
    "/openapi.json": {
        "get": operation(
            "This description",
            "known",
            responses={
                "200": answer("It.", *OF_PAGES, **{JSON_API: {}}),
                **UNCHANGED,
                **faults(*ALWAYS),
            },
            **OPEN,
        )
    },
    "/": {
        "get": operation(
            "Leads to the dashboard; without one it says what this is",
            responses={**plain("Two lines."), **ELSEWHERE, **faults(*ALWAYS)},
            **OPEN,
        )
    },
    "/favicon.ico": {
        "get": operation(
            "The icon",
            responses={"200": answer("It.", **{"image/x-icon": {}}), **faults(*ALWAYS)},
            **OPEN,
        )
    },
    "/_/oidc/{path}": {"get": {**OIDC, **OPEN}, "post": {**OIDC, **OPEN}},
}


def description(root: str, anonymous_read: bool) -> Described:
    """The whole document.

    :param root: the index's own URL.
    :param anonymous_read: whether reading needs no credentials.
    """
    readers: list[Described] = [{}] * anonymous_read + logged_in("installer")
    who = {"get": readers, "post": logged_in("maintainer")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "extrapypi", "version": __version__, "description": ABOUT},
        "servers": [{"url": root}],
        "paths": {
            path: {method: {"security": who[method], **about} for method, about in methods.items()}
            for path, methods in PATHS.items()
        },
        "components": {
            "securitySchemes": {
                "password": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
            "parameters": PARAMETERS,
            "headers": {
                name: {"description": text, "required": True, "schema": TEXT}
                for name, text in HEADERS.items()
            },
            "responses": {str(status): fault(status) for status in FAULTS},
            "schemas": SCHEMAS,
        },
    }
