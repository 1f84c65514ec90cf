"""The shortcut: it answers as the routes do, from memory, and never what they would refuse."""

from __future__ import annotations

import base64
import itertools
import random
import re
import subprocess
import sys
import threading
from typing import NamedTuple

import pytest
import webtest
import webtest.lint
from archives_made import sdist_bytes, wheel_bytes
from browsers import Browser
from clients import CHECKOUT, isolated
from conftest import COMMAND_LINE, USERS, as_user, at_once, upload

from extrapypi import accounts, database, packages, passwords
from extrapypi.app import create_app
from extrapypi.gateway import Gateway
from extrapypi.models import Download, Failure, Token, User
from extrapypi.pages import HTML, JSON
from extrapypi.sending import AT_ONCE
from extrapypi.shortcut import Shortcut

WHEEL, WHEEL_BODY = wheel_bytes(description="A page that is worth its compressing.\n" * 20)
SDIST, SDIST_BODY = sdist_bytes()
LIST, PROJECT = "/simple/", "/simple/demo-pkg/"
FILES = "/packages/demo-pkg/"
KEPT = {LIST, PROJECT, FILES + WHEEL, FILES + SDIST, f"{FILES}{WHEEL}.metadata"}
LEFT = "599 Left to the routes"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Answer(NamedTuple):
    """An answer as it leaves the application; the names of the headers in small letters."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The header of this name, which has to be there."""
        return dict(self.headers)[name]


def left(environ, start_response):
    """The WSGI application to which a shortcut leaves what it does not answer."""
    start_response(LEFT, [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return []


def basic(username: str, password: str) -> str:
    """The Authorization header of a user with a password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


INSTALLER = basic("installer", USERS["installer"])


class Ways:
    """The same index by three ways: as it is, by the routes alone, by the shortcut alone."""

    def __init__(self, app: Gateway) -> None:
        self.site = app.site
        self.whole = app
        self.routes = Gateway(app.application.application, app.site, app.site.config)
        self.short = Gateway(Shortcut(left, app.site), app.site, app.site.config)

    def ask(self, way: Gateway, path: str, method: str = "GET", **headers: str) -> Answer:
        """The answer of one way; a header's underscores are dashes, "" leaves it out."""
        request = webtest.TestRequest.blank(path, {"REMOTE_ADDR": "127.0.0.1"}, method=method)
        for name, value in {"Authorization": INSTALLER, **headers}.items():
            if value:
                request.headers[name.replace("_", "-")] = value
        answer = request.get_response(webtest.lint.middleware(way))
        assert answer.headers.pop("X-Request-ID")  # which every request has for itself
        headers = sorted((name.lower(), value) for name, value in answer.headerlist)
        return Answer(answer.status, headers, answer.body)

    def take(self, path: str, method: str = "GET", **headers: str) -> bool:
        """Whether the shortcut answers the request, now that it was asked before.

        In any case all ways have to give the same answer.
        """
        first = self.ask(self.whole, path, method, **headers)
        short = self.ask(self.short, path, method, **headers)
        for answer in (
            self.ask(self.whole, path, method, **headers),
            self.ask(self.routes, path, method, **headers),
            first if short.status == LEFT else short,
        ):
            assert answer == first, (path, method, headers)
        return short.status != LEFT


@pytest.fixture
def ways(app, as_role) -> Ways:
    """The three ways to an index with a wheel and an sdist."""
    upload(as_role("developer"), WHEEL, WHEEL_BODY)
    upload(as_role("developer"), SDIST, SDIST_BODY)
    return Ways(app)


@pytest.fixture
def ways_with(settings, request):
    """A function that gives the three ways to an index with these settings."""

    def made(**changes: object) -> Ways:
        settings.update(changes)
        return request.getfixturevalue("ways")

    return made


def new_token(user: str = "developer", **options) -> str:
    """The secret of a new token."""
    return accounts.create_token(COMMAND_LINE, user, **options)[1]


def revoked() -> str:
    """The secret of a token that was revoked."""
    token, secret = accounts.create_token(COMMAND_LINE, "developer")
    accounts.revoke_token(COMMAND_LINE, token.id)
    return secret


def expired() -> str:
    """The secret of a token that has expired."""
    token, secret = accounts.create_token(COMMAND_LINE, "developer", days=1)
    Token.update(expires_at=database.utcnow()).where(Token.id == token.id).execute()
    return secret


def inactive() -> str:
    """The name of an account that was deactivated."""
    accounts.create_user(COMMAND_LINE, "off", "a long secret", "off@example.org", "admin")
    accounts.edit_user(COMMAND_LINE, "off", is_active=False)
    return "off"


PEOPLE = {  # who asks -> his header, made when there is an index, and the status of a project page
    "a user": (lambda: INSTALLER, 200),
    "in capitals": (lambda: basic("INSTALLER", USERS["installer"]), 200),
    "an upload token": (lambda: basic("__token__", new_token()), 200),
    "a read token": (lambda: basic("__token__", new_token(scope="read")), 200),
    "a token as user name": (lambda: basic(new_token(), ""), 200),
    "a bearer": (lambda: f"Bearer {new_token()}", 200),
    "a token for it": (lambda: basic("__token__", new_token(packages=["Demo_Pkg"])), 200),
    "a token for another": (lambda: basic("__token__", new_token(packages=["other"])), 403),
    "a revoked token": (lambda: basic("__token__", revoked()), 401),
    "an expired token": (lambda: basic("__token__", expired()), 401),
    "an unknown token": (lambda: basic("__token__", "xpypi_nothing"), 401),
    "a wrong password": (lambda: basic("installer", "wrong"), 401),
    "nobody known": (lambda: basic("nobody", USERS["installer"]), 401),
    "an inactive user": (lambda: basic(inactive(), "a long secret"), 401),
    "nonsense": (lambda: "nonsense", 401),
    "no credentials": (lambda: "", 401),
}
KNOWN = list(PEOPLE)[:6]  # who may see everything; what others see is left to the routes


def test_whoever_asks_gets_the_same_both_ways(ways):
    for who, (header, status) in PEOPLE.items():
        credentials = header()
        taken = set()
        for path in (*KEPT, "/simple/unknown/", FILES + "unknown-1.0-py3-none-any.whl"):
            if ways.take(path, Authorization=credentials):
                taken.add(path)
            Failure.delete().execute()  # or a 401 would become a 429
        assert taken == (KEPT if who in KNOWN else set()), who
        answer = ways.ask(ways.whole, PROJECT, Authorization=credentials)
        assert answer.status.startswith(str(status)), who


@on_sqlite
def test_who_fails_after_having_been_known_gets_the_same(ways):
    header = basic("developer", USERS["developer"])
    assert ways.take(PROJECT, Authorization=header)
    accounts.edit_user(COMMAND_LINE, "developer", is_active=False)
    assert not ways.take(PROJECT, Authorization=header)
    assert ways.ask(ways.whole, PROJECT, Authorization=header).status.startswith("401")


@on_sqlite
@pytest.mark.parametrize("path", [LIST, PROJECT])
def test_every_form_of_an_index_page_is_the_same(ways, as_role, path):
    upload(as_role("developer"), *wheel_bytes("a-name-that-makes-the-list-worth-compressing"))
    accepts = ("", JSON, HTML, "text/html", "*/*", f"{JSON};q=0, text/html", "image/png")
    encodings = ("", "gzip", "identity", "gzip;q=0, br", "*")
    for accept, encoding in itertools.product(accepts, encodings):
        headers = {"Accept": accept, "Accept_Encoding": encoding}
        first = ways.ask(ways.whole, path, **headers)
        tag = "" if accept == "image/png" else first.header("etag")
        for known in ("", tag, f'"other", {tag}', f"W/{tag}", '"other"', "*"):
            headers["If_None_Match"] = known
            assert ways.take(path, **headers) == (accept != "image/png")
            assert not ways.take(path, "HEAD", **headers)
    assert first.status.startswith("406")
    answers = {ways.ask(ways.short, path, Accept_Encoding=each).body for each in encodings}
    assert len(answers) == 2


RANGES = (
    *("", "bytes=0-", "bytes=0-9", "bytes=10-", "bytes=-10", "bytes=-0", "bytes=0-99999999"),
    *("bytes=99999999-", "bytes=5-2", "bytes=0-1,3-4", "lines=0-9", "nonsense"),
)


def statuses(ways: Ways, path: str) -> set[str]:
    """The statuses that a file gives to all parts and conditions, the same by all ways."""
    first = ways.ask(ways.whole, path)
    tag, modified = first.header("etag"), dict(first.headers).get("last-modified", "")
    conditions = [
        {},
        *({"If_Range": each} for each in (tag, '"other"', modified)),
        *({"If_None_Match": each} for each in (tag, '"other"', "*")),
        *({"If_Modified_Since": each} for each in (modified, "no date")),
        {"If_Modified_Since": "Mon, 01 Jan 2001 00:00:00 GMT", "If_None_Match": '"other"'},
        {"Accept_Encoding": "gzip"},
    ]
    seen = set()
    for part, condition in itertools.product(RANGES, conditions):
        assert ways.take(path, Range=part, **condition)
        assert not ways.take(path, "HEAD", Range=part, **condition)
        seen.add(ways.ask(ways.short, path, Range=part, **condition).status[:3])
    return seen


@on_sqlite
def test_every_part_and_condition_of_a_file_is_the_same(ways, as_role):
    large = {"demo_pkg.bin": random.Random(2).randbytes(3 * AT_ONCE)}
    filename, body = wheel_bytes(version="2.0", files=large)
    upload(as_role("developer"), filename, body)
    for name in (WHEEL, SDIST, filename):
        assert statuses(ways, FILES + name) == {"200", "206", "304", "416"}
    assert statuses(ways, f"{FILES}{WHEEL}.metadata") == {"200", "304"}
    assert ways.ask(ways.short, FILES + filename).body == body


LEAVES = [
    f"{LIST}?",
    f"{PROJECT}?x=y",
    f"{PROJECT}?format={JSON.replace('+', '%2B')}",
    f"{PROJECT}?format=xml",
    f"{FILES}{WHEEL}?x",
    f"{FILES}{WHEEL}.metadata?x",
    "/simple",
    "/simple/demo-pkg",
    "/simple/Demo_Pkg/",
    "/simple/demo--pkg/",
    "/simple/demo-pkg%0a/",
    "/simple/demo-pkg%00/",
    "/simple/d%C3%A9mo/",
    "/simple/%ff/",
    f"{PROJECT}{WHEEL}",
    f"/packages/Demo_Pkg/{WHEEL}",
    f"/packages/other/{WHEEL}",
    f"{FILES}{WHEEL}%0a",
    f"{FILES}{WHEEL}/",
    f"{FILES}{WHEEL}.metadata.metadata",
    f"{FILES}{SDIST}.metadata",
    f"{FILES}.metadata",
    FILES,
    "/legacy/+simple/demo-pkg/",
    "/pypi/demo-pkg/json",
    "/nowhere",
]
TOLERATED = ["//simple//demo-pkg/", "/simple/%64emo-pkg/", f"//packages/demo-pkg/{WHEEL}"]


@on_sqlite
def test_other_paths_and_queries_are_answered_by_the_routes(ways):
    for path in KEPT:
        assert ways.take(path)
    taken = [path for path in LEAVES if ways.take(path)]
    assert taken == [f"{LIST}?"]  # which is no query
    assert all(ways.take(path) for path in TOLERATED)


@on_sqlite
def test_a_ping_is_answered_at_once_whoever_asks(ways):
    for credentials in ("", "Bearer", "Basic eDp5"):
        assert ways.take("/ping", Authorization=credentials)


@on_sqlite
def test_other_methods_are_answered_by_the_routes(ways):
    for path in KEPT:
        assert ways.take(path)
        for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            assert not ways.take(path, method)


@on_sqlite
def test_with_anonymous_read_nobody_gets_the_same_as_everybody(ways_with):
    ways = ways_with(ANONYMOUS_READ=True)
    for path in KEPT:
        assert ways.take(path, Authorization="")
        assert ways.take(path)
        assert not ways.take(path, Authorization="Bearer")
        assert not ways.take(path, Authorization="", Cookie="of=another; program=")
    answer = ways.ask(ways.short, FILES + WHEEL, Authorization="")
    assert answer.header("cache-control").startswith("public")


@on_sqlite
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_session_is_left_to_the_routes(ways_with, anonymous):
    ways = ways_with(ANONYMOUS_READ=anonymous)
    browser = Browser(ways.whole, "installer")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    for path in KEPT:
        assert not ways.take(path, Authorization="", Cookie=cookie)
        assert ways.ask(ways.whole, path, Authorization="", Cookie=cookie).status == "200 OK"
        assert ways.take(path, Cookie=cookie)  # credentials win


@on_sqlite
def test_below_different_prefixes_are_different_pages(ways_with):
    ways = ways_with(TRUSTED_PROXY="127.0.0.1")
    for prefix in ("", "/one", "/two"):
        for path in KEPT:
            assert ways.take(path, X_Forwarded_Prefix=prefix)
    for prefix in ("/one", "", "/two"):
        page = ways.ask(ways.short, PROJECT, X_Forwarded_Prefix=prefix).body.decode()
        assert f'href="{prefix}/packages/demo-pkg/' in page


@on_sqlite
def test_the_prefix_of_the_settings_is_taken_off_both_ways(ways_with):
    ways = ways_with(URL_PREFIX="/team")
    for path in KEPT:
        assert ways.take(path)
        assert ways.take("/team" + path)
    assert b'href="/team/packages/' in ways.ask(ways.short, PROJECT).body


@on_sqlite
@pytest.mark.parametrize(
    ("sendfile", "header"), [("nginx", "x-accel-redirect"), ("apache", "x-sendfile")]
)
def test_what_a_front_server_sends_is_the_same(ways_with, sendfile, header):
    ways = ways_with(SENDFILE=sendfile, TRUSTED_PROXY="127.0.0.1")
    tag = ways.ask(ways.whole, FILES + WHEEL).header("etag")
    for headers in ({}, {"Range": "bytes=0-9"}, {"If_None_Match": tag}):
        assert ways.take(FILES + WHEEL, **headers)
    assert ways.ask(ways.short, FILES + WHEEL).header(header).endswith(WHEEL)
    assert ways.ask(ways.short, FILES + WHEEL).body == b""


@on_sqlite
def test_a_redirect_to_the_storage_is_the_same(ways, monkeypatch):
    monkeypatch.setattr(ways.site.storage, "get_url", lambda *_: "https://store.example.org/x")
    assert ways.take(FILES + WHEEL)
    assert ways.ask(ways.short, FILES + WHEEL).header("location") == "https://store.example.org/x"


@on_sqlite
def test_a_file_that_is_gone_from_the_disk_is_the_same_503(ways):
    assert ways.take(FILES + WHEEL)
    (ways.site.storage.root / "demo-pkg" / WHEEL).unlink()
    assert not ways.take(FILES + WHEEL)
    assert ways.ask(ways.whole, FILES + WHEEL).status.startswith("503")


@on_sqlite
def test_what_others_add_to_the_headers_does_not_stay(ways):
    def middleware(environ, start_response):
        def added(status, headers, exc_info=None):
            headers.append(("X-Added", "1"))  # as WSGI allows
            return start_response(status, headers, exc_info)

        return ways.whole(environ, added)

    for path in KEPT:
        tag = ways.ask(ways.whole, path).header("etag")
        for headers in ({}, {"If_None_Match": tag}):
            for _ in range(3):
                answer = ways.ask(middleware, path, **headers)
                assert answer.headers.count(("x-added", "1")) == 1


@pytest.fixture
def statements(monkeypatch):
    """A list of the SQL of all statements; clear it before those that are to be counted."""
    kind, asked = type(database.database.obj), []
    real = kind.execute_sql

    def execute_sql(self, sql, params=None):
        asked.append(sql)
        return real(self, sql, params)

    monkeypatch.setattr(kind, "execute_sql", execute_sql)
    return asked


def test_what_is_kept_costs_one_statement(ways, statements):
    for header in (INSTALLER, basic("__token__", new_token()), f"Bearer {new_token()}"):
        for path, accept in itertools.product(KEPT, (JSON, HTML)):
            headers = {"Authorization": header, "Accept": accept}
            tag = ways.ask(ways.whole, path, **headers).header("etag")
            for known in ("", tag):
                statements.clear()
                answer = ways.ask(ways.whole, path, **headers, If_None_Match=known)
                assert answer.status[:3] == ("304" if known else "200")
                assert len(statements) == 1, statements


def test_after_a_change_elsewhere_a_page_is_asked_for_once_and_taken_again(ways, as_role):
    assert all(ways.take(path) for path in KEPT)
    upload(as_role("developer"), *wheel_bytes("other"))
    assert {ways.ask(ways.short, path).status for path in KEPT} == {LEFT}
    assert all(ways.take(path) for path in KEPT)


OF_ACCOUNTS = {  # what is done -> how, to the user and the token; by what he asks for which path
    "password": (
        lambda user, token: accounts.set_password(COMMAND_LINE, user, "another secret"),
        *("password", PROJECT, 401),
    ),
    "inactive": (
        lambda user, token: accounts.edit_user(COMMAND_LINE, user, is_active=False),
        *("password", FILES + WHEEL, 401),
    ),
    "owner inactive": (
        lambda user, token: accounts.edit_user(COMMAND_LINE, user, is_active=False),
        *("token", PROJECT, 401),
    ),
    "deleted": (
        lambda user, token: accounts.delete_user(COMMAND_LINE, user),
        *("password", LIST, 401),
    ),
    "owner deleted": (
        lambda user, token: accounts.delete_user(COMMAND_LINE, user),
        *("token", FILES + WHEEL, 401),
    ),
    "revoked": (
        lambda user, token: accounts.revoke_token(COMMAND_LINE, token),
        *("token", f"{FILES}{WHEEL}.metadata", 401),
    ),
    "expired": (
        lambda user, token: change_token(token, expires_at=database.utcnow()),
        *("token", PROJECT, 401),
    ),
    "for another": (
        lambda user, token: change_token(token, packages=["other"]),
        *("token", FILES + WHEEL, 403),
    ),
}


def change_token(token_id: int, **values: object) -> None:
    """Gives a token's row other values."""
    Token.update(values).where(Token.id == token_id).execute()


def test_what_another_connection_does_to_an_account_counts_at_the_next_request(ways):
    for number, (what, (change, by, path, status)) in enumerate(OF_ACCOUNTS.items()):
        user = f"user{number}"
        accounts.create_user(COMMAND_LINE, user, "a secret", f"{user}@x.org", "installer")
        token, secret = accounts.create_token(COMMAND_LINE, user)
        header = basic(user, "a secret") if by == "password" else f"Bearer {secret}"
        assert ways.take(path, Authorization=header), what
        at_once(1, lambda _: change(user, token.id))  # noqa: B023 (it runs now)
        assert not ways.take(path, Authorization=header), what
        answer = ways.ask(ways.whole, path, Authorization=header)
        assert answer.status.startswith(str(status)), what
        Failure.delete().execute()


OF_PROJECTS = {  # what is done -> how, to the project; what is asked for, and what is given then
    "yanked": (lambda site, name: packages.yank(COMMAND_LINE, name, "1.0"), "page", "200 2 1"),
    "deleted": (
        lambda site, name: packages.delete(site.storage, COMMAND_LINE, name, "1.0"),
        *("page", "200 1 0"),
    ),
    "deleted file": (
        lambda site, name: packages.delete(site.storage, COMMAND_LINE, name, "1.0"),
        *("file", "404 0 0"),
    ),
    "deleted metadata": (
        lambda site, name: packages.delete(site.storage, COMMAND_LINE, name, "1.0"),
        *("metadata", "404 0 0"),
    ),
    "all deleted": (
        lambda site, name: packages.delete(site.storage, COMMAND_LINE, name),
        *("page", "404 0 0"),
    ),
    "quarantined": (
        lambda site, name: packages.set_status(COMMAND_LINE, name, "quarantined"),
        *("page", "200 0 0"),
    ),
    "quarantined file": (
        lambda site, name: packages.set_status(COMMAND_LINE, name, "quarantined"),
        *("file", "403 0 0"),
    ),
    "quarantined metadata": (
        lambda site, name: packages.set_status(COMMAND_LINE, name, "quarantined"),
        *("metadata", "403 0 0"),
    ),
}


def shown(answer: Answer) -> str:
    """The status of an answer, how many files it lists, and how many of them are yanked."""
    return f"{answer.status[:3]} {answer.body.count(b'<a ')} {answer.body.count(b'data-yanked')}"


def test_what_another_connection_does_to_a_project_counts_at_the_next_request(ways, as_role):
    for number, (what, (change, asked, expected)) in enumerate(OF_PROJECTS.items()):
        name = f"project{number}"
        filename, body = wheel_bytes(name)
        upload(as_role("developer"), filename, body)
        upload(as_role("developer"), *wheel_bytes(name, "2.0"))
        file = f"/packages/{name}/{filename}"
        path = {"page": f"/simple/{name}/", "file": file, "metadata": f"{file}.metadata"}[asked]
        assert ways.take(path), what
        at_once(1, lambda _: change(ways.site, name))  # noqa: B023 (it runs now)
        assert shown(ways.ask(ways.whole, path)) == expected, what
        assert ways.take(path) == expected.startswith("200"), what


def test_what_another_process_changes_counts_at_the_next_request(ways, settings, tmp_path):
    names = ("BASE_DIR", "DATABASE_URL", "SECRET_KEY")
    config = tmp_path / "config.py"
    config.write_text("".join(f"{name} = {settings[name]!r}\n" for name in names))
    (tmp_path / "home").mkdir()
    own = {"PYTHONPATH": str(CHECKOUT), "EXTRAPYPI_CONFIG": str(config)}
    environment = {**isolated(tmp_path / "home"), **own}

    def command(*words: object) -> None:
        program = [sys.executable, "-m", "extrapypi", *map(str, words)]
        subprocess.run(program, env=environment, check=True, capture_output=True)

    header = basic("__token__", new_token())
    assert all(ways.take(path, Authorization=header) for path in KEPT)
    command("yank", "demo-pkg", "1.0")
    assert shown(ways.ask(ways.whole, PROJECT, Authorization=header)) == "200 2 2"
    assert ways.take(FILES + WHEEL, Authorization=header)
    command("status", "demo-pkg", "quarantined")
    assert ways.ask(ways.whole, FILES + WHEEL, Authorization=header).status.startswith("403")
    assert ways.take(PROJECT, Authorization=header)
    command("token", "revoke", Token.get().id)
    assert ways.ask(ways.whole, PROJECT, Authorization=header).status.startswith("401")


def without_time(line: str) -> str:
    """An access line without its date and its milliseconds."""
    return re.sub(r" [\d.]+ms ", " ", line.partition("] ")[2])


def noted(ways: Ways, way: Gateway, log, requests: list[tuple[str, dict]]) -> tuple:
    """The downloads, the times of last use and the log after some requests by one way."""
    Download.delete().execute()
    User.update(last_login_at=None).execute()
    Token.update(last_used_at=None, last_used_from="").execute()
    before = len(log.read_text().splitlines())
    for path, headers in requests:
        ways.ask(way, path, **headers)
    ways.site.writer.flush()
    downloads = Download.select(Download.file, Download.client, Download.number)
    seen = User.select(User.username).where(User.last_login_at.is_null(False))
    used = Token.select(Token.last_used_from).where(Token.last_used_at.is_null(False))
    return (
        sorted(downloads.tuples()),
        sorted(seen.tuples()),
        list(used.tuples()),
        [without_time(line) for line in log.read_text().splitlines()[before:]],
    )


def test_what_is_noted_of_a_request_is_the_same_both_ways(ways, log):
    wheel = FILES + WHEEL
    tag = ways.ask(ways.whole, wheel).header("etag")
    token = {"Authorization": f"Bearer {new_token()}", "User_Agent": 'uv/0.13 {"x": 1}'}
    requests = [
        (LIST, {}),
        (PROJECT, {"Accept_Encoding": "gzip", "User_Agent": 'odd "agent"\x7f'}),
        (PROJECT, {"If_None_Match": "*", **token}),
        (wheel, {"User_Agent": "pip/26.3"}),
        (wheel, {"Range": "bytes=0-9", "User_Agent": "pip/26.3"}),
        (wheel, {"Range": "bytes=-9"}),
        (wheel, {"Range": "bytes=99999999-"}),
        (wheel, {"If_None_Match": tag}),
        (FILES + SDIST, token),
        (f"{wheel}.metadata", token),
    ]
    for path, headers in requests:
        assert ways.take(path, **headers)
    ways.site.writer.flush()
    short, routes = (noted(ways, way, log, requests) for way in (ways.short, ways.routes))
    assert short == routes
    downloads, seen, used, lines = short
    assert [number for *_, number in downloads] == [2, 1]
    assert seen == [("developer",), ("installer",)]
    assert used == [("127.0.0.1",)]
    assert [line.split()[1] for line in lines].count("developer") == 3
    assert [line.split('"')[2].split()[:2] for line in lines[3:8]] == [
        ["200", str(len(WHEEL_BODY))],
        ["206", "10"],
        ["206", "9"],
        ["416", "0"],
        ["304", "-"],
    ]


def test_the_first_80_connections_with_a_password_cost_one_check_of_it(
    ways, statements, monkeypatch
):
    monkeypatch.setattr(passwords, "COST", 10)  # long enough for all to come meanwhile
    for name in ("anna", "ben"):
        accounts.create_user(COMMAND_LINE, name, "a secret", f"{name}@x.org", "installer")
    start, answers = threading.Barrier(80), []

    def ask(name: str) -> None:
        header = basic(name, "a secret")
        answers.append(ways.ask(ways.whole, LIST, Authorization=header).status)

    def together(_) -> None:
        start.wait()
        ask("ben")

    def looks_at_failures() -> int:
        return sum("failures" in sql for sql in statements)  # as each check of a password does

    statements.clear()
    ask("anna")
    alone = looks_at_failures()
    statements.clear()
    at_once(80, together)
    assert answers == ["200 OK"] * 81
    assert looks_at_failures() == alone > 0


@on_sqlite
def test_two_applications_know_nothing_of_each_other(ways, settings):
    other = create_app({**settings, "SECRET_KEY": "a key of another"})
    assert ways.take(PROJECT)
    assert Ways(other).ask(Ways(other).short, PROJECT).status == LEFT
    as_user(other, "installer", USERS["installer"]).get(PROJECT)
    assert Ways(other).take(PROJECT)
    other.site.writer.stop()
