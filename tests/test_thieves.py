"""Thieves of sessions and secrets: what a cookie is worth, and where secrets never turn up."""

from __future__ import annotations

import io
from contextlib import closing

import pytest
import webtest
from archives_made import wheel_bytes
from browsers import TOKEN, Browser
from conftest import COMMAND_LINE, USERS, as_user, counts, form_of, stored

from extrapypi import accounts, sessions
from extrapypi.app import create_app
from extrapypi.database import utcnow
from extrapypi.errors import NotLoggedIn
from extrapypi.models import TABLES, Journal, Session, Token, User

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NEW = "quite another one"


def thief_of(app, browser: Browser) -> Browser:
    """Another browser with the cookie of this one, and the token of its forms."""
    thief = Browser(app, REMOTE_ADDR="203.0.113.66")
    thief.set_cookie(sessions.COOKIE, browser.cookies[sessions.COOKIE])
    thief.form_token = browser.form_token
    thief.get("/user/")
    return thief


def by_the_form(browser: Browser) -> None:
    """Changes the password as people do."""
    browser.send("/user/password", password=USERS["developer"], new=NEW, again=NEW)


def by_an_admin(app, **changes: str) -> None:
    """Sends the form about the developer's account with these changes."""
    user = User.named("developer")
    fields = {"email": user.email, "role": user.role, "is_active": "1", **changes}
    Browser(app, "admin").send(f"/dashboard/users/{user.id}/", **fields)


def from_elsewhere(app, browser: Browser) -> None:
    """Ends all sessions but that of another browser."""
    Browser(app, "developer").send("/user/sessions", session="others")


ENDS = {  # what ends a session -> how
    "a logout": lambda app, browser: browser.send("/dashboard/logout"),
    "another login": lambda app, browser: browser.log_in("installer"),
    "the same login again": lambda app, browser: browser.log_in("developer"),
    "a new password": lambda app, browser: by_the_form(browser),
    "a new password by an admin": lambda app, browser: accounts.set_password(
        COMMAND_LINE, "developer", NEW
    ),
    "another role": lambda app, browser: by_an_admin(app, role="admin"),
    "a lesser role": lambda app, browser: by_an_admin(app, role="installer"),
    "deactivation": lambda app, browser: by_an_admin(app, is_active=""),
    "deletion": lambda app, browser: accounts.delete_user(COMMAND_LINE, "developer"),
    "the owner, from elsewhere": from_elsewhere,
    "an admin": lambda app, browser: accounts.end_sessions(COMMAND_LINE, "developer"),
    "time": lambda app, browser: Session.update(expires_at=utcnow()).execute(),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_stolen_session_ends_with_the_session(app, end):
    browser = Browser(app, "developer")
    thief = thief_of(app, browser)
    thief.get("/simple/")
    ENDS[end](app, browser)
    before = Token.select().count(), Journal.select().count()
    assert "login" in thief.get("/user/", status=303).location
    answer = thief.send("/user/tokens", name="mine", scope="upload", packages="", days="")
    assert answer.location.endswith("/dashboard/login")
    thief.get("/simple/", status=401)
    assert (Token.select().count(), Journal.select().count()) == before


def test_another_role_logs_out_and_page_and_journal_tell_it(app):
    Browser(app, "installer")
    admin = Browser(app, "admin")
    user = User.named("installer")
    home = f"/dashboard/users/{user.id}/"
    assert "Another role logs the user out everywhere." in admin.get(home).text
    fields = {"email": user.email, "role": "maintainer", "is_active": "1"}
    answer = admin.send(home, **fields)
    assert admin.message(answer) == "installer is changed and logged out everywhere."
    lines = Journal.select().order_by(Journal.id.desc()).limit(2)
    assert {(line.who, line.action, line.detail) for line in lines} == {
        ("admin", "edit user", "installer: maintainer in place of installer"),
        ("admin", "end sessions", "installer: 1"),
    }
    Browser(app, "installer")
    answer = admin.send(home, **{**fields, "email": "new@example.org"})
    assert admin.message(answer) == "installer is changed."
    assert Session.select().where(Session.user == user).count() == 1


MEANWHILE = {
    "a new password": lambda: accounts.set_password(COMMAND_LINE, "developer", NEW),
    "deactivation": lambda: accounts.edit_user(COMMAND_LINE, "developer", is_active=False),
    "deletion": lambda: accounts.delete_user(COMMAND_LINE, "developer"),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_nobody_gets_in_with_a_password_that_was_checked_before(tables, what):
    user = User.named("developer")
    MEANWHILE[what]()
    with pytest.raises(NotLoggedIn):
        sessions.start(user, 3600, {})
    assert not Session.select().exists()


@on_sqlite
def test_a_session_that_was_there_before_the_login_is_not_taken_over(app):
    form = {"username": "admin", "password": USERS["admin"]}
    for planted in ("planted", Browser(app, "installer").cookies[sessions.COOKIE]):
        cookie = {"Cookie": f"{sessions.COOKIE}={planted}"}
        answer = Browser(app).post("/dashboard/login", form, headers=cookie, status=303)
        assert planted not in str(answer.headers)
        answer = Browser(app).get("/dashboard/users/", headers=cookie, status=303)
        assert "login" in answer.location
    assert {session.user.username for session in Session.select()} == {"admin"}


@on_sqlite
@pytest.mark.parametrize(
    ("environ", "prefix", "name"),
    [
        ({}, "", "extrapypi_session"),
        ({}, "/index", "extrapypi_session"),
        ({"wsgi.url_scheme": "https"}, "", "__Host-extrapypi_session"),
        ({"wsgi.url_scheme": "https"}, "/index", "__Secure-extrapypi_session"),
    ],
)
def test_under_https_nobody_else_can_set_the_cookie(settings, tables, environ, prefix, name):
    with closing(create_app({**settings, "URL_PREFIX": prefix})) as app:
        browser = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1", **environ})
        form = {"username": "admin", "password": USERS["admin"]}
        answer = browser.post(f"{prefix}/dashboard/login", form, status=303)
        (line,) = answer.headers.getall("Set-Cookie")
        words = line.lower().split("; ")
        assert line.startswith(f"{name}=") and "domain" not in line.lower()
        assert {"httponly", "samesite=lax", f"path={prefix or '/'}"} <= set(words)
        assert ("secure" in words) == bool(environ)
        cookie = line.partition(";")[0]
        plain = {"Cookie": f"extrapypi_session={cookie.partition('=')[2]}"}
        is_taken = browser.get(f"{prefix}/user/", headers=plain, status="*").status_int == 200
        assert is_taken == (not environ)
        path, headers = f"{prefix}/dashboard/logout", {"Cookie": cookie}
        sent = {"form_token": TOKEN.search(browser.get(path, headers=headers).text)[1]}
        lines = browser.post(path, sent, headers=headers, status=303).headers.getall("Set-Cookie")
        (dropped,) = (line.lower() for line in lines if line.startswith(f"{name}="))
        assert "max-age=0" in dropped and ("; secure" in dropped) == bool(environ)


class Slow(io.BytesIO):
    """A body before whose first reading something happens, as when it comes slowly."""

    def __init__(self, body: bytes, change) -> None:
        super().__init__(body)
        self.changes = [change]

    def read(self, size: int = -1) -> bytes:
        while self.changes:
            self.changes.pop()()
        return super().read(size)


def send_slowly(app, client, path: str, fields: dict, name: str, change) -> str:
    """The status of an upload, during which something happens."""
    filename, body = wheel_bytes()
    kind, body = client.encode_multipart(list(fields.items()), [(name, filename, body)])
    request = webtest.TestRequest.blank(path, method="POST", body=body, content_type=kind)
    request.environ.update(client.extra_environ)
    request.headers["Cookie"] = "; ".join(f"{n}={v}" for n, v in client.cookies.items())
    request.environ["wsgi.input"] = Slow(body, change)
    return request.get_response(app).status


@on_sqlite
@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
def test_who_is_shut_out_while_his_upload_comes_in_publishes_nothing(app, change):
    client = as_user(app, "developer", USERS["developer"])
    fields = form_of(*wheel_bytes())
    told = send_slowly(app, client, "/legacy/", fields, "content", change)
    assert told.startswith("401")
    assert not counts()["File"] and not stored(app)


@on_sqlite
@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
def test_whose_session_ends_while_his_form_comes_in_publishes_nothing(app, change):
    browser = Browser(app, "developer")
    fields = {"form_token": browser.form_token}
    told = send_slowly(app, browser, "/dashboard/upload/", fields, "files", change)
    assert told.startswith("303")
    assert not counts()["File"] and not stored(app)


@on_sqlite
def test_no_form_shows_a_password_again(app):
    admin = Browser(app, "admin")
    home = f"/dashboard/users/{User.named('installer').id}/"
    fields = {"username": "x:y", "email": "nonsense", "role": "none", "name": ""}
    secrets = dict.fromkeys(("password", "new", "again"), "pA-55")  # too short, and wrong
    for path in ("/user/", "/user/password", "/dashboard/users/new/", home, f"{home}password"):
        answer = admin.send(path, 400, **fields, **secrets)
        assert "pA-55" not in answer.text
        assert all("pA-55" not in value for value in answer.headers.values())
    answer = Browser(app).post("/dashboard/login", {"username": "x", **secrets}, status=401)
    assert "pA-55" not in answer.text


@on_sqlite
def test_secrets_are_in_no_log_no_table_and_no_answer_even_when_debugging(
    settings, tables, log, monkeypatch
):
    app = create_app({**settings, "DEBUG": True})
    secret = accounts.create_token(COMMAND_LINE, "developer")[1]
    texts = []

    def told(answer) -> None:
        texts.append(answer.text + str(answer.headers))

    anna = Browser(app, "developer")
    told(as_user(app, "__token__", secret).get(f"/simple/?token={secret}"))
    told(as_user(app, secret, "").get("/simple/"))
    told(as_user(app, "developer", "a-wr0ng-one").get("/simple/", status=401))
    told(as_user(app, secret[:-3], "x").get("/simple/", status=401))
    told(anna.send("/user/password", 400, password="a-wr0ng-one", new=NEW, again=NEW))
    monkeypatch.setattr("extrapypi.passwords.matches", lambda password, _: int(None))
    told(as_user(app, "developer", "a-wr0ng-one").get("/simple/", status=500))
    form = {"username": "developer", "password": "a-wr0ng-one"}
    told(Browser(app).post("/dashboard/login", form, status=500))
    assert "TypeError" in texts[-2]  # it does debug
    cookie = anna.cookies[sessions.COOKIE]
    texts += [log.read_text(), *(str(list(table.select().dicts())) for table in TABLES)]
    for word in (secret, secret[:-3], cookie, "a-wr0ng-one", NEW, settings["SECRET_KEY"]):
        assert not [text for text in texts if word in text], word
    app.close()


@on_sqlite
@pytest.mark.parametrize(
    ("keys", "is_taken"),
    [
        (["a new one of some length", "the old one of some length"], True),
        (["a third", "a new one of some length", "the old one of some length"], True),
        (["a new one of some length"], False),
    ],
)
def test_what_an_old_key_has_made_is_good_while_it_is_listed(settings, tables, keys, is_taken):
    old = create_app({**settings, "SECRET_KEY": "the old one of some length"})
    browser = Browser(old, "developer")
    browser.send("/user/sessions", session="others")  # leaves a message for the next page
    new = create_app({**settings, "SECRET_KEY": keys})
    browser.app = webtest.lint.middleware(new)
    assert ("0 sessions are ended." in browser.get("/user/sessions").text) == is_taken
    browser.send("/dashboard/logout", 303 if is_taken else 403)
    if not is_taken:  # its own form is
        browser.form_token = TOKEN.search(browser.get("/dashboard/logout").text)[1]
        browser.send("/dashboard/logout")
    old.close()
    new.close()
