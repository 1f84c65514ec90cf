"""The help page: every line is for this server and this reader."""

from __future__ import annotations

import re

import pytest
from browsers import Browser
from conftest import COMMAND_LINE

from extrapypi import accounts
from extrapypi.models import ROLES

PATH = "/dashboard/help/"


@pytest.mark.parametrize("role", ROLES)
def test_it_names_the_reader_and_what_he_may(app, role):
    page = Browser(app, role).get(PATH)
    assert f"Your role is {role}: you may" in page.text.replace("\n", " ")
    assert f"export UV_INDEX_EXTRAPYPI_USERNAME={role}" in page.text
    assert ("upload in the browser" in page.text) == (role != "installer")


def test_urls_are_those_behind_the_proxy(settings, tables):
    from extrapypi.app import create_app

    app = create_app({**settings, "TRUSTED_PROXY": "127.0.0.1", "URL_PREFIX": "/index"})
    browser = Browser(app, HTTP_X_FORWARDED_PROTO="https", HTTP_X_FORWARDED_HOST="pypi.example")
    answer = browser.post(
        "/index/dashboard/login", {"username": "installer", "password": "secret of installer"}
    )
    assert answer.location == "https://pypi.example/index/dashboard/"
    token = re.search("session=([^;]+)", str(answer.headers))[1]
    browser.set_cookie("__Secure-extrapypi_session", token)
    page = browser.get("/index/dashboard/help/")
    assert "https://pypi.example/index/simple/" in page.text
    assert "machine pypi.example login installer" in page.text
    assert "--trusted-host" not in page.text
    assert "http://" not in page.text
    app.close()


def test_a_plain_host_needs_pips_option(app):
    browser = Browser(app, "installer", HTTP_HOST="pypi.lan:8000")
    assert "--trusted-host pypi.lan my-project" in browser.get(PATH).text
    assert "--trusted-host" not in Browser(app, "installer").get(PATH).text


def test_the_lines_for_pyproject_are_toml(app):
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    page = Browser(app, "installer").get(PATH)
    blocks = page.html.find_all(attrs={"data-name": "the lines for pyproject.toml"})
    uv, pdm = (tomllib.loads(block.text) for block in blocks)
    assert uv["tool"]["uv"]["index"][0]["url"] == "http://localhost:80/simple/"
    assert pdm["tool"]["pdm"]["source"][0]["include_packages"] == ["my-project"]


def test_a_name_is_quoted_inside_urls_and_harmless_in_the_page(app):
    name = "anna@<b>/x"
    accounts.create_user(COMMAND_LINE, name, "a long one", "a@example.org", "installer")
    browser = Browser(app)
    browser.log_in(name, "a long one")
    text = browser.get(PATH).text
    assert "http://anna%40%3Cb%3E%2Fx:PASSWORD@localhost:80/simple/" in text
    assert "<b>" not in text


@pytest.mark.parametrize("path", ["/dashboard/help", "/user", "/dashboard/upload"])
def test_a_forgotten_slash_is_added(app, path):
    assert Browser(app, "admin").get(path, status=301).location.endswith(f"{path}/")
