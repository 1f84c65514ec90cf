"""Every route of the application, who may use it, and how it is asked."""

from __future__ import annotations

import webtest
from archives_made import wheel_bytes
from browsers import Browser
from conftest import form_of

from extrapypi.models import ROLES, User

INSTALLER, MAINTAINER, DEVELOPER, ADMIN = ROLES
EVERYBODY = "everybody"
PROJECT, SETTINGS = "/dashboard/packages/<project>/", "/dashboard/packages/<project>/settings/"
USER = "/dashboard/users/<user_id:re:[0-9]{1,9}>/"
PROGRAMS = {  # path -> the least role to GET it, and to POST there; None: that is not possible
    "/": (EVERYBODY, None),
    "/favicon.ico": (EVERYBODY, None),
    "/ping": (EVERYBODY, None),
    "/health": (EVERYBODY, None),
    "/metrics": (ADMIN, None),
    "/openapi.json": (EVERYBODY, None),
    "/static/<name>": (EVERYBODY, None),
    "/_/oidc/<path:path>": (EVERYBODY, EVERYBODY),
    "/simple/": (INSTALLER, MAINTAINER),
    "/simple": (INSTALLER, MAINTAINER),
    "/simple/<project>/": (INSTALLER, None),
    "/simple/<project>": (INSTALLER, None),
    "/simple/<project>/<filename>": (INSTALLER, None),
    "/packages/<project>/<filename>": (INSTALLER, None),
    "/pypi/<project>/json": (INSTALLER, None),
    "/pypi/<project>/json/": (INSTALLER, None),
    "/pypi/<project>/<version>/json": (INSTALLER, None),
    "/pypi/<project>/<version>/json/": (INSTALLER, None),
    "/legacy/": (INSTALLER, MAINTAINER),
    "/legacy": (INSTALLER, MAINTAINER),
    "/legacy/+simple/<project>/": (INSTALLER, None),
    "/legacy/+simple/<project>": (INSTALLER, None),
    "/project/<project>/": (INSTALLER, None),
    "/legacy/<project>/": (INSTALLER, None),
    "/legacy/<project>": (INSTALLER, None),
    "/legacy/<project>/<version>/": (INSTALLER, None),
    "/legacy/<project>/<version>": (INSTALLER, None),
}
BROWSERS = {  # the same, of the dashboard; of a project's settings, where one is listed
    "/dashboard": (INSTALLER, None),
    "/dashboard/": (INSTALLER, None),
    "/dashboard/search": (INSTALLER, None),
    "/dashboard/search/": (INSTALLER, None),
    "/dashboard/packages/": (INSTALLER, None),
    "/dashboard/packages/<project>": (INSTALLER, None),
    PROJECT: (INSTALLER, None),
    f"{PROJECT}<version>": (INSTALLER, None),
    f"{PROJECT}<version>/": (INSTALLER, None),
    SETTINGS: (MAINTAINER, None),
    f"{SETTINGS}maintainers": (None, MAINTAINER),
    f"{SETTINGS}status": (None, ADMIN),
    f"{SETTINGS}yank": (MAINTAINER, MAINTAINER),
    f"{SETTINGS}delete": (DEVELOPER, DEVELOPER),
    "/dashboard/upload": (INSTALLER, None),  # only leads to the page with the slash
    "/dashboard/upload/": (MAINTAINER, MAINTAINER),
    "/dashboard/users": (INSTALLER, None),
    "/dashboard/users/": (ADMIN, None),
    "/dashboard/users/new/": (ADMIN, ADMIN),
    USER: (ADMIN, ADMIN),
    f"{USER}password": (None, ADMIN),
    f"{USER}sessions": (None, ADMIN),
    f"{USER}tokens": (None, ADMIN),
    f"{USER}delete/": (ADMIN, ADMIN),
    "/dashboard/journal": (INSTALLER, None),
    "/dashboard/journal/": (ADMIN, None),
    "/dashboard/help": (INSTALLER, None),
    "/dashboard/help/": (INSTALLER, None),
    "/user": (INSTALLER, None),
    "/user/": (INSTALLER, INSTALLER),
    "/user/password": (INSTALLER, INSTALLER),
    "/user/sessions": (INSTALLER, INSTALLER),
    "/user/tokens": (INSTALLER, INSTALLER),
    "/user/tokens/revoke": (None, INSTALLER),
    "/dashboard/logout": (INSTALLER, INSTALLER),  # these two last: they end the session
    "/dashboard/login": (EVERYBODY, EVERYBODY),
}
WHO_MAY = {**PROGRAMS, **BROWSERS}
METHODS = ("GET", "HEAD", "POST", "PUT")
UPLOADS = [path for path in PROGRAMS if PROGRAMS[path][1] == MAINTAINER]
WHEEL, WHEEL_BODY = wheel_bytes()
KNOWN = {"<project>": "demo-pkg", "<version>": "1.0", "<filename>": WHEEL}
UNKNOWN = {"<project>": "no-proj1", "<version>": "7.7", "<filename>": WHEEL.replace("1.0", "7.7")}


def filled(path: str, names: dict[str, str] = KNOWN, user_id: int = 0) -> str:
    """The path with names in their places."""
    user_id = user_id or User.named("somebody").id
    path = path.replace(USER, f"/dashboard/users/{user_id}/")
    for place, name in {**names, "<name>": "style.css", "<path:path>": "audience"}.items():
        path = path.replace(place, name)
    return path


def ask(client: Browser, method: str, path: str, url: str = "") -> webtest.TestResponse:
    """The answer to a request that lacks nothing but, in a form, the right fields."""
    url = url or filled(path)
    if method != "POST":
        query = "?version=1.0" if path in (f"{SETTINGS}yank", f"{SETTINGS}delete") else ""
        return client.request(url + query, method=method, status="*")
    fields = {"form_token": client.form_token, "version": "1.0", "status": "active"}
    if path == "/dashboard/login":
        fields = {"username": "somebody", "password": "a long one"}
    elif path in UPLOADS:
        fields, files = form_of(WHEEL, WHEEL_BODY), [("content", WHEEL, WHEEL_BODY)]
        return client.post(url, fields, upload_files=files, status="*")
    elif path == "/dashboard/upload/":
        files = [("files", *wheel_bytes(version="3.0"))]
        return client.post(url, fields, upload_files=files, status="*")
    return client.post(url, fields, status="*")
