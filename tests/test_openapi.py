"""The description of the HTTP API: nothing is missing in it, and what is answered fits it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from archives_made import sdist_bytes
from clients import ADMIN, PASSWORDS, Index, isolated
from openapi_spec_validator import OpenAPIV31SpecValidator

from extrapypi.app import ROUTES

CONFIG = Path(__file__).with_name("schemathesis.toml")
QUICK = """
METRICS = True
from extrapypi import passwords, throttling
passwords.COST = 4  # many wrong ones are checked
throttling.PER_USER = throttling.PER_ADDRESS = 10**9
"""
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def described(client) -> dict:
    """The description that a client gets."""
    return client.get("/openapi.json").json


@on_sqlite
def test_every_route_is_described_and_nothing_else(client):
    """With or without a final slash; the metadata of files have no route of their own."""
    routes = {
        (method.lower(), re.sub(r"<(\w+)(:\w+)?>", r"{\1}", path).rstrip("/"))
        for method, path, *_ in ROUTES
    }
    paths = described(client)["paths"].items()
    found = {(method, path.rstrip("/")) for path, methods in paths for method in methods}
    assert {each for each in found if not each[1].endswith(".metadata")} == routes


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


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index with all that the description's examples name, and some more."""
    index = Index(tmp_path_factory.mktemp("index"), QUICK)
    index.add("my-project", "0.1.0", requires_python=">=3.8", requires_dist=["six"])
    index.add("my-project", "0.1.0", sdist_bytes)
    index.add("my-project", "0.2.0")
    index.add("other")
    index.command("yank", "my-project", "0.2.0", "--reason", "It is broken.")
    index.command("status", "my-project", "deprecated", "--reason", "There is a better one.")
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
