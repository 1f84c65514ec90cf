"""The headers that let a browser make no more of an answer than it is: on all that there are."""

from __future__ import annotations

import itertools
import re

import pytest
import webtest
from archives_made import wheel_bytes
from browsers import Browser
from conftest import USERS, as_user, upload

from extrapypi.app import PAGES, ROUTES, create_app
from extrapypi.gateway import NOTHING
from extrapypi.models import User

NAME, BODY = wheel_bytes()
FILE = f"/packages/demo-pkg/{NAME}"
EVERY_ROUTE = [
    *((method, path) for method, path, *_ in (*ROUTES, *PAGES)),
    ("GET", "/static/<name>"),
]
FILLED = {
    "<project>": "demo-pkg",
    "<version>": "1.0",
    "<filename>": NAME,
    "<name>": "style.css",
    "<path:path>": "audience",
    "<user_id:re:[0-9]{1,9}>": "1",
}
OF_PAGES = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def check(answer: webtest.TestResponse) -> None:
    """Makes sure that the answer has the headers, each once."""
    request, headers = answer.request, answer.headers
    where = f"{request.method} {request.path_qs}: {answer.status}"
    assert headers.getall("X-Content-Type-Options") == ["nosniff"], where
    (policy,) = headers.getall("Content-Security-Policy")
    assert "Strict-Transport-Security" not in headers, where
    if is_page(answer):
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; "), where
        assert "frame-ancestors 'none'" in policy, where
        assert not re.search(r"unsafe|http|blob|\*", policy), where
        assert {name: headers.get(name) for name in OF_PAGES} == OF_PAGES, where
    else:
        assert policy == NOTHING, where


def is_page(answer: webtest.TestResponse) -> bool:
    """Whether the answer is a page of the dashboard, which may have styles and a script."""
    is_html = answer.content_type == "text/html" and not 300 <= answer.status_int < 400
    return is_html and answer.request.path.startswith(("/dashboard", "/user"))


@pytest.fixture
def askers(app, as_role):
    """Who asks: nobody, programs and browsers; there is a project."""
    upload(as_role("developer"), NAME, BODY)
    nobody = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    programs = [as_role("admin"), as_role("installer")]
    return [nobody, *programs, Browser(app, "admin"), Browser(app, "installer")]


def test_every_route_answers_everybody_with_them(askers):
    statuses = set()
    for (method, path), asker in itertools.product(EVERY_ROUTE, askers):
        for placeholder, value in FILLED.items():
            path = path.replace(placeholder, value)
        is_end = path.endswith(("login", "logout"))  # of the session
        for each in (method, "HEAD", "PUT") if is_end else (method, "HEAD", "POST", "PUT"):
            form = {"form_token": getattr(asker, "form_token", "")} if each == "POST" else None
            if form is None or not is_end:
                answer = asker.request(path, method=each, POST=form, status="*")
                check(answer)
                statuses.add(answer.status_int)
    assert statuses == {200, 301, 302, 303, 400, 401, 403, 404, 405}


def spoil(app) -> None:
    """Takes the stored file away."""
    (app.site.storage.root / "demo-pkg" / NAME).unlink()


def test_the_rarer_answers_have_them(settings, request):
    settings["MAX_UPLOAD_SIZE"] = 2 * len(BODY)
    _, program, *_, browser, _ = request.getfixturevalue("askers")
    app = request.getfixturevalue("app")
    tag = program.get(FILE).headers["ETag"]
    large = wheel_bytes(version="2.0", files={"demo_pkg.py": bytes(range(256)) * 4000})
    answers = [
        program.get(FILE, headers={"Range": "bytes=0-9"}, status=206),
        program.get(FILE, headers={"Range": "bytes=999999-"}, status=416),
        *(program.get(FILE, headers={"If-None-Match": tag}, status=304) for _ in "12"),
        program.get("/simple/", headers={"If-None-Match": "*"}, status=304),
        program.get("/simple/", headers={"Accept": "image/png"}, status=406),
        program.get("/simple/?format=xml", status=406),
        program.get("/nowhere", status=404),
        program.post("/legacy/", {":action": "submit"}, upload_files=[("x", "x", b"")], status=410),
        upload(program, *large, status=413),
        browser.get("/dashboard/nowhere/at/all/", status=404),
        browser.get("/dashboard/journal/?format=json"),
        browser.get("/dashboard/search/?format=json"),
        browser.get("/static/nothing", status=404),
    ]
    wrong = as_user(app, "admin", "wrong")
    answers += [wrong.get("/simple/", status="*") for _ in range(11)]
    spoil(app)
    answers.append(program.get(FILE, status=503))
    for answer in answers:
        check(answer)
    assert answers[-2].status_int == 429


def test_faults_of_the_program_have_them(app, client, as_role, monkeypatch):
    browser = Browser(app, "admin")
    monkeypatch.setattr(app.site.authenticator, "actor", None)
    check(as_role("admin").get("/simple/", status=500))
    monkeypatch.setattr(User, "select", None)
    check(browser.get("/dashboard/users/", status=500))
    monkeypatch.setattr(app.site, "config", None)  # so that the framework has the last word
    last = client.get("/nowhere", status=500)
    check(last)
    assert "Critical error" in last.text


def test_images_of_others_are_all_that_the_setting_for_them_allows(settings, tables):
    settings["README_IMAGES"] = True
    app = create_app(settings)
    policy = Browser(app, "installer").get("/dashboard/").headers["Content-Security-Policy"]
    app.close()
    assert [part for part in policy.split("; ") if "http" in part] == [
        "img-src 'self' data: https: http:"
    ]


@pytest.mark.parametrize(
    ("peer", "scheme", "proto", "is_pinned"),
    [
        ("127.0.0.1", "http", "https", True),
        ("127.0.0.1", "http", "http", False),
        ("127.0.0.1", "http", "", False),
        ("10.0.0.1", "http", "https", False),  # who is not trusted
        ("10.0.0.1", "https", "", True),
    ],
)
def test_browsers_stay_with_https_where_it_is_in_use(
    settings, tables, peer, scheme, proto, is_pinned
):
    app = create_app({**settings, "TRUSTED_PROXY": "127.0.0.1"})
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": scheme}
    client = as_user(app, "installer", USERS["installer"], **environ)
    headers = {"X-Forwarded-Proto": proto} if proto else {}
    for path in ("/ping", "/simple/", "/simple/", "/dashboard/login", "/static/style.css", "/no"):
        answer = client.get(path, headers=headers, status="*")
        found = answer.headers.getall("Strict-Transport-Security")
        assert found == ["max-age=2592000"] * is_pinned  # of this host only, for some weeks
    app.close()
