"""The simple repository API below ``/simple/``, and uploads."""

from __future__ import annotations

import json

from bottle import HTTPResponse, request

from extrapypi import distributions, forms, listing, publishing, rendering
from extrapypi.database import give_back
from extrapypi.errors import InvalidInput, InvalidUpload
from extrapypi.pages import JSON, TEXT_HTML, Page, content_type, index_key
from extrapypi.views import index_headers, normalized, package_for, prefix, redirect, render

NO_LONGER = ("submit", "submit_pkg_info", "doc_upload", "verify")  # actions of old tools


def project_list(site, actor):
    """GET /simple/"""
    kind = content_type()

    def page() -> Page:
        content = listing.projects(actor.packages)
        body = represent(site, kind, "simple/project_list.html", content)
        return Page(body, kind, index_headers(content["meta"]["_last-serial"]))

    if actor.packages is not None:  # a token that sees only some
        return page().answer(request.environ).response()
    key = index_key(request.environ, "", kind)
    found = site.pages.get(key, actor.serial, lambda: actor.serial, page)
    return found.answer(request.environ).response()


def project_page(site, actor, project):
    """GET /simple/<project>/"""
    name = normalized(project)
    if name != project:
        return redirect(f"/simple/{name}/", 301)
    return index_page(site, actor, name, content_type())


def plain_page(site, actor, project):
    """GET /legacy/+simple/<project>/: where hatch looks whether a file was published before."""
    return index_page(site, actor, normalized(project), TEXT_HTML)


def index_page(site, actor, name: str, kind: str) -> HTTPResponse:
    """The project's page in this content type."""

    def page() -> Page:
        content = listing.project(package_for(actor, name), prefix())
        body = represent(site, kind, "simple/project_page.html", content)
        return Page(body, kind, index_headers(content["meta"]["_last-serial"]))

    def last_changed() -> int:
        return package_for(actor, name).last_serial

    if actor.packages is not None:
        package_for(actor, name)
    key = index_key(request.environ, name, kind)
    found = site.pages.get(key, actor.serial, last_changed, page)
    return found.answer(request.environ).response()


def represent(site, kind: str, template: str, content: dict) -> bytes:
    """The content as JSON or as HTML; both show the same."""
    if kind == JSON:
        return json.dumps(content, separators=(",", ":")).encode("ascii")
    return render(site, template, **{key.replace("-", "_"): content[key] for key in content})


def slash(site, actor, project=None):
    """GET /simple and /simple/<project>: the page's URL ends in a slash."""
    if project is None:
        return redirect("/simple/", 301)
    return redirect(f"/simple/{normalized(project)}/", 301)


def upload(site, actor):
    """POST /simple/ and /legacy/"""
    give_back()  # the body may come slowly
    with forms.sent_form(site.storage, site.config.MAX_UPLOAD_SIZE) as (fields, incoming):
        actor = site.authenticator.actor(request.environ)  # shut out, perhaps, in the meantime
        actor.check("maintainer")
        check_action(forms.value(fields, ":action"))
        if incoming is None:
            raise InvalidUpload("The form has no file named content.")
        distribution = distributions.read(incoming.content(), incoming.filename)
        faults = distributions.check_form(distribution, fields, incoming.digests)
        if faults:
            raise InvalidUpload(*faults)
        publishing.add_file(site.storage, actor, distribution, incoming)
    if site.config.DASHBOARD:
        rendering.after_upload(distribution, site.config.README_IMAGES)
    return HTTPResponse(b"OK\n", 200, {"Content-Type": "text/plain; charset=utf-8"})


def check_action(action: str) -> None:
    """Refuses what is no upload.

    :raises InvalidInput: for any other action of PyPI's old API, gone or never known.
    """
    if action in NO_LONGER:
        error = InvalidInput(f"The action {action} is gone; upload files with twine or uv.")
        error.status = 410
        raise error
    if not action:
        raise InvalidInput("Missing :action; an upload has :action=file_upload.")
    if action != "file_upload":
        raise InvalidInput(f":action is {action[:100]!r}; only file_upload is possible.")
