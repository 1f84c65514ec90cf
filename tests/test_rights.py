"""Every page and every role: a table of who gets what; a route that is not in it fails."""

from __future__ import annotations

import pytest
from archives_made import wheel_bytes
from browsers import Browser
from conftest import COMMAND_LINE, upload

from extrapypi import accounts
from extrapypi.app import PAGES
from extrapypi.models import ROLES, TABLES, User

NOBODY, INSTALLER, MAINTAINER, DEVELOPER, ADMIN = "", *ROLES
PROJECT, SETTINGS = "/dashboard/packages/<project>/", "/dashboard/packages/<project>/settings/"
USER = "/dashboard/users/<user_id:re:[0-9]{1,9}>/"
EXPECTED = {  # method and path -> the least role; of a project's settings, where it is listed
    "GET /dashboard/login": NOBODY,
    "POST /dashboard/login": NOBODY,
    "GET /dashboard/logout": INSTALLER,
    "POST /dashboard/logout": INSTALLER,
    "GET /dashboard": INSTALLER,
    "GET /dashboard/": INSTALLER,
    "GET /dashboard/search": INSTALLER,
    "GET /dashboard/search/": INSTALLER,
    "GET /dashboard/packages/": INSTALLER,
    "GET /dashboard/packages/<project>": INSTALLER,
    f"GET {PROJECT}": INSTALLER,
    f"GET {PROJECT}<version>": INSTALLER,
    f"GET {PROJECT}<version>/": INSTALLER,
    f"GET {SETTINGS}": MAINTAINER,
    f"POST {SETTINGS}maintainers": MAINTAINER,
    f"POST {SETTINGS}status": ADMIN,
    f"GET {SETTINGS}yank": MAINTAINER,
    f"POST {SETTINGS}yank": MAINTAINER,
    f"GET {SETTINGS}delete": DEVELOPER,
    f"POST {SETTINGS}delete": DEVELOPER,
    "GET /dashboard/upload": INSTALLER,  # only to the page with the slash
    "GET /dashboard/upload/": MAINTAINER,
    "POST /dashboard/upload/": MAINTAINER,
    "GET /dashboard/users": INSTALLER,
    "GET /dashboard/users/": ADMIN,
    "GET /dashboard/users/new/": ADMIN,
    "POST /dashboard/users/new/": ADMIN,
    f"GET {USER}": ADMIN,
    f"POST {USER}": ADMIN,
    f"POST {USER}password": ADMIN,
    f"POST {USER}sessions": ADMIN,
    f"POST {USER}tokens": ADMIN,
    f"GET {USER}delete/": ADMIN,
    f"POST {USER}delete/": ADMIN,
    "GET /dashboard/journal": INSTALLER,
    "GET /dashboard/journal/": ADMIN,
    "GET /dashboard/help": INSTALLER,
    "GET /dashboard/help/": INSTALLER,
    "GET /user": INSTALLER,
    "GET /user/": INSTALLER,
    "POST /user/": INSTALLER,
    "GET /user/password": INSTALLER,
    "POST /user/password": INSTALLER,
    "GET /user/sessions": INSTALLER,
    "POST /user/sessions": INSTALLER,
    "GET /user/tokens": INSTALLER,
    "POST /user/tokens": INSTALLER,
    "POST /user/tokens/revoke": INSTALLER,
}
ROUTES = [(method, path) for method, path, _, _ in PAGES]


def test_every_page_is_in_the_table():
    assert sorted(f"{method} {path}" for method, path in ROUTES) == sorted(
        name for name in EXPECTED if tuple(name.split(" ", 1)) in ROUTES
    )


@pytest.fixture
def people(app, as_role):
    """A browser for each role and for nobody; all but the installer maintain a project."""
    upload(as_role("developer"), *wheel_bytes())
    upload(as_role("maintainer"), *wheel_bytes(version="2.0"))
    accounts.create_user(COMMAND_LINE, "somebody", "a long one", "x@example.org", "installer")
    return {role: Browser(app, role) for role in (NOBODY, *ROLES)}


def existing(path: str) -> str:
    """The path of a page for what is there."""
    path = path.replace("<project>", "demo-pkg").replace("<version>", "1.0")
    return path.replace(USER, f"/dashboard/users/{User.named('somebody').id}/")


def request(browser, method: str, path: str):
    """The answer to a request that lacks nothing but the right fields."""
    path = existing(path)
    if method == "GET":
        fields = {"version": "1.0"} if path.endswith(("yank", "delete")) else {}
        return browser.get(path, fields, status="*")
    fields = {"form_token": browser.form_token, "version": "1.0", "status": "active"}
    if path == "/dashboard/upload/":
        files = [("files", *wheel_bytes(version="3.0"))]
        return browser.post(path, fields, upload_files=files, status="*")
    return browser.post(path, fields, status="*")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_page_takes_its_role_and_those_above_and_nobody_else(people):
    routes = [route for route in ROUTES if not route[1].endswith(("login", "logout"))]
    for method, path in routes:
        least = EXPECTED[f"{method} {path}"]
        for role, browser in people.items():
            answer = request(browser, method, path)
            where = f"{method} {path} as {role or 'nobody'}: {answer.status}"
            assert answer.status_int < 500, where
            if role == NOBODY:
                assert answer.status_int == 303 and "/dashboard/login" in answer.location, where
            else:
                refused = ROLES.index(role) < ROLES.index(least)
                assert (answer.status_int == 403) == refused, where
                assert answer.status_int != 404 or path.endswith("tokens"), where


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_form_needs_its_token_and_a_page_of_our_own(people):
    browser = people[ADMIN]
    for method, path in ROUTES:
        if method == "POST" and path != "/dashboard/login":
            token, browser.form_token = browser.form_token, "0" * 64
            assert request(browser, method, path).status_int == 403, path
            browser.form_token = token
            browser.extra_environ["HTTP_ORIGIN"] = "https://evil.example"
            assert request(browser, method, path).status_int == 403, path
            del browser.extra_environ["HTTP_ORIGIN"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_head_request_is_no_form(people):
    """It comes from link checkers, and without the checks of a POST."""

    def rows() -> list[list]:
        return [list(table.select().tuples()) for table in TABLES]

    before = rows()
    body, kind = b"version=1.0&email=x%40example.org&role=admin", "application/x-www-form-urlencoded"
    for _, path in ROUTES:
        for browser in people.values():
            url = f"{existing(path)}?version=1.0"
            browser.request(url, method="HEAD", body=body, content_type=kind, status="*")
    assert rows() == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_basic_credentials_open_no_page(app, as_role):
    for method, path in ROUTES:
        if path != "/dashboard/login" and method == "GET":
            path = path.replace(USER, "/dashboard/users/1/")
            path = path.replace("<project>", "x").replace("<version>", "1")
            assert "login" in as_role("admin").get(path, status=303).location, path


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_the_dashboard_there_is_no_page(settings, tables):
    import webtest

    from extrapypi.app import create_app

    app = create_app({**settings, "DASHBOARD": False})
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    for method, path in ROUTES:
        path = path.replace(USER, "/dashboard/users/1/")
        client.request(path, method=method, status=404)
    app.close()
