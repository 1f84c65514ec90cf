"""Every route, method and kind of credentials: who gets what, and what strangers learn.

The table of :mod:`routes` is compared with the application itself: a route that nobody says there
who may use fails, as does one that is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import pytest
import webtest
from archives_made import wheel_bytes
from browsers import Browser
from conftest import COMMAND_LINE, USERS, upload
from queries import asked
from routes import (
    ADMIN,
    BROWSERS,
    DEVELOPER,
    EVERYBODY,
    INSTALLER,
    MAINTAINER,
    METHODS,
    PROGRAMS,
    UNKNOWN,
    UPLOADS,
    WHEEL,
    WHEEL_BODY,
    WHO_MAY,
    ask,
    filled,
)

from extrapypi import accounts
from extrapypi.app import create_app
from extrapypi.database import utcnow
from extrapypi.models import ROLES, TABLES, Download, Session, Token, User

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

NOBODY = ""
# What a token for another project gets nothing of; what only leads elsewhere asks no project.
OF_A_PROJECT = {
    *("/simple/<project>/", "/simple/<project>/<filename>", "/packages/<project>/<filename>"),
    *(path for path in PROGRAMS if path.startswith(("/pypi/", "/legacy/+simple/"))),
}


def test_every_route_says_here_who_may_use_it(app):
    routes = app.application.application.routes
    roles = {(route.method, route.rule): route.config["role"] or EVERYBODY for route in routes}
    assert roles == {
        (method, path): role
        for path, least in WHO_MAY.items()
        for method, role in zip(("GET", "POST"), least, strict=True)
        if role is not None
    }


def basic(username: str, password: str) -> dict[str, str]:
    """The part of an environ with these credentials."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"HTTP_AUTHORIZATION": f"Basic {pair}"}


def token(owner: str = ADMIN, changes: dict | None = None, **options) -> dict[str, str]:
    """The same with a new token, to whose row something may have happened."""
    made, secret = accounts.create_token(COMMAND_LINE, owner, **options)
    Token.update(changes or {"name": "x"}).where(Token.id == made.id).execute()
    return basic("__token__", secret)


def shut_out(make: Callable) -> Callable:
    """Makes a client for an admin who is deactivated afterwards."""

    def made(app):
        accounts.create_user(COMMAND_LINE, "off", "a long secret", "off@example.org", ADMIN)
        client = make(app)
        client.get("/simple/")
        User.update(is_active=False).where(User.username == "off").execute()
        return client

    return made


def logged_in(app, username: str, password: str) -> Browser:
    """A browser of a user that is none of those of the roles."""
    browser = Browser(app)
    browser.log_in(username, password)
    return browser


def logged_out(app, change: Callable[[], object]) -> Browser:
    """A browser of the admin, after something happened to his session."""
    browser = Browser(app, ADMIN)
    change()
    return browser


class Asker(NamedTuple):
    """Who asks: how his client is made, and which role that is worth.

    ``reads`` and ``writes`` are for programs' routes, ``browses`` for the dashboard.
    """

    client: Callable
    reads: str = NOBODY
    writes: str = NOBODY
    browses: str = NOBODY


ASKERS = {
    "nobody": Asker(lambda app: Browser(app)),
    "a wrong password": Asker(lambda app: Browser(app, **basic(ADMIN, "wrong"))),
    "an unknown user": Asker(lambda app: Browser(app, **basic("nobody", USERS[ADMIN]))),
    "nonsense": Asker(lambda app: Browser(app, HTTP_AUTHORIZATION="Basic %%%")),
    "an unknown token": Asker(lambda app: Browser(app, **basic("__token__", "xpypi_x"))),
    "a revoked token": Asker(lambda app: Browser(app, **token(changes={"revoked_at": utcnow()}))),
    "an expired token": Asker(lambda app: Browser(app, **token(changes={"expires_at": utcnow()}))),
    "an inactive user": Asker(shut_out(lambda app: Browser(app, **basic("off", "a long secret")))),
    "an inactive user's token": Asker(shut_out(lambda app: Browser(app, **token("off")))),
    "an inactive user's browser": Asker(
        shut_out(lambda app: logged_in(app, "off", "a long secret"))
    ),
    "an expired session": Asker(
        lambda app: logged_out(app, lambda: Session.update(expires_at=utcnow()).execute())
    ),
    "an ended session": Asker(lambda app: logged_out(app, lambda: Session.delete().execute())),
    **{
        f"the {role}": Asker(
            lambda app, role=role: Browser(app, **basic(role, USERS[role])), role, role
        )
        for role in ROLES
    },
    "a read token": Asker(lambda app: Browser(app, **token(scope="read")), INSTALLER, INSTALLER),
    "an upload token": Asker(lambda app: Browser(app, **token()), ADMIN, ADMIN),
    "an upload token of an installer": Asker(
        lambda app: Browser(app, **token(INSTALLER)), INSTALLER, INSTALLER
    ),
    "a token for another project": Asker(
        lambda app: Browser(app, **token(packages=["other"])), ADMIN, ADMIN
    ),
    **{
        f"the browser of the {role}": Asker(
            lambda app, role=role: Browser(app, role), reads=role, browses=role
        )
        for role in ROLES
    },
    "a browser with a wrong password": Asker(
        lambda app: Browser(app, ADMIN, **basic(ADMIN, "wrong")), browses=ADMIN
    ),
}
STRANGERS = [name for name, asker in ASKERS.items() if asker[1:] == (NOBODY,) * 3]


@pytest.fixture
def settings(settings):
    """Settings with all routes at work."""
    return {**settings, "METRICS": True}


@pytest.fixture
def project(app, as_role):
    """A project that all but the installer maintain; an account that nobody uses."""
    upload(as_role(DEVELOPER), WHEEL, WHEEL_BODY)
    upload(as_role(MAINTAINER), *wheel_bytes(version="2.0"))
    accounts.create_user(COMMAND_LINE, "somebody", "a long one", "x@example.org", INSTALLER)


def outcome(path: str, answer: webtest.TestResponse) -> str:
    """What became of a request, in a word; it has to be told as the standards say."""
    status = answer.status_int
    if status == 401 and path in PROGRAMS:
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="')
        assert answer.headers["Cache-Control"] == "no-store"
        if answer.request.method != "POST":
            assert (answer.body, answer.headers["Content-Length"]) == (b"", "0")
    if status == 405:
        assert set(answer.headers["Allow"].split(", ")) <= {"GET", "HEAD", "POST"}
    if status == 303 and "/dashboard/login" in answer.location:
        return "log in first"
    return str(status) if status in (401, 403, 405) or status >= 500 else "done"


def expected(name: str, method: str, path: str) -> str:
    """What the table says of a request."""
    get, post = WHO_MAY[path]
    asker = ASKERS[name]
    least = {"POST": post, "PUT": None}.get(method, get)
    if least is None:
        return "405"
    if least == EVERYBODY:
        return "done"
    worth = asker.browses if path in BROWSERS else asker.reads
    if path in PROGRAMS and method == "POST":
        worth = asker.writes
    if not worth:
        return "log in first" if path in BROWSERS else "401"
    is_foreign = name == "a token for another project" and (
        path in OF_A_PROJECT or (path in UPLOADS and method == "POST")
    )
    if is_foreign or ROLES.index(worth) < ROLES.index(least):
        return "403"
    return "log in first" if (method, path) == ("POST", "/dashboard/logout") else "done"


@pytest.mark.parametrize("name", ASKERS)
def test_every_route_and_method_is_for_those_of_the_table_and_nobody_else(app, project, name):
    client = ASKERS[name].client(app)
    number = 0
    for path in WHO_MAY:
        # The second time credentials are met and pages kept, and the shortcut may answer.
        for method in (*METHODS, *(("GET",) if path in PROGRAMS else ())):
            number += 1
            client.extra_environ["REMOTE_ADDR"] = f"10.0.{number // 250}.{number % 250}"
            answer = ask(client, method, path)
            where = f"{method} {path}: {answer.status}"
            assert outcome(path, answer) == expected(name, method, path), where
            if path in PROGRAMS and "oidc" not in path and outcome(path, answer) == "done":
                assert answer.status_int < 400, where


NAMED = [path for path in WHO_MAY if "<" in path and EVERYBODY not in WHO_MAY[path]]


@pytest.mark.parametrize("name", STRANGERS)
def test_to_strangers_known_and_unknown_names_look_the_same(app, project, name, monkeypatch):
    client = ASKERS[name].client(app)
    for number, path in enumerate(NAMED):
        client.extra_environ["REMOTE_ADDR"] = f"10.0.0.{number}"
        for method in METHODS:
            told = []
            for url in (filled(path), filled(path, UNKNOWN, 9)):
                answers: list[webtest.TestResponse] = []

                def work(url=url, answers=answers):
                    answers.append(ask(client, method, path, url))  # noqa: B023 (it runs now)

                statements = [sql for sql, _ in asked(monkeypatch, work)]
                (answer,) = answers
                del answer.headers["X-Request-ID"]  # which every request has for itself
                text = f"{answer.status}\n{answer.headers}\n{answer.text}"
                for written in (quote(url, safe=""), quote(url), url):
                    text = text.replace(written, "URL")
                told.append((text, statements))
            assert told[0] == told[1], f"{method} {path}"


@pytest.mark.parametrize("anonymous_read", [False, True])
def test_no_cache_keeps_for_others_what_one_may_see(settings, request, anonymous_read):
    settings["ANONYMOUS_READ"] = anonymous_read
    app = request.getfixturevalue("app")
    request.getfixturevalue("project")
    browser = Browser(app, ADMIN)
    for path, (least, _) in WHO_MAY.items():
        if least in (None, EVERYBODY):
            continue
        answer = ask(browser, "GET", path)
        words = answer.headers["Cache-Control"]
        if path.endswith("<filename>"):
            kind = "public" if anonymous_read else "private"
            assert words == f"{kind}, max-age=31536000, immutable"
        elif path in BROWSERS and answer.status_int == 200:
            assert words == "no-store", path
        else:  # a cache may keep an index page, and asks each time whether this reader may see it
            assert words in ("no-store", "max-age=0, must-revalidate"), path


def everything() -> dict[str, list[dict]]:
    """All rows of all tables, but for the times of last use and the numbers of downloads."""
    unseen = ("last_login_at", "last_seen_at", "last_used_at", "last_used_from", "address")
    unseen += ("recent_downloads",)
    return {
        table.__name__: [
            {name: value for name, value in row.items() if name not in unseen}
            for row in table.select().dicts()
        ]
        for table in TABLES
        if table is not Download
    }


# What the forms send, as a query: a GET must not take it for one.
AS_QUERY = {
    **{"version": "1.0", "name": "1.0", "reason": "x", "undo": "", "filename": WHEEL},
    **{"email": "evil@example.org", "role": ADMIN, "is_active": "", "action": "add"},
    **{"username": "somebody", "status": "quarantined", "password": USERS[ADMIN]},
    **{"new": "a new secret", "again": "a new secret", "session": "others", "token": "1"},
    **{"scope": "upload", "days": "", "packages": "", ":action": "file_upload"},
}


def test_no_get_and_no_head_changes_anything(app, project):
    Browser(app, ADMIN)
    token()
    browser = Browser(app, ADMIN)
    query = "&".join(f"{name}={quote(value)}" for name, value in AS_QUERY.items())
    for path in WHO_MAY:
        before = everything()
        for method in ("GET", "HEAD"):
            for sent in (query, f"{query}&form_token={browser.form_token}"):
                browser.request(f"{filled(path)}?{sent}", method=method, status="*")
                app.site.writer.flush()
        # A HEAD with a body is no form, either.
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        browser.request(filled(path), method="HEAD", body=query.encode(), headers=form, status="*")
        assert everything() == before, path


def test_every_form_needs_the_token_of_its_session_and_a_page_of_our_own(app, project):
    browser, own = Browser(app, ADMIN), Browser(app, ADMIN)
    good, stranger = browser.form_token, Browser(app, DEVELOPER)
    other_site = {"HTTP_ORIGIN": "https://evil.example"}
    lies = [
        *((token, {}) for token in ("", "0" * 64, own.form_token, stranger.form_token, good[:-1])),
        *((good, each) for each in (other_site, {"HTTP_SEC_FETCH_SITE": "same-site"})),
    ]
    before = everything()
    for path, (_, post) in BROWSERS.items():
        if post not in (None, EVERYBODY):
            for lie, environ in lies:
                browser.form_token, usual = lie, browser.extra_environ
                browser.extra_environ = {**usual, **environ}
                assert ask(browser, "POST", path).status_int == 403, path
                browser.extra_environ = usual
    assert everything() == before


def test_without_the_dashboard_there_is_no_page(settings, tables):
    app = create_app({**settings, "DASHBOARD": False})
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    for path, (get, post) in BROWSERS.items():
        for method in [name for name, role in (("GET", get), ("POST", post)) if role]:
            client.request(filled(path, user_id=1), method=method, status=404)
    app.close()
