"""Logging in and out in a browser, and what a session is worth."""

from __future__ import annotations

import pytest
import webtest
from conftest import USERS

from extrapypi.models import Session


@pytest.fixture
def browser(app):
    return webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def log_in(browser, role="developer", **fields):
    form = {"username": role, "password": USERS[role], **fields}
    return browser.post("/dashboard/login", form)


def test_who_logs_in_goes_back_to_where_he_wanted(browser):
    answer = browser.get("/dashboard/logout")
    assert answer.location.endswith("/dashboard/login?next=%2Fdashboard%2Flogout")
    form = answer.follow().form
    form["username"], form["password"] = "developer", USERS["developer"]
    assert form.submit().location.endswith("/dashboard/logout")
    assert Session.select().count() == 1


def test_logging_out_ends_the_session(browser):
    log_in(browser)
    page = browser.get("/dashboard/logout")
    page.forms[1].submit()
    assert Session.select().count() == 0
    assert "login" in browser.get("/dashboard/logout").location
