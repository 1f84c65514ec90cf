"""The views, one module per group of pages; a view is ``view(site, actor, **url)``.

Here is what they share: templates, absolute URLs and redirects.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import quote

import jinja2
from bottle import HTTPResponse, request
from packaging.utils import canonicalize_name

from extrapypi import pages
from extrapypi.errors import NotFound
from extrapypi.models import NAME, Package
from extrapypi.pages import REVALIDATE
from extrapypi.views.filters import FILTERS

QUERY = re.compile(r"[!-~]+")
TEMPLATES = Path(__file__).parent.parent / "templates"
STATIC = Path(__file__).parent.parent / "static"


@cache
def environment(reload: bool = False) -> jinja2.Environment:
    """The templates; everything that they print is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        auto_reload=reload,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(FILTERS)
    return made


def render(site, template: str, **values: object) -> bytes:
    """The page that a template makes of the values."""
    return environment(site.config.DEBUG).get_template(template).render(**values).encode("utf-8")


def prefix() -> str:
    """The path below which the application is mounted, quoted; "" at the root."""
    return pages.prefix(request.environ)


def root() -> str:
    """Scheme, host and prefix of this application, as the client sees them."""
    environ = request.environ
    return f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}{prefix()}"


def redirect(path: str, code: int = 302) -> HTTPResponse:
    """An answer that sends the client to a path of this application, by an absolute URL.

    :param code: 301 only where the target can never change: clients keep it for ever.
    """
    query = request.environ.get("QUERY_STRING", "")
    location = root() + quote(path) + (f"?{query}" if QUERY.fullmatch(query) else "")
    headers = {"Location": location, "Cache-Control": REVALIDATE}
    return HTTPResponse(b"", code, headers)


def normalized(project: str) -> str:
    """The project's normalized name.

    :raises NotFound: for what cannot be a project's name.
    """
    if not NAME.match(project):
        raise NotFound(f"There is no project {project[:200]}.")
    return canonicalize_name(project)


def package_for(actor, name: str) -> Package:
    """The project of this normalized name, for an actor who may see it.

    :raises NotFound: when there is none; after that uv looks at the next index.
    :raises Forbidden: when there is, but the actor's token is for others.
    """
    package = Package.named(name)
    actor.check_package(name)
    return package


def index_headers(serial: int, vary: str = "Accept, Accept-Encoding") -> dict[str, str]:
    """The headers of an index page that was right at this serial."""
    return {"Cache-Control": REVALIDATE, "Vary": vary, "X-PyPI-Last-Serial": str(serial)}
