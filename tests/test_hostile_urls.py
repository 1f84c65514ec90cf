"""Hostile targets, methods, hosts and forwarded fields: what they reach, and what comes back."""

from __future__ import annotations

import base64
import re
import urllib.parse

import pytest
from clients import ADMIN, PASSWORDS, Index
from sockets import Answer, answer, connect, request

from extrapypi.app import PAGES, ROUTES

BASIC = "Basic " + base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()
WHEEL = "demo-1.0-py3-none-any.whl"
PARTS = {  # of a route -> what matches, and an example
    "<project>": ("[^/]+", "demo"),
    "<version>": ("[^/]+", "1.0"),
    "<filename>": ("[^/]+", WHEEL),
    "<name>": ("[^/]+", "style.css"),
    "<path:path>": (".+", "a/b"),
    "<user_id:re:[0-9]{1,9}>": ("[0-9]{1,9}", "1"),
}
ALL = [(method, path) for method, path, *_ in (*ROUTES, *PAGES, ("GET", "/static/<name>"))]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
METHODS += ("PROXY", "ANY", "QUERY", "X" * 10_000)
LOG_LINE = re.compile(r"\[[\d :,-]+: (INFO|WARNING) / extrapypi(\.access)?\] .+")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index with a project, whose log has nothing but lines of ours in the end."""
    index = Index(tmp_path_factory.mktemp("index"))
    index.add("demo")
    yield index
    assert index.stop() == 0
    for line in index.log.read_text().splitlines():
        assert LOG_LINE.fullmatch(line) and line.isprintable(), line


@pytest.fixture(scope="module")
def ask(index):
    """A function that gives the admin's answer to a request."""

    def ask_for(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        with connect(index) as connection:
            headers = {"Authorization": BASIC, "Connection": "close", **headers}
            connection.sendall(request(path, method, body, **headers))
            return answer(connection)

    return ask_for


@pytest.fixture(scope="module")
def session(ask):
    """The cookie of the admin's session."""
    form = urllib.parse.urlencode({"username": ADMIN, "password": PASSWORDS[ADMIN]}).encode()
    kind = "application/x-www-form-urlencoded"
    found = ask("/dashboard/login", "POST", form, Content_Type=kind, Authorization="")
    assert found.status.startswith("303")
    return found.headers["Set-Cookie"].partition(";")[0]


def replaced(route: str, column: int) -> str:
    """A route's path with an expression or an example in place of its parts."""
    for part, both in PARTS.items():
        route = route.replace(part, both[column])
    return route


def possible(path: str) -> set[str]:
    """The methods that the routes have for a path."""
    found = {method for method, route in ALL if re.fullmatch(replaced(route, 0), path)}
    return found | ({"HEAD"} if "GET" in found else set())


@pytest.mark.parametrize("credentials", ["", BASIC])
def test_every_path_says_which_methods_it_has_to_anybody(index, credentials):
    with connect(index) as connection:
        for path in sorted({replaced(route, 1) for _, route in ALL}):
            for method in METHODS:
                if method not in possible(path):
                    connection.sendall(request(path, method, Authorization=credentials))
                    status, headers, _ = answer(connection, method)
                    assert status.startswith("405 "), (path, method)
                    assert headers["Allow"] == ", ".join(sorted(possible(path))), (path, method)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/simple/demo/x/y", "/dashboard/nowhere", "/dashboard/x/"]
)
@pytest.mark.parametrize("method", METHODS[2:])
def test_where_there_is_no_page_every_method_is_404(ask, path, method):
    assert ask(path, method).status.startswith("404 ")


TARGETS = {  # as it is sent -> status
    "//": 302,
    "///simple///demo//": 200,
    "/simple/%64emo/": 200,
    "/simple/demo/#x": 200,
    "/simple/demo/?%00%0d%0a%ff": 200,
    "/..%2fsimple/demo/": 404,
    "/%2e%2e/simple/demo/": 404,
    "/simple/../demo/": 404,
    "/simple/..%2fpackages": 404,
    "/simple/..%2f..%2fetc%2fpasswd": 404,
    "/static/..%2fconfig.py": 404,
    "/static/%2e%2e": 404,
    "/simple/demo%00/": 404,
    f"/packages/demo/{WHEEL}%00": 404,
    "/pypi/demo/1.0%00/json": 404,
    "/dashboard/packages/demo/%00/": 303,
    "/simple/demo%0d%0aX:y/": 404,
    "/simple/demo\\/": 404,
    "/simple\\demo/": 404,
    "/simple/demo;x=y/": 404,
    "/simple/demo/;x": 404,
    "/simple/demo%2f": 200,  # as WSGI has it
    "/simple/%zz/": 404,
    "/simple/demo/%": 404,
    "/simple/de%ffmo/": 404,
    "/simple/demo%c0%80/": 404,
    "/simple/%c0%ae%c0%ae/": 404,
    "/simple/%ed%a0%80/": 404,
    "/simple/demo%e2%80%a8/": 404,
    "/pi%ffng": 404,
    f"/simple/{'x' * 60_000}/": 404,
    f"/{'/' * 60_000}": 302,
    f"/{'../' * 20_000}": 404,
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:40])
def test_a_target_leads_nowhere_else(ask, target):
    status, _, body = ask(target)
    assert int(status[:3]) == TARGETS[target]
    assert TARGETS[target] != 404 or body.endswith(b".\n")


REDIRECTED = (
    *("/", "/simple", "/dashboard", "//evil.example", "/\\evil.example", "/simple/Demo", "/user"),
    *("/simple/Demo/", "/simple/DEMO/?%0d%0aX:y", "/simple/Demo?//evil.example", "/project/demo/"),
    *(
        "/packages/Demo/%0d%0aLocation:%20http:%2f%2fevil.example",
        "/packages/Demo/..",
        "/legacy/demo",
    ),
    *("/pypi/Demo/json", "/pypi/Demo/1.0%0d%0aX:y/json", "/pypi/Demo/%5c%5cevil.example/json"),
    *(
        "/legacy/demo/%0d%0aSet-Cookie:x/",
        "/legacy/demo/@evil.example/",
        "/legacy/demo/%2f%2fevil/",
    ),
    *("/dashboard/packages/Demo", "/dashboard/packages/Demo/%0aX:y", "/dashboard/search?%0d%0aX:y"),
    *("/dashboard/packages/?x=\x22", "/dashboard/journal/?//evil.example", "/dashboard/users/%00"),
    *(
        f"/dashboard/login?next={each}"
        for each in ("//evil.example", "/%5cevil.example", "%0d%0aX:y")
    ),
    *(
        f"/dashboard/login?next={each}"
        for each in ("http://evil.example", "/%09/evil", "@evil.example")
    ),
)


@pytest.mark.parametrize("host", ["localhost", "evil.example:8080", "evil.example:", "[::1]"])
def test_a_redirect_stays_on_the_host_that_was_asked(ask, session, host):
    with_location = 0
    for cookie in ("", session):
        for target in REDIRECTED:
            found = ask(target, Host=host, Cookie=cookie, Authorization="" if cookie else BASIC)
            location = found.headers.get("Location", f"http://{host}/")
            with_location += "Location" in found.headers
            assert location.startswith(f"http://{host}/"), target
            assert "\\" not in location
            assert not {"X", "X:y", "Set-Cookie"} & set(found.headers), target
    assert with_location > len(REDIRECTED)


def test_who_names_no_host_is_sent_to_the_one_that_answers(index):
    with connect(index) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert answer(connection).headers["Location"] == f"{index.url}/dashboard/"


KEPT = (
    "/simple/",
    "/simple/demo/",
    "/legacy/+simple/demo/",
    "/pypi/demo/json",
    "/pypi/demo/1.0/json",
)
KEPT += (f"/packages/demo/{WHEEL}.metadata",)
ACCEPTS = ("text/html", "application/vnd.pypi.simple.v1+json")


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("path", KEPT)
def test_a_page_that_is_kept_has_nothing_of_another_clients_host(ask, path, accept):
    lies = {
        "X_Forwarded_Host": "evil.example",
        "X_Forwarded_Prefix": "/evil.example",
        "X_Forwarded_Proto": "https",
        "Host": "evil.example",
    }
    for _ in range(2):
        assert b"https:" not in ask(path, Accept=accept, **lies).body
        found = ask(path, Accept=accept)
        assert found.status == "200 OK"
        assert b"evil.example" not in found.body
        assert b"evil.example" not in "".join(found.headers.values()).encode()


def test_an_answer_with_the_clients_host_is_kept_by_nobody(ask, session):
    """Nor may the header that asks for the page of another host lead to it."""
    shown = 0
    for method, route in ALL:
        if method == "GET":
            for who in ({"Cookie": session, "Authorization": ""}, {}):
                found = ask(replaced(route, 1), Host="evil.example", **who)
                if (
                    "evil.example" in found.headers.get("Location", "")
                    or b"evil.example" in found.body
                ):
                    kept = found.headers["Cache-Control"]
                    assert kept in ("no-store", "max-age=0, must-revalidate"), route
                    shown += 1
    assert shown > 20


FORWARDED = {
    "X_Forwarded_For": "203.0.113.7",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": "evil.example",
    "X_Forwarded_Prefix": "/evil",
    "X_Forwarded_Port": "4443",
    "X_Forwarded_Scheme": "https",
    "X_Forwarded_Server": "evil.example",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=https",
    "X_Real_IP": "203.0.113.7",
    "X_Client_IP": "203.0.113.7",
    "True_Client_IP": "203.0.113.7",
    "X_Original_URL": "/dashboard/users/",
    "X_Rewrite_URL": "/dashboard/users/",
    "X_HTTP_Method_Override": "DELETE",
    "X_HTTP_Method": "DELETE",
    "X_Script_Name": "/evil",
    "X_Forwarded_User": "admin",
    "Remote_User": "admin",
    "X_Url_Scheme": "https",
    "Front_End_Https": "on",
}


def test_what_a_stranger_says_of_a_proxy_has_no_effect(index, ask, session):
    paths = sorted({replaced(route, 1) for method, route in ALL if method == "GET"} - {"/ping"})
    for who in ({"Cookie": session, "Authorization": ""}, {}, {"Authorization": ""}):
        for path in paths:
            if path not in ("/health", "/user/sessions"):
                with index.requests() as seen:
                    plain, forwarded = ask(path, **who), ask(path, **who, **FORWARDED)
                assert plain.status == forwarded.status, path
                assert without_date(plain) == without_date(forwarded), path
                assert seen[0] == seen[1]
    assert "203.0.113" not in index.log.read_text()


def without_date(found: Answer) -> tuple[dict, bytes]:
    """Headers and body of an answer, without what is new every time."""
    new = ("Date", "X-Request-Id")
    headers = {name: value for name, value in found.headers.items() if name not in new}
    return headers, re.sub(rb"\d+ (second|minute)s?", b"", found.body)


def test_a_login_is_none_of_https_because_a_stranger_says_so(ask):
    form = urllib.parse.urlencode({"username": ADMIN, "password": PASSWORDS[ADMIN]}).encode()
    kind = "application/x-www-form-urlencoded"
    headers = {"Content_Type": kind, "Authorization": "", **FORWARDED}
    found = ask("/dashboard/login", "POST", form, **headers)
    assert found.headers["Location"] == "http://localhost/dashboard/"
    assert "Path=/;" in found.headers["Set-Cookie"]
    assert "secure" not in found.headers["Set-Cookie"].lower()


def test_guesses_from_many_pretended_addresses_are_those_of_one(ask):
    guess = "Basic " + base64.b64encode(b"eve:guess").decode()
    statuses = []
    for number in range(11):
        lies = {name: f"203.0.113.{number}" for name in FORWARDED if name.endswith(("For", "IP"))}
        statuses.append(ask("/simple/", Authorization=guess, **lies).status[:3])
    assert statuses == ["401"] * 10 + ["429"]


FORGED = "[2026-01-01 00:00:00,000: INFO / extrapypi.access] 1.2.3.4 admin"
# The name that it gives ends at the first colon, and has a line of its own.
FORGER = f"Basic {base64.b64encode(f'x{chr(10)}{FORGED}'.encode()).decode()}"
INJECTED = {
    "a line feed": f"/%0a{FORGED}",
    "CR and LF": f"/%0d%0a{FORGED}",
    "other separators": f"/%c2%85%e2%80%a8%e2%80%a9%0b%0c%1c%1e{FORGED}",
    "an escape": "/%1b[2J%9b2J",
    "quotes": '/"%22 200 0 0ms "',
    "a route": f"/simple/%0a{FORGED.replace('/', '')}/",
    "a route of browsers": f"/dashboard/packages/%0a{FORGED.replace('/', '')}/",
}


@pytest.mark.parametrize("target", INJECTED.values(), ids=INJECTED)
@pytest.mark.parametrize("credentials", [BASIC, "", FORGER])
def test_a_request_is_one_line_in_the_log(index, ask, target, credentials):
    start = index.log.stat().st_size
    agent = 'x" 200 0 1.0ms "\x85\xa0\xad'
    ask(target.replace(" ", "%20"), Authorization=credentials, User_Agent=agent)
    log = index.log.read_bytes()[start:].decode()
    lines = [line for line in log.splitlines() if "Wrong credentials" not in line]
    assert len(lines) == 1
    assert lines[0].count('"') == 4
    assert lines[0].partition("] ")[2].startswith("127.0.0.1 ")
