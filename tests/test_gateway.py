"""Behind a proxy and below a prefix: whom the application believes, and what its URLs are."""

from __future__ import annotations

import re

import pytest
import webtest
from conftest import USERS, as_user, upload

from extrapypi.app import create_app
from extrapypi.models import Failure, Journal

FORWARDED = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "pypi.example.org",
    "X-Forwarded-Prefix": "/mounted",
    "Forwarded": "for=203.0.113.9;host=evil.example",
}


@pytest.fixture
def behind(settings, tables):
    """A function that gives a client of an application with these settings."""
    made = []

    def client_of(**changes) -> webtest.TestApp:
        made.append(create_app({**settings, **changes}))
        return as_user(made[-1], "developer", USERS["developer"])

    yield client_of
    for app in made:
        app.close()


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.0/8", ["10.0.0.1", "127.0.0.1"], True])
def test_a_trusted_proxy_says_where_the_request_came_in(behind, trusted):
    client = behind(TRUSTED_PROXY=trusted)
    answer = client.get("/simple/demo", headers=FORWARDED)
    assert answer.headers["Location"] == "https://pypi.example.org/mounted/simple/demo/"
    upload(client, headers=FORWARDED)
    assert Journal.get(Journal.action == "upload").address == "203.0.113.7"
    page = client.get("/simple/demo-pkg/", headers=FORWARDED)
    assert page.html.find("a")["href"].startswith("/mounted/packages/demo-pkg/")
    assert 'href="/packages/' in client.get("/simple/demo-pkg/").text


@pytest.mark.parametrize("trusted", [None, "10.0.0.1", []])
def test_nobody_else_is_believed(behind, trusted):
    client = behind(TRUSTED_PROXY=trusted)
    answer = client.get("/simple/demo", headers=FORWARDED)
    assert answer.headers["Location"] == "http://localhost:80/simple/demo/"


def test_only_the_addresses_that_trusted_proxies_wrote_count(behind):
    client = behind(TRUSTED_PROXY=["127.0.0.1", "10.0.0.0/8"])
    headers = {"X-Forwarded-For": "1.1.1.1, 203.0.113.7, 10.0.0.5"}
    client.authorization = ("Basic", ("developer", "wrong"))
    client.get("/simple/", headers=headers, status=401)
    assert Failure.get().address == "203.0.113.7"


def test_with_any_peer_trusted_the_last_address_counts_not_what_the_client_wrote(behind):
    client = behind(TRUSTED_PROXY=True)
    client.authorization = ("Basic", ("developer", "wrong"))
    for number in range(10):
        headers = {"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7:4711"}
        client.get("/simple/", headers=headers, status=401)
    client.get("/simple/", headers=headers, status=429)
    assert {failure.address for failure in Failure.select()} == {"198.51.100.7"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Host", 'evil"><script>'),
        ("X-Forwarded-Prefix", "//evil.example"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-For", "not an address"),
        ("Host", "evil.example/path?"),
    ],
)
def test_what_makes_no_sense_is_ignored(behind, name, value):
    client = behind(TRUSTED_PROXY=True)
    answer = client.get("/simple/demo", headers={name: value})
    assert answer.headers["Location"].startswith(("http://localhost", "http://127.0.0.1"))
    assert "evil" not in answer.headers["Location"]


@pytest.mark.parametrize("left_by_the_proxy", ["", "/team/pypi"])
def test_a_prefix_of_the_settings_works_stripped_or_not_and_wins(behind, left_by_the_proxy):
    client = behind(URL_PREFIX="/team/pypi/", TRUSTED_PROXY=True)
    upload(client, url=left_by_the_proxy + "/legacy/")
    answer = client.get(left_by_the_proxy + "/simple/Demo_Pkg", headers=FORWARDED)
    assert answer.headers["Location"] == "https://pypi.example.org/team/pypi/simple/demo-pkg/"
    page = client.get(left_by_the_proxy + "/simple/demo-pkg/")
    assert page.html.find("a")["href"].startswith("/team/pypi/packages/demo-pkg/")
    url = client.get(left_by_the_proxy + "/pypi/demo-pkg/json").json["urls"][0]["url"]
    assert url.startswith("http://localhost:80/team/pypi/packages/")
    client.get(left_by_the_proxy + "/packages/" + url.partition("/packages/")[2])


def test_what_stands_behind_an_address_is_none_of_it(behind, log):
    """A zone may be any text: it would be another address at every guess, and a line of the log."""
    client = behind(TRUSTED_PROXY=["127.0.0.1", "fe80::/10"])
    client.authorization = ("Basic", ("developer", "wrong"))
    client.get("/simple/", headers={"X-Forwarded-For": 'fe80::1%"x 200 0'}, status=401)
    assert Failure.get().address == "127.0.0.1"
    assert "fe80" not in log.read_text()


def test_the_access_line_has_user_status_bytes_and_time(log, app):
    as_user(app, "installer", USERS["installer"]).get("/simple/", headers={"User-Agent": "pip/26"})
    line = log.read_text().splitlines()[-1]
    assert '127.0.0.1 installer "GET /simple/" 200 ' in line
    assert line.endswith('ms "pip/26"')


def test_nothing_that_a_client_sends_breaks_the_access_line(log, app):
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    client.get("/x%0aforged%22", headers={"User-Agent": 'a"b\x1b[31m'}, status=404)
    lines = log.read_text().splitlines()
    assert "forged" in lines[-1]
    assert lines[-1].count('"') == 4


def test_the_access_line_has_an_end_however_long_the_request_is(log, app):
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    client.get(f"/{'x' * 60_000}", headers={"User-Agent": "y" * 60_000}, status=404)
    assert len(log.read_text().splitlines()[-1]) < 1200


def test_a_fault_in_the_program_is_a_500_without_internals_and_logged(log, app, monkeypatch):
    monkeypatch.setattr(app.site.authenticator, "actor", None)
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    answer = client.get("/simple/", status=500)
    assert answer.text == "The server has a fault; its log says more.\n"
    assert "TypeError" in log.read_text()


def test_every_request_has_an_id_that_the_answer_and_its_access_line_have_too(
    log, settings, tables
):
    format_ = "%(request_id)s %(message)s"
    settings["LOGGING_CONFIG"]["formatters"] = {"default": {"format": format_}}
    app = create_app(settings)
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    paths = ("/ping", "/ping", "/simple/", "/nowhere", "/dashboard/")
    ids = [client.get(path, status="*").headers["X-Request-ID"] for path in paths]
    assert len(set(ids)) == len(paths)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ids
    app.close()


@pytest.mark.parametrize("given", ["a" * 128, "01JD-x.y_z:7/8+9=~"])
def test_a_trusted_proxy_may_give_the_id(behind, given):
    client = behind(TRUSTED_PROXY="127.0.0.1")
    assert client.get("/ping", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["a" * 129, "", 'a"b', "a b", "a, b", "\u00e9"])
def test_an_id_that_is_none_is_replaced(behind, given):
    client = behind(TRUSTED_PROXY="127.0.0.1")
    answer = client.get("/ping", headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_nobody_else_gives_the_id(behind):
    answer = behind().get("/ping", headers={"X-Request-ID": "mine"})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])
