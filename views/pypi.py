"""PyPI's JSON API, which dependabot, renovate and bandersnatch read."""

from __future__ import annotations

import json

from bottle import request

from extrapypi import listing
from extrapypi.database import snapshot
from extrapypi.models import Release
from extrapypi.pages import Page
from extrapypi.views import index_headers, normalized, package_for, redirect, root


def project_json(site, actor, project, version=None):
    """GET /pypi/<project>/json and /pypi/<project>/<version>/json"""
    name = normalized(project)
    if name != project:
        return redirect(f"/pypi/{name}/{f'{version}/' if version else ''}json", 301)

    def page() -> Page:
        with snapshot():  # or a release may be deleted between two queries
            package = package_for(actor, name)
            release = None if version is None else Release.of(package, version)
            document = listing.json_api(package, release, root())
        body = json.dumps(document, separators=(",", ":")).encode("ascii")
        headers = index_headers(package.last_serial, vary="Accept-Encoding")
        return Page(body, "application/json", headers)

    def last_changed() -> int:
        return package_for(actor, name).last_serial

    if actor.packages is not None:
        package_for(actor, name)
    key = ("pypi", name, version, root())
    found = site.pages.get(key, actor.serial, last_changed, page)
    return found.answer(request.environ).response()
