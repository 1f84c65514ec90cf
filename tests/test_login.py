"""Logging in and out in a browser, and what a session is worth."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import webtest
from browsers import Browser
from conftest import COMMAND_LINE, USERS, upload

from extrapypi import accounts, sessions
from extrapypi.app import create_app
from extrapypi.database import utcnow
from extrapypi.models import Session, User

FORM = {"username": "developer", "password": USERS["developer"]}


@pytest.fixture
def browser(app):
    """A browser in which nobody is logged in."""
    return Browser(app)


def cookie_of(answer) -> str:
    """The line that sets the session's cookie."""
    lines = answer.headers.getall("Set-Cookie")
    return next(line for line in lines if line.startswith(sessions.COOKIE))


def test_who_logs_in_goes_on_to_where_he_wanted(browser):
    answer = browser.get("/dashboard/journal/?action=yank")
    page = answer.follow()
    page.form["username"], page.form["password"] = "admin", USERS["admin"]
    assert page.form.submit().location == "http://localhost:80/dashboard/journal/?action=yank"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\tevil.example",
        "/dashboard/\r\nSet-Cookie: x=1",
        "evil",
        "//[x",
        "http://[",
        "//a\u2100b",
        "///evil.example",
        "https:evil.example",
        "https:/evil.example",
        "/\x00/evil.example",
        "\u3000//evil.example",
        "/\u2028/evil.example",
        "",
    ],
)
def test_nobody_is_sent_to_another_site_after_logging_in(browser, target):
    answer = browser.post("/dashboard/login?" + urlencode({"next": target}), FORM, status=303)
    assert answer.location == "http://localhost:80/dashboard/"


@pytest.mark.parametrize("prefix", ["", "/index"])
@pytest.mark.parametrize(
    "path", ["%2f%2fevil.example", "%5cevil.example", "%09/evil.example", "..//x", "@evil.example"]
)
def test_what_looks_like_another_site_stays_a_path_of_this_one(settings, tables, prefix, path):
    with closing(create_app({**settings, "URL_PREFIX": prefix})) as app:
        login = f"{prefix}/dashboard/login?{urlencode({'next': f'/{path}'})}"
        answer = Browser(app).post(login, FORM, status=303)
        assert answer.location == f"http://localhost:80{prefix}/{path}"


def test_every_failure_is_told_by_the_same_words_and_what_was_typed_stays(browser, app):
    accounts.create_user(COMMAND_LINE, "off", "a long secret", "off@x.org", "admin")
    User.update(is_active=False).where(User.username == "off").execute()
    told = set()
    for username, password in (("developer", "wrong"), ("nobody", "x"), ("off", "a long secret")):
        form = {"username": username, "password": password, "remember": "1"}
        answer = browser.post("/dashboard/login", form, status=401)
        told.add(answer.html.find(role="alert").text)
        assert answer.form["username"].value == username
        assert answer.form["remember"].checked
        assert not answer.form["password"].value
        assert "WWW-Authenticate" not in answer.headers
    assert len(told) == 1
    assert Session.select().count() == 0


def test_too_many_wrong_passwords_are_429_and_a_session_goes_on(browser, app):
    inside = Browser(app, "developer")
    for _ in range(10):
        browser.post("/dashboard/login", {**FORM, "password": "wrong"}, status=401)
    answer = browser.post("/dashboard/login", {**FORM, "password": "wrong"}, status=429)
    assert answer.headers["Retry-After"] == "300"
    inside.get("/dashboard/")


@pytest.mark.parametrize(("remember", "hours"), [("", 12), ("1", 30 * 24)])
def test_a_session_lasts_as_long_as_its_setting_says(browser, remember, hours):
    answer = browser.post("/dashboard/login", {**FORM, "remember": remember})
    lifetime = Session.get().expires_at - Session.get().created_at
    assert abs(lifetime - timedelta(hours=hours)) < timedelta(minutes=1)
    assert ("max-age" in cookie_of(answer).lower()) is bool(remember)
    Session.update(expires_at=utcnow()).execute()
    assert "login" in browser.get("/dashboard/", status=303).location


def test_the_token_is_not_in_the_table_and_new_at_every_login(app):
    tokens = {cookie_of(Browser(app).post("/dashboard/login", FORM)) for _ in range(2)}
    values = [line.partition("=")[2].partition(";")[0] for line in tokens]
    kept = {row.token_sha256 for row in Session.select()}
    assert len(kept) == 2
    assert not kept & set(values)


def test_logging_in_again_ends_the_session_before(browser):
    browser.log_in("developer")
    browser.log_in("admin")
    assert [row.user.username for row in Session.select()] == ["admin"]


def test_logging_out_needs_a_button_and_ends_the_session(app):
    browser = Browser(app, "developer")
    cookie = browser.cookies[sessions.COOKIE]
    browser.get("/dashboard/logout")
    assert Session.select().count() == 1
    browser.send("/dashboard/logout")
    assert Session.select().count() == 0
    browser.set_cookie(sessions.COOKIE, cookie)
    assert "login" in browser.get("/dashboard/", status=303).location


def test_a_changed_password_and_an_account_that_is_shut_out_end_all_sessions(app):
    browser = Browser(app, "developer")
    User.update(is_active=False).where(User.username == "developer").execute()
    assert "login" in browser.get("/dashboard/", status=303).location
    User.update(is_active=True).where(User.username == "developer").execute()
    browser.get("/dashboard/")
    accounts.set_password(COMMAND_LINE, "developer", "another long secret")
    assert "login" in browser.get("/dashboard/", status=303).location


def test_links_to_files_work_in_a_browser_but_nothing_is_published_with_its_cookie(app, as_role):
    upload(as_role("developer"))
    browser = Browser(app, "developer")
    for path in ("/simple/", "/simple/demo-pkg/", "/pypi/demo-pkg/json"):
        assert browser.get(path).status_int == 200
    url = browser.get("/simple/demo-pkg/").html.find("a")["href"].partition("#")[0]
    assert browser.get(url).status_int == 200
    upload(browser, status=401)
    browser.get("/simple/", headers={"Authorization": "Basic bm9ib2R5Ondyb25n"}, status=401)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:81"},
        {"Origin": "file://"},
        {"Origin": "localhost:80"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:80"},
    ],
)
def test_a_form_of_another_site_is_refused(app, headers):
    browser = Browser(app, "admin")
    form = {"form_token": browser.form_token}
    answer = browser.post("/dashboard/logout", form, headers=headers, status=403)
    assert "another site" in answer.text
    Browser(app).post("/dashboard/login", FORM, headers=headers, status=403)
    assert Session.select().count() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:80"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:80"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
    ],
)
def test_a_form_of_our_own_is_taken(app, headers):
    Browser(app).post("/dashboard/login", FORM, headers=headers, status=303)


def test_a_form_without_the_sessions_token_is_refused(app):
    browser, other = Browser(app, "developer"), Browser(app, "admin")
    for token in ("", "x", other.form_token, "ä"):
        browser.post("/dashboard/logout", {"form_token": token}, status=403)
    assert Session.select().count() == 2


@pytest.mark.parametrize("value", ["", "x", "ä", "a" * 5000, '"; drop', "\\303", '"\\351.x"'])
def test_a_cookie_that_is_none_of_ours_is_nobodys(browser, value):
    for name in (sessions.COOKIE, "extrapypi_message"):
        line = f"{name}={value}".encode().decode("latin-1")
        answer = browser.get("/dashboard/", headers={"Cookie": line}, status=303)
        assert "login" in answer.location
        browser.get("/dashboard/login", headers={"Cookie": line}, status=200)


def test_a_page_is_kept_nowhere_and_has_no_styles_of_its_own(app):
    answer = Browser(app, "installer").get("/dashboard/")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<style" not in answer.text
    assert " style=" not in answer.text


def test_admins_are_told_of_documented_passwords(app):
    User.update(default_password=True).where(User.username == "installer").execute()
    assert "Documented passwords" in Browser(app, "admin").get("/dashboard/").text
    assert "Documented passwords" not in Browser(app, "developer").get("/dashboard/").text


def test_errors_are_pages_in_the_same_look(app):
    browser = Browser(app, "installer")
    for path, status in (("/dashboard/nothing/here/at/all", 404), ("/dashboard/users/", 403)):
        answer = browser.get(path, status=status)
        assert answer.content_type == "text/html"
        assert len(answer.html.find_all("h1")) == 1
    assert Browser(app).get("/dashboard/packages/none/", status=303)
    assert browser.get("/simple/none/", status=404).content_type == "text/plain"


def test_without_dashboard_there_is_no_page_at_all(settings, tables):
    app = create_app({**settings, "DASHBOARD": False})
    nobody = webtest.TestApp(app)
    paths = ["/dashboard/", "/dashboard/login", "/user/", "/static/style.css"]
    for path in paths:
        assert nobody.get(path, status=404).content_type == "text/plain"
    nobody.post("/dashboard/login", FORM, status=404)
    assert "Python package index" in nobody.get("/").text
    app.close()


def test_our_own_files_are_kept_for_ever_under_a_link_for_each_version(app):
    nobody = webtest.TestApp(app)
    link = Browser(app).get("/dashboard/login").html.find("link", rel="stylesheet")["href"]
    answer = nobody.get(link)
    assert answer.content_type == "text/css"
    assert "immutable" in answer.headers["Cache-Control"]
    nobody.get("/static/__init__.py", status=404)
    nobody.get("/static/../app.py", status=404)


def test_below_a_prefix_all_links_and_cookies_stay_below_it(settings, tables):
    app = create_app({**settings, "URL_PREFIX": "/index"})
    browser = webtest.TestApp(app)
    answer = browser.post("/index/dashboard/login", FORM, status=303)
    assert answer.location == "http://localhost:80/index/dashboard/"
    assert "path=/index" in cookie_of(answer).lower()
    page = browser.get("/index/dashboard/")
    links = [link["href"] for link in page.html.find_all("a") if link["href"].startswith("/")]
    assert links
    assert all(link.startswith("/index/") for link in links)
    app.close()


@pytest.mark.parametrize("other", ['x={"a":1}', "a[b]=1", "foo=a b", "flag", 'x="a"b"', "x@y=1"])
def test_cookies_of_other_programs_of_the_host_are_in_nobodys_way(app, other):
    browser = Browser(app, "developer")
    ours = f"{sessions.COOKIE}={browser.cookies[sessions.COOKIE]}"
    for line in (f"{other}; {ours}", f"{ours}; {other}"):
        fresh = webtest.TestApp(app)
        assert fresh.get("/dashboard/", headers={"Cookie": line}).status_int == 200
