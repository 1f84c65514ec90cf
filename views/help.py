"""How to install and publish here, with this server's URL and the reader's name filled in."""

from __future__ import annotations

from urllib.parse import quote

from bottle import request

from extrapypi.views import redirect, root
from extrapypi.views.browser import page


def help_page(site, actor):
    """GET /dashboard/help/"""
    scheme, _, host = root().partition("://")
    return page(
        site,
        actor,
        "help/help_page.html",
        scheme=scheme,
        host=host,
        hostname=host.partition("/")[0].rpartition(":")[0] or host.partition("/")[0],
        quoted=quote(actor.username, safe=""),
        largest=site.config.MAX_UPLOAD_SIZE,
    )


def slash(site, actor):
    """GET of a page's URL without the slash at its end"""
    return redirect(f"{request.path}/", 301)
