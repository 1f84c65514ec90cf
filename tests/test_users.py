"""Accounts in the browser: admins create, edit and delete them, but not the last admin."""

from __future__ import annotations

import pytest
from browsers import Browser, fault
from conftest import COMMAND_LINE, USERS, as_user, upload

from extrapypi import accounts
from extrapypi.auth import Actor
from extrapypi.errors import Forbidden, NotFound
from extrapypi.models import Journal, Session, Token, User

USERS_PATH = "/dashboard/users/"


def home(username: str) -> str:
    return f"{USERS_PATH}{User.named(username).id}/"


def last_line() -> Journal:
    return Journal.select().order_by(Journal.id.desc()).first()


def new_user(**changes: str) -> dict[str, str]:
    fields = {"username": "anna", "email": "anna@example.org", "role": "developer"}
    return {**fields, "password": "a long one", **changes}


def test_a_created_user_may_log_in_and_upload(app):
    answer = Browser(app, "admin").send(f"{USERS_PATH}new/", **new_user())
    assert answer.location.endswith(USERS_PATH)
    upload(as_user(app, "anna", "a long one"))
    anna = Browser(app)
    anna.log_in("anna", "a long one")
    assert (last_line().action, last_line().who) == ("upload", "anna")


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"username": ""}, "username", "1 to 128 characters"),
        ({"username": "a:b"}, "username", "has a colon"),
        ({"username": "__token__"}, "username", "begins with __"),
        ({"username": "ADMIN"}, "username", "a user ADMIN already"),
        ({"username": "x" * 129}, "username", "this one has 129"),
        ({"email": "nonsense"}, "email", "no e-mail address"),
        ({"email": "Admin@Example.org"}, "email", "already"),
        ({"role": "owner"}, "role", "none of installer"),
        ({"role": ""}, "role", "none of installer"),
        ({"password": "short"}, "password", "8 to 128 characters"),
        ({"password": "password1"}, "password", "one of the commonest"),
        ({"password": "xpypi_something"}, "password", "must not begin with"),
        ({"password": "longer-name", "username": "Longer-Name"}, "password", "not be the user"),
    ],
)
def test_what_breaks_a_rule_is_said_beside_the_field_and_kept(app, changes, field, words):
    answer = Browser(app, "admin").send(f"{USERS_PATH}new/", 400, **new_user(**changes))
    assert words in fault(answer, field)
    form = answer.forms[1]
    sent = new_user(**changes)
    assert (form["username"].value, form["email"].value) == (sent["username"], sent["email"])
    assert sent["password"] not in answer.text.replace(sent["username"], "")
    assert User.select().count() == len(USERS)


def test_control_characters_never_reach_the_database(app):
    changes = {"username": "an\x00na", "email": "an\x00na@example.org"}
    Browser(app, "admin").send(f"{USERS_PATH}new/", **new_user(**changes))
    assert User.named("anna").email == "anna@example.org"


def test_the_list_shows_who_there_is_and_sorts(app):
    accounts.create_token(COMMAND_LINE, "developer", "ci")
    revoked, _ = accounts.create_token(COMMAND_LINE, "developer", "old")
    accounts.revoke_token(COMMAND_LINE, revoked.id)
    browser = Browser(app, "admin")
    app.site.writer.flush()
    rows = browser.get(f"{USERS_PATH}?sort=role").html.select("tbody tr")
    cells = [[cell.get_text(" ", strip=True) for cell in row.select("th, td")] for row in rows]
    assert [row[0] for row in cells] == ["admin", "developer", "maintainer", "installer"]
    assert cells[1] == ["developer", "developer@example.org", "developer", "active", "never", "1"]
    assert cells[0][4] != "never"
    for sort in ("name", "email", "state", "seen", "tokens", "<script>", ""):
        assert len(browser.get(USERS_PATH, {"sort": sort}).html.select("tbody tr")) == 4


def test_role_and_address_are_edited_and_journalled(app):
    browser = Browser(app, "admin")
    form = browser.get(home("installer")).forms[1]
    form["email"], form["role"] = "new@example.org", "maintainer"
    form.submit(status=303)
    user = User.named("installer")
    assert (user.email, user.role, user.is_active) == ("new@example.org", "maintainer", True)
    assert last_line().detail == (
        "installer: e-mail new@example.org in place of installer@example.org, "
        "maintainer in place of installer"
    )
    before = Journal.select().count()
    browser.send(home("installer"), email=user.email, role=user.role, is_active="1")
    assert Journal.select().count() == before


def test_an_inactive_user_can_do_nothing_at_once(app):
    secret = accounts.create_token(COMMAND_LINE, "developer")[1]
    browser, client = Browser(app, "developer"), as_user(app, "developer", USERS["developer"])
    client.get("/simple/")
    admin = Browser(app, "admin")
    admin.send(home("developer"), email="developer@example.org", role="developer")
    client.get("/simple/", status=401)
    as_user(app, "__token__", secret).get("/simple/", status=401)
    assert "login" in browser.get("/user/", status=303).location
    admin.send(home("developer"), email="developer@example.org", role="developer", is_active="1")
    client.get("/simple/")
    assert "login" in browser.get("/user/", status=303).location  # old sessions stay ended


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"role": "developer", "is_active": "1"}, "role"), ({"role": "admin"}, "is_active")],
)
def test_the_last_active_admin_stays_one(app, fields, field):
    browser = Browser(app, "admin")
    fields = {"email": "admin@example.org", **fields}
    answer = browser.send(home("admin"), 400, **fields)
    assert "admin is the last active admin" in fault(answer, field)
    answer = browser.send(f"{home('admin')}delete/", 400, name="admin")
    assert "is the last active admin and cannot be removed" in answer.text
    accounts.edit_user(COMMAND_LINE, "developer", role="admin")
    accounts.edit_user(COMMAND_LINE, "developer", is_active=False)
    browser.send(home("admin"), 400, **fields)  # an inactive one does not count
    accounts.edit_user(COMMAND_LINE, "developer", is_active=True)
    browser.send(home("admin"), **fields)


def test_a_new_password_counts_at_once_and_ends_the_sessions(app):
    browser = Browser(app, "developer")
    admin = Browser(app, "admin")
    answer = admin.send(f"{home('developer')}password", 400, password="short")
    assert "8 to 128" in fault(answer, "password")
    admin.send(f"{home('developer')}password", password="another good one")
    assert "login" in browser.get("/user/", status=303).location
    as_user(app, "developer", USERS["developer"]).get("/simple/", status=401)
    as_user(app, "developer", "another good one").get("/simple/")
    assert not any("another good" in line.detail for line in Journal.select())


def test_ones_own_password_is_changed_only_where_the_old_one_is_asked_for(app):
    browser = Browser(app, "admin")
    answer = browser.send(f"{home('admin')}password", password="another good one")
    assert answer.location.endswith("/user/password")
    as_user(app, "admin", USERS["admin"]).get("/simple/")


def test_sessions_and_tokens_of_others_are_ended(app):
    secret = accounts.create_token(COMMAND_LINE, "developer", "ci")[1]
    browser, admin = Browser(app, "developer"), Browser(app, "admin")
    admin.send(f"{home('developer')}sessions")
    assert "login" in browser.get("/user/", status=303).location
    assert Session.select().count() == 1
    admin.send(f"{home('developer')}tokens", token=str(Token.get().id))
    as_user(app, "__token__", secret).get("/simple/", status=401)
    for number in ("", "x", "999", "-1", "²", "9" * 30):
        admin.send(f"{home('developer')}tokens", 404, token=number)


def test_deleting_asks_for_the_name_and_keeps_files_and_journal(app):
    upload(as_user(app, "developer", USERS["developer"]))
    admin, path = Browser(app, "admin"), f"{home('developer')}delete/"
    assert "1 project" in admin.get(path).text
    answer = admin.send(path, 400, name="Developer")
    assert "Type developer exactly" in fault(answer, "name")
    admin.send(path, name="developer")
    assert User.select().count() == len(USERS) - 1
    assert Journal.select().where(Journal.who == "developer").count() == 2
    as_user(app, "installer", USERS["installer"]).get("/simple/demo-pkg/")


@pytest.mark.parametrize("path", ["999/", "999999999/", "0/", "-1/", "x/", "9999999999/"])
def test_unknown_users_are_404(app, path):
    Browser(app, "admin").get(USERS_PATH + path, status=404)


def test_hostile_names_stay_text(app):
    hostile = "<script>alert(1)</script>"
    Browser(app, "admin").send(f"{USERS_PATH}new/", **new_user(username=hostile))
    browser = Browser(app, "admin")
    journal = "/dashboard/journal/"
    for path in (USERS_PATH, home(hostile), f"{home(hostile)}delete/", journal):
        text = browser.get(path).text
        assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_the_services_know_who_may_what_even_without_a_page(tables):
    user = User.named("developer")
    actor = Actor(username=user.username, role=user.role, user_id=user.id)
    token, _ = accounts.create_token(COMMAND_LINE, "installer")
    for forbidden in (
        lambda: accounts.create_user(actor, "x", "a long one", "x@example.org", "installer"),
        lambda: accounts.edit_user(actor, "developer", role="admin"),
        lambda: accounts.edit_user(actor, "developer", is_active=False),
        lambda: accounts.edit_user(actor, "installer", email="x@example.org"),
        lambda: accounts.set_password(actor, "installer", "a long one"),
        lambda: accounts.end_sessions(actor, "installer"),
        lambda: accounts.delete_user(actor, "installer"),
        lambda: accounts.create_token(actor, "installer"),
    ):
        with pytest.raises(Forbidden):
            forbidden()
    with pytest.raises(NotFound):
        accounts.revoke_token(actor, token.id)


@pytest.mark.parametrize("path", ["", "password", "sessions", "tokens", "delete/"])
def test_without_the_form_token_nothing_changes(app, path):
    fields = {"name": "developer", "password": "another good one", "role": "admin"}
    browser = Browser(app, "admin")
    browser.post(home("developer") + path, {**fields, "email": "x@y.example"}, status=403)
    browser.post(f"{USERS_PATH}new/", new_user(), status=403)
    assert User.named("developer").role == "developer"
