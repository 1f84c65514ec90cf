"""What is not about packages: the entrance, the icon, and whether the server is well."""

from __future__ import annotations

import json
from functools import lru_cache
from urllib.parse import quote

import peewee
from bottle import HTTPResponse, request, static_file

from extrapypi.database import connection, fetch
from extrapypi.errors import NotFound, StorageError, Unavailable
from extrapypi.openapi import description
from extrapypi.pages import REVALIDATE, Answer, Page
from extrapypi.views import STATIC, redirect, root

FILES = {path.name for path in STATIC.iterdir() if path.suffix != ".py"}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
NOT_KEPT = {**PLAIN, "Cache-Control": "no-store"}
PONG = Answer("200 OK", [*NOT_KEPT.items(), ("Content-Length", "4")], [b"pong"])


def front(site, actor):
    """GET /"""
    if site.config.DASHBOARD:
        return redirect("/dashboard/")
    text = f"This is a Python package index (extrapypi).\nInstall from {root()}/simple/\n"
    return HTTPResponse(text, 200, {**PLAIN, "Cache-Control": "no-store"})


def icon(site, actor):
    """GET /favicon.ico"""
    headers = {"Content-Type": "image/x-icon", "Cache-Control": "public, max-age=86400"}
    return HTTPResponse((STATIC / "favicon.ico").read_bytes(), 200, headers)


def static(site, actor, name):
    """GET STATIC_URL<name>: the dashboard's own files; each version has a link of its own"""
    if name not in FILES:
        raise NotFound(f"There is no file {quote(name)}.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return static_file(name, STATIC, headers=headers)


def ping(site, actor):
    """GET /ping: always, and touching nothing"""
    return PONG.response()


def health(site, actor):
    """GET /health: only while database and storage answer"""
    failing = []
    try:
        with connection():
            fetch("SELECT value FROM serial")
    except (Unavailable, peewee.PeeweeException):
        failing.append("database")
    try:
        site.storage.ping()
    except StorageError:
        failing.append("storage")
    if failing:
        raise Unavailable(f"Not answering: {' and '.join(failing)}.")
    return HTTPResponse("OK", 200, NOT_KEPT)


def metrics(site, actor):
    """GET /metrics: what this process did, for Prometheus"""
    if site.metrics is None:
        raise NotFound("There are no metrics; set METRICS = True in the configuration.")
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return HTTPResponse(site.metrics.text(), 200, {**headers, "Cache-Control": "no-store"})


def openapi(site, actor):
    """GET /openapi.json: the description of the HTTP API, with this index's own URL"""
    return described(root(), site.config.ANONYMOUS_READ).answer(request.environ).response()


@lru_cache(maxsize=16)  # URLs by which this index is known
def described(url: str, anonymous_read: bool) -> Page:
    """The page with the description; it takes 5 ms, and everybody may ask for it."""
    body = json.dumps(description(url, anonymous_read), indent=1).encode("ascii")
    headers = {"Cache-Control": REVALIDATE, "Vary": "Accept-Encoding"}
    return Page(body, "application/json", headers)


def no_oidc(site, actor, path):
    """GET and POST below /_/oidc/: no trusted publishing here; uv and pdm then go on without."""
    raise NotFound("This index has no trusted publishing; publish with a token.")
