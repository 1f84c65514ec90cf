"""Who gets in: passwords, tokens, roles, throttling, and what an answer gives away."""

from __future__ import annotations

import base64

import pytest
from archives_made import wheel_bytes
from conftest import COMMAND_LINE, USERS, as_user, upload

from extrapypi import accounts, passwords
from extrapypi.database import utcnow
from extrapypi.errors import InvalidInput
from extrapypi.models import TABLES, Journal, Token, User


def token(**options) -> str:
    """The secret of a new token of the developer."""
    return accounts.create_token(COMMAND_LINE, options.pop("user", "developer"), **options)[1]


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic %%%",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"installer:wrong").decode(),
        "Basic " + base64.b64encode(b"nobody:secret of installer").decode(),
        "Basic " + base64.b64encode(b"in\0staller:x").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"u" * 5000 + b":x").decode(),
        "Basic " + base64.b64encode(("\u0390" * 255 + ":x").encode()).decode(),
        "Bearer",
        "Bearer nonsense",
        "Digest username=x",
        "nonsense",
    ],
)
def test_credentials_that_are_wrong_or_malformed_are_401(client, header):
    client.get("/simple/", headers={"Authorization": header}, status=401)


@pytest.mark.parametrize("name", ["installer", "INSTALLER"])
def test_user_names_are_found_in_any_case(app, name):
    as_user(app, name, USERS["installer"]).get("/simple/")


@pytest.mark.parametrize(
    "password", ["with:colon%20", "pässwörd €", "x" * 128, "é" * 72, "tab\tnul\0"]
)
def test_passwords_of_any_characters_work_in_basic(app, password):
    accounts.create_user(COMMAND_LINE, "anna", password, "anna@example.org", "installer")
    header = "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()
    as_user(app, "", "").get("/simple/", headers={"Authorization": header})
    wrong = base64.b64encode(f"anna:{password[:-1]}".encode()).decode()
    as_user(app, "", "").get("/simple/", headers={"Authorization": "Basic " + wrong}, status=401)


def test_a_changed_password_counts_at_once(as_role, app):
    as_role("installer").get("/simple/")
    accounts.set_password(COMMAND_LINE, "installer", "another secret")
    as_role("installer").get("/simple/", status=401)
    as_user(app, "installer", "another secret").get("/simple/")


def test_an_inactive_user_is_shut_out_at_once_with_password_and_token(as_role, app):
    secret = token()
    as_role("developer").get("/simple/")
    User.update(is_active=False).where(User.username == "developer").execute()
    as_role("developer").get("/simple/", status=401)
    as_user(app, "__token__", secret).get("/simple/", status=401)
    upload(as_role("developer"), status=401)


@pytest.mark.parametrize("username", ["__token__", "developer", "anything"])
def test_a_token_is_the_password_of_any_user_name(app, username):
    upload(as_user(app, username, token()))
    assert Journal.get(Journal.action == "upload").token == "token"


def test_a_token_works_as_bearer(client):
    client.get("/simple/", headers={"Authorization": f"Bearer {token()}"})


def test_a_read_token_reads_only(app):
    client = as_user(app, "__token__", token(scope="read"))
    client.get("/simple/")
    assert "for reading only" in upload(client, status=403).status


def test_a_token_for_one_project_publishes_only_that(app):
    client = as_user(app, "__token__", token(packages=["Demo_Pkg"]))
    upload(client)
    answer = upload(client, *wheel_bytes(name="other"), status=403)
    assert "not for the project other" in answer.status


def test_a_token_gives_no_more_than_its_owner_has_now(app):
    client = as_user(app, "__token__", token(user="admin"))
    upload(client)
    User.update(role="installer").where(User.username == "admin").execute()
    upload(client, *wheel_bytes(version="2.0"), status=403)


def test_revoked_and_expired_tokens_are_401(app):
    secret = token(days=1)
    client = as_user(app, "__token__", secret)
    client.get("/simple/")
    Token.update(expires_at=utcnow()).execute()
    client.get("/simple/", status=401)
    Token.update(expires_at=None).execute()
    client.get("/simple/")
    accounts.revoke_token(COMMAND_LINE, Token.get().id)
    client.get("/simple/", status=401)


def test_the_secret_of_a_token_is_kept_nowhere(app):
    secret = token()
    assert secret.startswith("xpypi_")
    for table in TABLES:
        assert secret not in str(list(table.select().dicts()))


def test_a_token_as_user_name_is_a_token_and_not_logged(app, log):
    secret = token()
    as_user(app, secret, "").get("/simple/")
    as_user(app, secret[:-1], "x-oauth-basic").get("/simple/", status=401)
    assert secret[:20].casefold() not in log.read_text().casefold()


def test_the_last_use_of_user_and_token_is_written_in_the_end(app):
    as_user(app, "__token__", token(), REMOTE_ADDR="10.1.2.3").get("/simple/")
    app.site.writer.flush()
    assert Token.get().last_used_from == "10.1.2.3"
    assert Token.get().last_used_at is not None
    assert User.named("developer").last_login_at is not None


def test_neither_passwords_nor_tokens_reach_the_log(log, app):
    secret = token()
    as_user(app, "installer", "a wrong password").get("/simple/?key=in-the-query", status=401)
    as_user(app, "__token__", secret).get("/simple/")
    as_user(app, "__token__", "xpypi_wrong").get("/simple/", status=401)
    logged = log.read_text()
    assert "installer" in logged
    for word in ("a wrong password", secret, "xpypi_", "in-the-query", "Basic "):
        assert word not in logged


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("anna", "short"),
        ("anna", "x" * 129),
        ("anna-maria", "Anna-Maria"),
        ("anna", "password123"),
        ("anna", "xpypi_like-a-token"),
        ("an:na", "good enough"),
        ("__anna", "good enough"),
        ("", "good enough"),
        ("a" * 129, "good enough"),
        ("an\nna", "good enough"),
        (" anna", "good enough"),
        ("ΐ" * 100, "good enough"),  # three times as long without its case
        ("INSTALLER", "good enough"),
    ],
)
def test_bad_names_and_passwords_are_refused_with_the_rule(tables, username, password):
    with pytest.raises(InvalidInput) as caught:
        accounts.create_user(COMMAND_LINE, username, password, "anna@example.org", "installer")
    assert password not in str(caught.value)
    assert User.select().count() == 4


@pytest.mark.parametrize("email", ["", "x", "a@b@c", "a b@c", "INSTALLER@example.org", "a\n@b"])
def test_bad_and_taken_addresses_are_refused(tables, email):
    with pytest.raises(InvalidInput):
        accounts.create_user(COMMAND_LINE, "anna", "good enough", email, "installer")


def test_the_last_admin_stays(tables):
    with pytest.raises(InvalidInput, match="last active admin"):
        accounts.delete_user(COMMAND_LINE, "admin")
    accounts.create_user(COMMAND_LINE, "anna", "good enough", "anna@example.org", "admin")
    accounts.delete_user(COMMAND_LINE, "admin")


def test_deleting_a_user_keeps_what_they_did(as_role, app):
    upload(as_role("developer"))
    accounts.delete_user(COMMAND_LINE, "developer")
    from extrapypi.models import File

    assert File.get().uploaded_by is None
    assert Journal.get(Journal.action == "upload").who == "developer"


def test_a_long_password_is_not_cut_off():
    long = "x" * 72
    assert not passwords.matches(long + "b", passwords.hashed(long + "a"))
    assert passwords.matches(long + "a", passwords.hashed(long + "a"))
