"""The description of the HTTP API: nothing is missing in it, and what is answered fits it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import schemathesis
from archives_made import sdist_bytes, wheel_bytes
from clients import ADMIN, DEVELOPER, INSTALLER, PASSWORDS, Index, isolated
from conftest import form_of
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.specs.openapi.checks import ignored_auth

from extrapypi.answers import error_answer
from extrapypi.app import ROUTES
from extrapypi.errors import NoRoom, TooManyFailures, Unavailable

CONFIG = Path(__file__).with_name("schemathesis.toml")
JSON = "application/vnd.pypi.simple.v1+json"
SETTINGS = """
METRICS = True
URL_PREFIX = "/our/index"
MAX_UPLOAD_SIZE = 1024**2
from extrapypi import passwords, throttling
passwords.COST = 4  # many wrong ones are checked
throttling.PER_USER = throttling.PER_ADDRESS = 10**9
"""
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def described(client) -> dict:
    """The description that a client gets."""
    return client.get("/openapi.json").json


def logged_in(role: str | None) -> list[dict]:
    """How the description says that a route needs this role."""
    return [{"password": [role]}, {"token": [role]}] if role else []


@on_sqlite
def test_every_route_is_described_with_its_role_and_nothing_else(client):
    """With or without a final slash; the metadata of files have no route of their own."""
    routes = {
        (method.lower(), re.sub(r"<(\w+)(:\w+)?>", r"{\1}", path).rstrip("/")): logged_in(role)
        for method, path, _, role in ROUTES
    }
    found = {
        (method, path.rstrip("/")): about["security"]
        for path, methods in described(client)["paths"].items()
        for method, about in methods.items()
        if not path.endswith(".metadata")
    }
    assert found == routes


@on_sqlite
def test_it_is_openapi_3_1(client):
    OpenAPIV31SpecValidator(described(client)).validate()


@on_sqlite
def test_it_has_the_url_that_the_client_asked(client):
    environ = {"SCRIPT_NAME": "", "HTTP_HOST": "pypi.example.org", "wsgi.url_scheme": "https"}
    document = client.get("/openapi.json", extra_environ=environ).json
    assert document["servers"] == [{"url": "https://pypi.example.org"}]


@on_sqlite
@pytest.mark.parametrize("anonymous", [True, False])
def test_it_says_whether_reading_needs_credentials(settings, request, anonymous):
    settings["ANONYMOUS_READ"] = anonymous
    paths = described(request.getfixturevalue("client"))["paths"]
    assert ({} in paths["/simple/"]["get"]["security"]) == anonymous
    assert {} not in paths["/simple/"]["post"]["security"]
    assert {} not in paths["/metrics"]["get"]["security"]


@on_sqlite
def test_who_has_it_already_gets_it_not_again(client):
    tag = client.get("/openapi.json").headers["ETag"]
    client.get("/openapi.json", headers={"If-None-Match": tag}, status=304)


@on_sqlite
@pytest.mark.parametrize("error", [TooManyFailures("", 300), Unavailable(), NoRoom()], ids=repr)
def test_errors_have_the_headers_that_it_says(client, error):
    _, headers, _ = error_answer(error, "GET", "")
    error_described = described(client)["components"]["responses"][str(error.status)]
    assert set(error_described["headers"]) <= set(headers)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index with all that the description's examples name, and some more."""
    index = Index(tmp_path_factory.mktemp("index"), SETTINGS)
    index.add("my-project", "0.1.0", requires_python=">=3.8", requires_dist=["six"])
    index.add("my-project", "0.1.0", sdist_bytes)
    index.add("my-project", "0.2.0")
    index.add("other")
    index.command("yank", "my-project", "0.2.0", "--reason", "It is broken.")
    index.command("status", "my-project", "deprecated", "--reason", "There is a better one.")
    index.command("status", "other", "quarantined", "--reason", "Nobody knows it.")
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


@pytest.mark.parametrize("credentials", [f"{ADMIN}:{PASSWORDS[ADMIN]}", ""], ids=[ADMIN, "nobody"])
def test_what_is_answered_is_what_is_described(index, tmp_path, credentials):
    who = ("--auth", credentials) if credentials else ()
    generated = ("--generation-deterministic", "--max-examples", "50", "--max-redirects", "0")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIG, "run"),
            *(f"{index.url}/openapi.json", *generated, "--continue-on-failure", "--no-color", *who),
        ],
        cwd=tmp_path,
        env=isolated(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 selected / 22 total" in done.stdout


def form(filename: str, body: bytes, **changes: str) -> dict:
    """What an upload sends, as requests takes it."""
    return {"data": form_of(filename, body, **changes), "files": {"content": (filename, body)}}


def header(name: str, value: str) -> dict:
    """A header, as requests takes it."""
    return {"headers": {name: value}}


NEW, LARGE = wheel_bytes("new"), {"data": bytes(1024**2)}
WHEEL = "my_project-0.1.0-py3-none-any.whl"
FILE, MINE = "/packages/{project}/{filename}", {"project": "my-project", "filename": WHEEL}
OTHER = {"project": "other", "filename": "other-1.0-py3-none-any.whl"}  # in quarantine
OF_OTHER = {"project": "other"}
RARE = [  # status, method, path, its parts, user, what else is sent
    (200, "POST", "/legacy/", {}, DEVELOPER, form(*NEW)),
    (400, "POST", "/simple/", {}, DEVELOPER, form(WHEEL, NEW[1])),
    (403, "POST", "/simple/", {}, INSTALLER, form(*NEW)),
    (410, "POST", "/legacy/", {}, DEVELOPER, form(*NEW, **{":action": "submit"})),
    (413, "POST", "/legacy/", {}, DEVELOPER, form(WHEEL, bytes(1024**2 + 1))),
    (413, "POST", "/_/oidc/{path}", {"path": "audience"}, DEVELOPER, LARGE),
    (413, "GET", "/ping", {}, INSTALLER, LARGE),
    (431, "GET", "/openapi.json", {}, INSTALLER, header("X-Long", "x" * 65536)),
    (403, "GET", "/metrics", {}, DEVELOPER, {}),
    (200, "GET", "/simple/{project}/", OF_OTHER, INSTALLER, header("Accept", JSON)),
    (200, "GET", "/pypi/{project}/json", OF_OTHER, INSTALLER, {}),
    (403, "GET", FILE, OTHER, INSTALLER, {}),
    (403, "GET", FILE, OTHER, INSTALLER, header("Accept", "application/json")),
    (206, "GET", FILE, MINE, INSTALLER, header("Range", "bytes=-10")),
    (416, "GET", FILE, MINE, INSTALLER, header("Range", "bytes=99999-")),
    (304, "GET", FILE, MINE, INSTALLER, header("If-None-Match", "*")),
]


@pytest.mark.parametrize(("status", "method", "path", "parts", "user", "sent"), RARE)
def test_what_is_not_met_by_chance_is_described_too(index, status, method, path, parts, user, sent):
    url, credentials = index.url + path.format(**parts), (user, PASSWORDS[user])
    answer = requests.request(method, url, auth=credentials, **sent)
    assert answer.status_code == status, answer.text
    operation = schemathesis.openapi.from_url(f"{index.url}/openapi.json")[path][method]
    # The credentials are good, which this check cannot know here.
    operation.Case(path_parameters=parts).validate_response(answer, excluded_checks=[ignored_auth])
