"""One's own account in the browser: address, password, sessions, tokens."""

from __future__ import annotations

import configparser
import logging

import pytest
from archives_made import wheel_bytes
from browsers import Browser, fault
from conftest import COMMAND_LINE, USERS, as_user, upload

from extrapypi import accounts, sessions
from extrapypi.models import Journal, Session, Token, User

NEW = "quite another one"


def test_the_address_changes_only_with_the_password(app):
    browser = Browser(app, "installer")
    answer = browser.send("/user/", 400, email="new@example.org", password="wrong")
    assert fault(answer, "password") == "This is not your password."
    assert answer.forms[1]["email"].value == "new@example.org"
    answer = browser.send("/user/", 400, email="nonsense", password=USERS["installer"])
    assert "no e-mail address" in fault(answer, "email")
    answer = browser.send("/user/", 400, email="ADMIN@example.org", password=USERS["installer"])
    assert "already" in fault(answer, "email")
    browser.send("/user/", email="new@example.org", password=USERS["installer"])
    assert User.named("installer").email == "new@example.org"
    assert User.named("installer").role == "installer"


def test_nobody_makes_himself_an_admin_by_more_fields(app):
    fields = {"email": "new@example.org", "role": "admin", "username": "admin"}
    Browser(app, "installer").send("/user/", password=USERS["installer"], **fields)
    assert User.named("installer").role == "installer"
    assert User.named("admin").email == "admin@example.org"


def test_a_new_password_renews_this_session_and_ends_all_others(app):
    browser, other = Browser(app, "developer"), Browser(app, "developer")
    old_cookie = dict(browser.cookies)
    sent = {"password": USERS["developer"], "new": NEW, "again": NEW}
    answer = browser.send("/user/password", **sent)
    assert answer.follow().html.h1.text == "Your password"
    assert browser.cookies["extrapypi_session"] != old_cookie["extrapypi_session"]
    assert "login" in other.get("/user/", status=303).location
    thief = Browser(app)
    thief.set_cookie("extrapypi_session", old_cookie["extrapypi_session"])
    assert "login" in thief.get("/user/", status=303).location
    as_user(app, "developer", NEW).get("/simple/")
    as_user(app, "developer", USERS["developer"]).get("/simple/", status=401)


def test_a_remembered_browser_is_remembered_after_the_change(app):
    browser = Browser(app)
    browser.log_in("developer", remember="1")
    sent = {"password": USERS["developer"], "new": NEW, "again": NEW}
    cookie = browser.send("/user/password", **sent).headers.getall("Set-Cookie")
    assert any("extrapypi_session" in each and "Max-Age=25" in each for each in cookie)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"password": "wrong"}, "password", "This is not your password."),
        ({"password": ""}, "password", "This is not your password."),
        ({"again": "x"}, "again", "The two are not the same."),
        ({"new": "short", "again": "short"}, "new", "8 to 128 characters"),
        ({"new": "password1", "again": "password1"}, "new", "commonest"),
    ],
)
def test_a_bad_change_of_the_password_changes_nothing(app, changes, field, words):
    browser = Browser(app, "developer")
    sent = {"password": USERS["developer"], "new": NEW, "again": NEW, **changes}
    answer = browser.send("/user/password", 400, **sent)
    assert words in fault(answer, field)
    assert NEW not in answer.text
    as_user(app, "developer", USERS["developer"]).get("/simple/")


def test_guessing_the_password_inside_a_session_is_throttled(app):
    browser = Browser(app, "developer")
    sent = {"new": NEW, "again": NEW}
    for n in range(10):
        browser.send("/user/password", 400, password=f"wrong {n}", **sent)
    answer = browser.send("/user/password", 429, password="wrong", **sent)
    assert "Too many wrong passwords" in answer.text


def test_sessions_are_named_in_plain_words_and_ended_one_by_one(app):
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    other = Browser(app, "developer", HTTP_USER_AGENT=agent, REMOTE_ADDR="192.0.2.7")
    stranger = Browser(app, "admin")
    browser = Browser(app, "developer")
    page = browser.get("/user/sessions")
    assert "Firefox on Linux" in page.text and "192.0.2.7" in page.text
    assert "this browser" in page.text
    ids = {each.address: each.id for each in Session.select()}
    of_admin = Session.get(Session.user == User.named("admin")).id
    for number in (of_admin, "x", "", 99999):
        browser.send("/user/sessions", session=str(number))
    assert Session.select().count() == 3
    browser.send("/user/sessions", session=str(ids["192.0.2.7"]))
    assert "login" in other.get("/user/", status=303).location
    stranger.get("/user/")
    browser.get("/user/")


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36", "Chrome on Windows"),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_1) Version/18 Safari/605.1", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Safari/604.1", "Safari on iPhone"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "An unknown browser"),
    ],
)
def test_browsers_have_names_that_people_know(agent, words):
    assert sessions.described(agent) == words


def test_all_other_sessions_are_ended_at_once(app):
    others = [Browser(app, "developer") for _ in range(3)]
    browser = Browser(app, "developer")
    assert (
        browser.message(browser.send("/user/sessions", session="others")) == "3 sessions are ended."
    )
    assert all("login" in each.get("/user/", status=303).location for each in others)
    assert browser.get("/user/sessions").text.count("this browser") == 1


def test_when_a_session_was_last_seen_is_written_behind_the_requests(app):
    browser = Browser(app, "developer")
    before = Session.get().last_seen_at
    browser.get("/user/")
    app.site.writer.flush()
    assert Session.get().last_seen_at > before


def new_token(browser, code=200, **fields):
    sent = {"name": "CI", "scope": "upload", "packages": "", "days": "365", **fields}
    return browser.send("/user/tokens", code, **sent)


def secret_of(answer) -> str:
    return answer.html.find(attrs={"data-name": "the token"}).text


def test_a_token_is_shown_once_with_lines_that_work(app):
    browser = Browser(app, "developer")
    answer = new_token(browser, packages="demo-pkg, Other.One")
    secret = secret_of(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    pypirc = configparser.ConfigParser(interpolation=None)
    pypirc.read_string(answer.html.find(attrs={"data-name": "the .pypirc"}).text)
    section = pypirc["extrapypi"]
    assert (section["username"], section["password"]) == ("__token__", secret)
    assert section["repository"] == "http://localhost:80/legacy/"
    upload(as_user(app, section["username"], section["password"]))
    upload(as_user(app, "__token__", secret), *wheel_bytes(name="third"), status=403)
    assert "demo-pkg, other-one" in answer.text
    assert secret not in browser.get("/user/tokens").text
    assert all(secret not in str(cookie) for cookie in browser.cookies.values())


def test_a_secret_is_in_no_log_and_no_journal(app, log):
    secret = secret_of(new_token(Browser(app, "developer")))
    for handler in logging.getLogger("extrapypi").handlers + logging.getLogger().handlers:
        handler.flush()
    assert secret not in log.read_text()
    assert not any(secret in line.detail for line in Journal.select())


def test_a_token_for_reading_installs_only(app):
    secret = secret_of(new_token(Browser(app, "developer"), scope="read"))
    client = as_user(app, "__token__", secret)
    client.get("/simple/")
    upload(client, status=403)


def test_a_token_gives_no_more_than_its_owners_role(app):
    answer = new_token(Browser(app, "installer"))
    upload(as_user(app, "__token__", secret_of(answer)), status=403)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": ""}, "name", "1 to 100 printable"),
        ({"name": "x" * 101}, "name", "1 to 100 printable"),
        ({"scope": "admin"}, "scope", "none of read, upload"),
        ({"packages": "good, ../bad"}, "packages", "'../bad' is no name of a project"),
        ({"days": "x"}, "days", "none of the times"),
        ({"days": "-1"}, "days", "none of the times"),
    ],
)
def test_a_bad_token_is_not_made_and_what_was_typed_is_kept(app, changes, field, words):
    answer = new_token(Browser(app, "developer"), 400, **{"packages": "kept-one", **changes})
    assert words in fault(answer, field)
    if "packages" not in changes:
        assert answer.forms[1]["packages"].value == "kept-one"
    assert not Token.select().exists()


def test_a_token_that_never_expires_is_possible(app):
    new_token(Browser(app, "developer"), days="")
    assert Token.get().expires_at is None


def test_tokens_are_revoked_by_their_owner_and_by_nobody_else(app):
    secret = secret_of(new_token(Browser(app, "developer")))
    number = str(Token.get().id)
    Browser(app, "maintainer").send("/user/tokens/revoke", token=number)
    Browser(app, "admin").send("/user/tokens/revoke", token=number)  # on the user's page instead
    as_user(app, "__token__", secret).get("/simple/")
    Browser(app, "developer").send("/user/tokens/revoke", token=number)
    as_user(app, "__token__", secret).get("/simple/", status=401)
    assert "revoked" in Browser(app, "developer").get("/user/tokens").text


def test_when_and_from_where_a_token_was_used_is_shown(app):
    secret = accounts.create_token(COMMAND_LINE, "developer", "<script>ci</script>")[1]
    as_user(app, "__token__", secret, REMOTE_ADDR="192.0.2.9").get("/simple/")
    app.site.writer.flush()
    text = Browser(app, "developer").get("/user/tokens").text
    assert "192.0.2.9" in text and "<script>ci" not in text


@pytest.mark.parametrize(
    "path", ["/user/", "/user/password", "/user/sessions", "/user/tokens", "/user/tokens/revoke"]
)
def test_without_the_form_token_nothing_changes(app, path):
    browser = Browser(app, "developer")
    before = Journal.select().count()
    fields = {
        "email": "x@example.org",
        "password": USERS["developer"],
        "name": "x",
        "scope": "read",
    }
    browser.post(path, {**fields, "days": "", "session": "others", "token": "1"}, status=403)
    assert Journal.select().count() == before


@pytest.mark.parametrize(
    "path", ["/user/", "/user/password", "/user/sessions", "/user/tokens", "/dashboard/users/new/"]
)
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"nonsense"),
        ("multipart/form-data", b""),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"form_token=%FF%FE&=&&&%00=%00"),
        ("application/x-www-form-urlencoded", b"x" * 300_000),
    ],
)
def test_what_is_no_form_is_a_4xx(app, path, kind, body):
    headers = {"Content-Type": kind}
    answer = Browser(app, "admin").post(path, body, headers=headers, status="4*")
    assert answer.html.h1
