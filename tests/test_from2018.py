"""Taking over the accounts and maintainers of extrapypi 0.4, on each kind of database."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import datetime, timezone

import pytest
from archives_made import wheel_bytes
from conftest import COMMAND_LINE, as_user, at_once, upload

from extrapypi import accounts, engines, from2018, passwords
from extrapypi.app import create_app
from extrapypi.commandline import main
from extrapypi.errors import ConfigError, InvalidInput, NotLoggedIn, Unavailable
from extrapypi.models import Journal, Package, User

# Made by passlib 1.7.4 as extrapypi 0.4 did it: passlib.apps.custom_app_context.hash(...).
SECRET = "the secret of 2018"
HASH = (
    "$6$rounds=656000$Uf5SlVTofE.BUQZo$4hPq7ghY8x3/RV0Uzdlezuo9w2ah5RKcCe48mx58QOPI1zu/"
    "qlIi8NbeUjl3XccLcT2Agaoam3PZs15QTCFTW/"
)
HASH_OF_PIP = (  # of the password pip, with few rounds
    "$6$0PyvF.d3sv/kEWYY$dB6bIXIL8CZQ10Ks5JWaAUM6Apv3xo7SviVfW9wE"
    "fpkyyAVHWZ5e4A5AblbC1G2TWu1yChcrplLUMCQD72jji/"
)
THEN = "2018-01-02 18:22:09.074471"
TABLES = {  # as SQLAlchemy made them: (key, boolean, time)
    "sqlite": ("INTEGER NOT NULL", "BOOLEAN CHECK (is_active IN (0, 1))", "DATETIME"),
    "postgresql": ("SERIAL NOT NULL", "BOOLEAN", "TIMESTAMP WITHOUT TIME ZONE"),
    "mysql": ("INTEGER NOT NULL AUTO_INCREMENT", "BOOL", "DATETIME"),
}
DDL = """
CREATE TABLE {quote}user{quote} (
    id {key}, username VARCHAR(255) NOT NULL, email VARCHAR(255) NOT NULL,
    password_hash VARCHAR(255) NOT NULL, is_active {boolean}, role VARCHAR(80),
    PRIMARY KEY (id), UNIQUE (username), UNIQUE (email));
CREATE TABLE package (
    id {key}, name VARCHAR(255) NOT NULL, summary VARCHAR(255), created_at {time},
    updated_at {time}, PRIMARY KEY (id), UNIQUE (name));
CREATE TABLE package_maintainers (
    package_id INTEGER, user_id INTEGER,
    FOREIGN KEY(package_id) REFERENCES package (id),
    FOREIGN KEY(user_id) REFERENCES {quote}user{quote} (id));
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)
"""
USERS = (  # id, username, email, hash, is_active, role
    (1, "anna", "anna@example.com", HASH, True, "developer"),
    (2, "Bob", "bob@example.com", HASH, False, "maintainer"),
    (3, "pip", "pip@email.com", HASH_OF_PIP, True, "installer"),
    (4, "nobody", "nobody@example.com", HASH, None, None),
    (5, "Developer", "else@example.com", HASH, True, "developer"),  # the name is taken here
    (6, "other", "ADMIN@example.org", HASH, True, "developer"),  # the address is taken here
    (7, "a:b", "ab@example.com", HASH, True, "developer"),
    (8, "carl", "none", HASH, True, "developer"),
    (9, "dora", "dora@example.com", "$1$abc$def", True, "developer"),
    (10, "emil", "emil@example.com", HASH.replace("656000", "999999999"), True, "developer"),
)
PACKAGES = ((1, "Demo.Pkg", THEN), (2, "demo-pkg", None), (3, "gone", THEN), (4, "lonely", None))
MAINTAINERS = ((1, 1), (1, 2), (2, 5), (3, 1), (1, None), (2, 6))


@pytest.fixture
def old_url(database_url, tmp_path):
    """The URL of a database of 2018, of the same kind as the test's own."""
    kind = database_url.partition(":")[0]
    url = f"sqlite:///{tmp_path}/ol#d?.db"
    if kind != "sqlite":
        url = f"{database_url.rpartition('/')[0]}/extrapypi_old_{os.getpid()}"
        on_server(database_url, f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]}")
        on_server(database_url, f"CREATE DATABASE {url.rpartition('/')[2]}")
    fill(url, kind)
    yield url
    if kind != "sqlite":
        on_server(database_url, f"DROP DATABASE {url.rpartition('/')[2]}")


def on_server(url: str, sql: str) -> None:
    """Runs a statement by a connection of its own."""
    server = engines.database_at(url)
    with server.connection_context():
        server.execute_sql(sql)
    server.close_idle()


def fill(url: str, kind: str) -> None:
    """Makes the tables of 2018 with what they had."""
    old = engines.database_at(url)
    key, boolean, time = TABLES[kind]
    quote = old.quote[0]
    with old.connection_context():
        if kind == "sqlite":
            old.execute_sql("PRAGMA journal_mode = delete")
        for statement in DDL.format(quote=quote, key=key, boolean=boolean, time=time).split(";"):
            old.execute_sql(statement)
        for table, columns, rows in (
            (f"{quote}user{quote}", "id, username, email, password_hash, is_active, role", USERS),
            ("package", "id, name, created_at", PACKAGES),
            ("package_maintainers", "package_id, user_id", MAINTAINERS),
        ):
            places = ", ".join([old.param] * len(rows[0]))
            for row in rows:
                old.execute_sql(f"INSERT INTO {table} ({columns}) VALUES ({places})", row)
    if kind != "sqlite":
        old.close_idle()


def taken(url: str) -> tuple[from2018.Summary, from2018.Summary]:
    """What was done about accounts and about maintainers."""
    users, projects = from2018.read(url)
    return (
        from2018.take_accounts(COMMAND_LINE, users),
        from2018.take_maintainers(COMMAND_LINE, projects),
    )


def test_accounts_come_over_as_they_were(app, old_url):
    done, _ = taken(old_url)
    assert (done.added, done.known) == (4, 1)
    found = {
        user.username: (user.email, user.role, user.is_active, user.default_password)
        for user in User.select().where(User.username.in_(["anna", "Bob", "pip", "nobody"]))
    }
    assert found == {
        "anna": ("anna@example.com", "developer", True, False),
        "Bob": ("bob@example.com", "maintainer", False, False),
        "pip": ("pip@email.com", "installer", True, True),
        "nobody": ("nobody@example.com", "installer", False, False),
    }
    assert User.named("anna").password_hash == HASH
    assert Journal.select().where(Journal.detail == "anna: developer").count() == 1


@pytest.mark.parametrize("password_hash", ["!", "", "$2b$31$" + "x" * 53, "é"])
@pytest.mark.parametrize("role", ["admin", "installer"])
def test_a_hash_that_2018_did_not_make_is_not_even_checked(tables, log, password_hash, role):
    fields = {"username": "x", "email": "x@x.org", "is_active": True, "role": role}
    user = from2018.OldUser(password_hash=password_hash, **fields)
    done = from2018.take_accounts(COMMAND_LINE, [user])
    assert done.bad == [
        ("the account x", "The hash of its password is none that extrapypi 0.4 made.")
    ]


def test_what_is_here_stays_and_what_breaks_a_rule_is_told(app, old_url):
    done, _ = taken(old_url)
    assert User.named("Developer").email == "developer@example.org"
    assert "The user Developer is here already and stays as it is." in done.notes
    assert any("nobody" in note and "is an installer now" in note for note in done.notes)
    reasons = {name.removeprefix("the account "): reason for name, reason in done.bad}
    assert reasons.keys() == {"other", "a:b", "carl", "dora", "emil"}
    assert "ADMIN@example.org" in reasons["other"]
    assert "colon" in reasons["a:b"]
    assert "e-mail" in reasons["carl"]
    assert "hash" in reasons["dora"] and "hash" in reasons["emil"]


def test_the_maintainers_of_the_projects_that_are_here_are_listed_with_their_age(
    app, as_role, old_url
):
    upload(as_role("admin"))
    _, done = taken(old_url)
    package = Package.named("demo-pkg")
    names = {user.username for user in package.maintainers}
    assert names == {"admin", "anna", "Bob", "developer"}
    then = datetime.fromisoformat(THEN).replace(tzinfo=timezone.utc)
    assert abs((package.created_at - then).total_seconds()) < 1  # MySQL kept no fraction
    assert (done.added, done.known, done.bad) == (1, 0, [])
    assert done.notes == [
        "The project gone is not here yet.",
        "The project lonely is not here yet.",
    ]
    assert b"demo" in as_role("installer").get("/simple/demo-pkg/").body


def test_a_second_time_takes_what_has_come_since(app, as_role, old_url):
    taken(old_url)
    upload(as_role("developer"), *wheel_bytes(name="gone"))
    accounts_done, done = taken(old_url)
    assert (accounts_done.added, accounts_done.known) == (0, 5)
    assert (done.added, done.known) == (1, 0)
    assert {user.username for user in Package.named("gone").maintainers} == {"developer", "anna"}
    _, again = taken(old_url)
    assert (again.added, again.known) == (0, 1)


def test_the_old_hash_is_checked_once_and_replaced(app, settings, old_url, monkeypatch):
    taken(old_url)
    as_user(app, "anna", "wrong").get("/simple/", status=401)
    assert User.named("anna").password_hash == HASH
    as_user(app, "anna", SECRET).get("/simple/")
    assert User.named("anna").password_hash.startswith("$2b$")
    monkeypatch.setitem(sys.modules, "passlib.context", None)  # not needed any more
    as_user(app, "anna", SECRET).get("/simple/")
    with closing(create_app(settings)) as restarted:
        as_user(restarted, "ANNA", SECRET).get("/simple/")
        as_user(restarted, "anna", "wrong").get("/simple/", status=401)


def test_first_logins_at_once_all_succeed(app, old_url):
    taken(old_url)
    answers = []

    def log_in(number: int) -> None:
        answers.append(as_user(app, "anna", SECRET).get("/simple/").status_int)

    at_once(4, log_in)
    assert answers == [200] * 4
    assert passwords.matches(SECRET, User.named("anna").password_hash)


def test_an_account_that_is_shut_out_stays_so(app, old_url):
    taken(old_url)
    as_user(app, "bob", SECRET).get("/simple/", status=401)


def test_a_password_that_was_changed_meanwhile_stays(app, old_url):
    from extrapypi.auth import renew_hash

    taken(old_url)
    anna = User.named("anna")
    accounts.set_password(COMMAND_LINE, "anna", "a newer secret")
    with pytest.raises(NotLoggedIn):
        renew_hash(anna.id, SECRET, HASH)
    as_user(app, "anna", "a newer secret").get("/simple/")
    as_user(app, "anna", SECRET).get("/simple/", status=401)


def test_of_two_first_logins_at_once_both_are_right(app, old_url):
    from extrapypi.auth import renew_hash

    taken(old_url)
    anna = User.named("anna")
    assert renew_hash(anna.id, SECRET, HASH) == renew_hash(anna.id, SECRET, HASH)


def test_without_the_library_nothing_is_taken_and_a_login_is_refused(
    app, old_url, log, monkeypatch
):
    users, _ = from2018.read(old_url)
    monkeypatch.setitem(sys.modules, "passlib.context", None)
    with pytest.raises(ConfigError, match="install extrapypi with the extra from-2018"):
        from2018.take_accounts(COMMAND_LINE, users)
    assert User.get_or_none(User.username == "anna") is None
    monkeypatch.undo()
    from2018.take_accounts(COMMAND_LINE, users)
    monkeypatch.setitem(sys.modules, "passlib.context", None)
    as_user(app, "anna", SECRET).get("/simple/", status=401)
    assert "install extrapypi with the extra from-2018" in log.read_text()


def test_the_old_database_is_only_read(app, old_url):
    with pytest.raises(Unavailable), from2018.opened(old_url):
        from2018.OldUser.update(username="x").execute()
    users, _ = from2018.read(old_url)
    assert users[0].username == "anna"


def test_the_file_of_an_old_database_stays_as_it_is(tmp_path):
    fill(f"sqlite:///{tmp_path}/old.db", "sqlite")
    before = (tmp_path / "old.db").read_bytes()
    from2018.read(f"sqlite:///{tmp_path}/old.db")
    assert (tmp_path / "old.db").read_bytes() == before
    assert [found.name for found in tmp_path.glob("old*")] == ["old.db"]


def test_a_database_of_something_else_is_refused(app, settings):
    with pytest.raises(InvalidInput, match=r"is no database of extrapypi 0\.4 or older"):
        from2018.read(settings["DATABASE_URL"])


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("sqlite:///nothing/here.db", Unavailable, "here.db cannot be read"),
        ("sqlite:////dev/null", InvalidInput, "is no database of extrapypi"),
        ("postgresql://anna:secret@127.0.0.1:1/x", Unavailable, "cannot be read"),
        ("mysql+pymysql://anna:secret@127.0.0.1:1/x", Unavailable, "cannot be read"),
        ("oracle://anna:secret@h/x", ConfigError, "is not understood"),
        ("mysql://anna:secret@h/x?charset=nope", ConfigError, "cannot be used"),
        ("nonsense", ConfigError, "is not understood"),
    ],
)
def test_a_url_of_no_such_database_is_one_sentence(url, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words) as told:
        from2018.read(url)
    assert "secret" not in str(told.value)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("password", "password_hash"),
    [  # the vectors of Ulrich Drepper's "Unix crypt using SHA-256 and SHA-512"
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEd"
            "FCoEOfaS35inz1",
        ),
        ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
        (
            "Hello world!",
            "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0"
            "Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
        ),
    ],
)
def test_the_published_vectors_of_sha_crypt_match(password, password_hash):
    assert passwords.matches(password, password_hash)
    for wrong in (password + "!", "", "\0", "\ud800", "x" * 10_000):
        assert not passwords.matches(wrong, password_hash)


@pytest.mark.parametrize(
    "password_hash",
    ["$6$", "$6$rounds=999999999$salt$x", "$6$rounds=2000001$salt$" + "x" * 86, "$5$a$b$c$d"],
)
def test_a_hash_that_is_none_or_costs_too_much_matches_nothing(password_hash):
    assert not passwords.matches("x", password_hash)


def test_the_command_says_what_it_took(settings, tables, old_url, tmp_path, monkeypatch, capsys):
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    (tmp_path / "config.py").write_text("\n".join(lines))
    monkeypatch.setenv("EXTRAPYPI_CONFIG", str(tmp_path / "config.py"))
    name, body = wheel_bytes()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / name).write_bytes(body)
    words = ["import", "--from-2018", old_url]
    assert main([*words, "--user", "anna", str(tmp_path / "old")]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "Accounts: 4 added, 1 there already, 5 skipped.",
        "Files: 1 added, 0 there already, 0 skipped.",
        "Maintainers: 1 added, 0 there already, 0 skipped.",
    ]
    assert "Skipped the account a:b: The user name 'a:b' has a colon" in told.err
    User.delete().where(User.username == "anna").execute()
    assert main(words) == 1
    told = capsys.readouterr()
    assert "Files" not in told.out
    assert main(["import", "--from-2018", "sqlite:///nothing.db"]) == 1
    assert "nothing.db cannot be read: unable to open" in capsys.readouterr().err
