"""Guessing passwords and tokens: how often, from where, and what the answers give away."""

from __future__ import annotations

import itertools
import re

import bcrypt
import pytest
import webtest
from browsers import Browser
from conftest import COMMAND_LINE, USERS, as_user, at_once
from queries import asked
from test_from2018 import HASH_OF_PIP

from extrapypi import accounts, passwords
from extrapypi.app import create_app
from extrapypi.database import utcnow
from extrapypi.models import Failure, User
from extrapypi.throttling import PER_ADDRESS, PER_USER, neighbourhood

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
NAME, RIGHT = "installer", USERS["installer"]


def by_basic(app, password: str, address: str) -> webtest.TestResponse:
    """The answer to a program that gives this password."""
    return as_user(app, NAME, password, REMOTE_ADDR=address).get("/simple/", status="*")


def by_token(app, password: str, address: str) -> webtest.TestResponse:
    """The answer to a program that gives this as a token; the right one is made when it is due."""
    secret = accounts.create_token(COMMAND_LINE, NAME)[1] if password == RIGHT else "xpypi_wrong"
    return as_user(app, "__token__", secret, REMOTE_ADDR=address).get("/simple/", status="*")


def by_login(app, password: str, address: str) -> webtest.TestResponse:
    """The answer to the form of the login page."""
    form = {"username": NAME, "password": password}
    return Browser(app, REMOTE_ADDR=address).post("/dashboard/login", form, status="*")


def by_form(app, password: str, address: str) -> webtest.TestResponse:
    """The answer to the form that asks for the password once more, inside a session."""
    browser = Browser(app, REMOTE_ADDR="203.0.113.9")
    browser.log_in(NAME)
    browser.extra_environ["REMOTE_ADDR"] = address
    fields = {"form_token": browser.form_token, "password": password, "new": RIGHT, "again": RIGHT}
    return browser.post("/user/password", fields, status="*")


DOORS = {"Basic": by_basic, "a token": by_token, "the login": by_login, "a form": by_form}


@pytest.mark.parametrize("door", DOORS)
def test_after_ten_failures_a_door_is_shut_for_that_address_only(app, door):
    for _ in range(PER_USER):
        assert DOORS[door](app, "a wrong one", HERE).status_int in (400, 401)
    answer = DOORS[door](app, "a wrong one", HERE)
    assert (answer.status_int, answer.headers["Retry-After"]) == (429, "300")
    is_shut = DOORS[door](app, RIGHT, HERE).status_int == 429
    assert is_shut == (door != "a token")  # which nobody can guess, so that it is always taken
    assert DOORS[door](app, RIGHT, ELSEWHERE).status_int in (200, 303)


@on_sqlite
def test_the_doors_for_passwords_share_one_count(app):
    doors = [by_basic, by_login, by_form]
    for _, door in zip(range(PER_USER), itertools.cycle(doors), strict=False):
        assert door(app, "a wrong one", HERE).status_int in (400, 401)
    assert {door(app, RIGHT, HERE).status_int for door in doors} == {429}


def test_a_hundred_failures_shut_the_doors_for_an_address(app):
    for number in range(PER_ADDRESS):
        as_user(app, f"guess{number}", "wrong").get("/simple/", status=401)
    as_user(app, "maintainer", USERS["maintainer"]).get("/simple/", status=429)


def test_old_failures_are_forgotten(app):
    past = utcnow().replace(year=2020)
    row = {"address": "127.0.0.1", "username": NAME, "at": past}
    Failure.insert_many([row] * 2 * PER_USER).execute()
    as_user(app, NAME, "wrong").get("/simple/", status=401)
    assert Failure.select().count() == 1


@on_sqlite
@pytest.mark.parametrize("trusted", [None, "10.0.0.1"])
def test_who_lies_about_his_address_is_counted_all_the_same(settings, tables, trusted):
    app = create_app({**settings, "TRUSTED_PROXY": trusted})
    client = as_user(app, NAME, "a wrong one", REMOTE_ADDR=HERE)
    statuses = []
    for number in range(PER_USER + 1):
        lie = f"10.9.8.{number}"
        names = ("X-Forwarded-For", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP")
        headers = {**dict.fromkeys(names, lie), "Forwarded": f"for={lie}"}
        statuses.append(client.get("/simple/", headers=headers, status="*").status_int)
    assert statuses == [401] * PER_USER + [429]
    app.close()


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_failures_count_for_an_address_of_ipv4_and_a_network_of_ipv6(address, counted):
    assert neighbourhood(address) == counted


@on_sqlite
def test_who_has_a_whole_network_of_ipv6_has_no_more_guesses(app):
    for number in range(PER_USER):
        assert by_basic(app, "a wrong one", f"2001:db8:1:2:{number}::1").status_int == 401
    assert by_login(app, RIGHT, "2001:db8:1:2:ffff::2").status_int == 429
    assert by_login(app, RIGHT, "2001:db8:1:3::2").status_int == 303


@on_sqlite
def test_nobody_finds_a_password_that_is_in_use_by_trying_on_while_he_is_refused(app):
    assert by_basic(app, RIGHT, ELSEWHERE).status_int == 200  # from now on it needs no check
    for _ in range(PER_USER):
        by_basic(app, "a wrong one", HERE)
    for _ in range(PER_ADDRESS):
        assert by_basic(app, RIGHT, HERE).status_int == 200  # no stranger locks anybody out
        assert by_basic(app, "a wrong one", HERE).status_int == 429
    assert by_basic(app, RIGHT, HERE).status_int == 429  # unless he goes on and on
    assert by_basic(app, RIGHT, ELSEWHERE).status_int == 200
    assert by_token(app, RIGHT, HERE).status_int == 200
    maintainer = as_user(app, "maintainer", USERS["maintainer"], REMOTE_ADDR=HERE)
    maintainer.get("/simple/")
    Failure.delete().execute()  # as it is five minutes later
    assert by_basic(app, RIGHT, HERE).status_int == 200
    assert by_basic(app, RIGHT, HERE).status_int == 200


def test_guesses_at_once_are_no_more_than_the_limit_and_one_for_each_thread(app):
    threads, statuses = 4, []

    def guess(number: int) -> None:
        client = as_user(app, NAME, f"wrong {number}", REMOTE_ADDR=HERE)
        statuses.extend(client.get("/simple/", status="*").status_int for _ in range(10))

    at_once(threads, guess)
    assert set(statuses) == {401, 429}
    assert statuses.count(401) < PER_USER + threads
    assert Failure.select().count() == statuses.count(401)


FAILURES = {  # what is wrong -> user name and password
    "the password": (NAME, "a wrong one"),
    "the password, in capitals": (NAME.upper(), "a wrong one"),
    "the name": ("nobody", RIGHT),
    "no name": ("", RIGHT),
    "an impossible name": ("in\0staller", "a wrong one"),
    "white space": (f" {NAME}", "a wrong one"),
    "a very long name": ("x" * 3000, RIGHT),
    "an inactive user's password": ("off", "a wrong one"),
    "nothing but that the user is inactive": ("off", "a long secret"),
    "an imported user's password": ("old", "a wrong one"),
}


@pytest.mark.parametrize("path", ["/simple/", "/dashboard/login"])
def test_whatever_is_wrong_costs_the_same(app, monkeypatch, path):
    accounts.create_user(COMMAND_LINE, "off", "a long secret", "off@x.org", "admin")
    accounts.edit_user(COMMAND_LINE, "off", is_active=False)
    accounts.create_user(COMMAND_LINE, "old", "a long secret", "old@x.org", "admin")
    User.update(password_hash=HASH_OF_PIP).where(User.username == "old").execute()
    checked: list[bytes] = []
    check, check_old = bcrypt.checkpw, passwords.matches_sha_crypt

    def noted(password: str, password_hash: str) -> bool:
        checked.append(password_hash.encode())
        return check_old(password, password_hash)

    monkeypatch.setattr(bcrypt, "checkpw", lambda *two: checked.append(two[1]) or check(*two))
    monkeypatch.setattr(passwords, "matches_sha_crypt", noted)
    monkeypatch.setattr(bcrypt, "hashpw", lambda *_: pytest.fail("A new hash costs as much more."))
    costs, answers = {}, set()
    for number, (what, (name, password)) in enumerate(FAILURES.items()):
        address = f"10.0.0.{number}"

        def guess(name=name, password=password, address=address):
            if path == "/simple/":
                client = as_user(app, name, password, REMOTE_ADDR=address)
                answer = client.get(path, status=401)
            else:
                form = {"username": name, "password": password}
                client = Browser(app, REMOTE_ADDR=address)
                answer = client.post(path, form, status=401)
            answers.add((answer.status, re.sub(r'value="[^"]*"', "", answer.text)))

        checked.clear()
        statements = [sql for sql, _ in asked(monkeypatch, guess)]
        costs[what] = statements, sorted(each[:7] for each in checked)
    first, *others = costs.values()
    assert first[1] == [b"$2b$04$", HASH_OF_PIP[:7].encode()]
    assert others == [first] * len(others), costs
    assert len(answers) == 1


@on_sqlite
def test_who_is_refused_costs_no_check(app, monkeypatch):
    for _ in range(PER_USER):
        by_login(app, "a wrong one", HERE)
    monkeypatch.setattr(passwords, "matches", lambda *_: pytest.fail("A check was made."))
    for door in (by_basic, by_login):
        assert door(app, "a wrong one", HERE).status_int == 429


@on_sqlite
@pytest.mark.parametrize("name", ["my p@ssword, in the wrong field", "xpypi_a-real-token"])
def test_what_is_typed_in_place_of_a_name_is_kept_nowhere(app, log, name):
    form = {"username": name, "password": "x"}
    for _ in range(PER_USER):
        Browser(app).post("/dashboard/login", form, status=401)
    Browser(app).post("/dashboard/login", form, status=429)
    as_user(app, name, "x").get("/simple/", status="4*")
    assert "Wrong credentials for an unknown user from 127.0.0.1" in log.read_text()
    kept = log.read_text() + str(list(Failure.select().dicts()))
    assert name.casefold() not in kept.casefold()


@on_sqlite
def test_a_name_that_could_be_a_token_is_given_to_nobody(tables):
    with pytest.raises(accounts.InvalidInput, match="begins with xpypi_"):
        accounts.create_user(COMMAND_LINE, "xpypi_anna", "a long one", "a@x.org", "installer")
