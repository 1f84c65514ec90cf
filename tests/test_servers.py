"""Database servers: lost connections, deadlocks, restarts, and what is alike on all of them."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from contextlib import nullcontext
from urllib.parse import urlsplit

import pytest
from archives_made import wheel_bytes
from conftest import COMMAND_LINE, USERS, as_user, at_once, counts, upload
from s3_server import Line

from extrapypi import accounts, database, engines, schema, throttling
from extrapypi.database import connection, fetch, retried, transaction
from extrapypi.errors import BrokenOff, InvalidInput, SchemaError, Unavailable
from extrapypi.models import Failure, File, Release, Serial, User, writing
from extrapypi.pages import JSON
from extrapypi.storage import LocalStorage

servers = pytest.mark.parametrize("database_url", ["postgresql", "mysql"], indirect=True)
PORTS = {"postgresql": 5432, "mysql": 3306}


def end_connections() -> None:
    """Lets the server end every connection to the test's database but the one that asks for it."""
    bound = database.database.obj
    other = type(bound)(bound.database, **bound.connect_params)
    with other.connection_context():
        if isinstance(bound, engines.PostgreSQL):
            other.execute_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        else:
            rows = other.execute_sql(
                "SELECT id FROM information_schema.processlist "
                "WHERE db = DATABASE() AND id != CONNECTION_ID()"
            )
            for (number,) in rows.fetchall():
                other.execute_sql(f"KILL {number}")
    other.close_idle()


@servers
def test_what_is_asked_over_a_dead_connection_is_asked_again(tables):
    with connection():
        assert fetch("SELECT value FROM serial")
        end_connections()
        assert fetch("SELECT value FROM serial")
        end_connections()
        assert User.select().count() == len(USERS)


@servers
def test_requests_do_not_notice_that_idle_connections_were_ended(app, as_role):
    client = as_role("developer")
    upload(client)
    end_connections()
    client.get("/simple/demo-pkg/")
    end_connections()
    upload(client, *wheel_bytes(version="2.0"))
    assert counts()["File"] == 2


@servers
def test_a_unit_of_work_that_loses_its_connection_is_done_again(tables):
    attempts = []

    @retried
    def work() -> None:
        with writing():
            Failure.create(address="x", username="y")
            attempts.append(1)
            if len(attempts) == 1:
                end_connections()
            Failure.create(address="x", username="y")

    with connection():
        work()
        assert (len(attempts), Failure.select().count()) == (2, 2)


@servers
def test_a_unit_of_work_that_breaks_off_again_and_again_leaves_nothing(tables):
    @retried
    def work() -> None:
        with writing():
            Failure.create(address="x", username="y")
            end_connections()
            Failure.create(address="x", username="y")

    before = Serial.get().value
    with connection(), pytest.raises(BrokenOff):
        work()
    assert (Failure.select().count(), Serial.get().value) == (0, before)


@servers
def test_a_commit_of_unknown_outcome_is_not_done_again(tables):
    attempts = []

    @retried
    def work() -> None:
        with writing():
            Failure.create(address="x", username="y")
            attempts.append(1)
            end_connections()

    with pytest.raises(Unavailable), connection():
        work()
    assert (len(attempts), Failure.select().count()) == (1, 0)


@servers
def test_of_two_units_of_work_in_a_deadlock_both_come_to_their_end(tables):
    names, met = ["admin", "installer"], threading.Barrier(2)

    def work(number: int) -> None:
        first, second = names if number else reversed(names)
        waits = iter([met.wait])  # at the first attempt only

        @retried
        def change() -> None:
            with transaction():
                User.update(role="developer").where(User.username_key == first).execute()
                next(waits, lambda: None)()
                User.update(role="developer").where(User.username_key == second).execute()
                Failure.create(address="x", username=str(number))

        with connection():
            change()

    at_once(2, work)
    assert {row.username for row in Failure.select()} == {"0", "1"}


def test_many_wrong_passwords_at_once_are_all_counted(tables):
    def work(number: int) -> None:
        with connection():
            for _ in range(10):
                throttling.note_failure("10.0.0.1", f"user {number}", "a user")

    at_once(8, work)
    assert Failure.select().count() == 80


class Breaking(LocalStorage):
    """A storage with which the database's connections end, when it takes a first file over."""

    NAME = "Breaking"

    def create_release(self, package, incoming):
        location = super().create_release(package, incoming)
        if not hasattr(self, "broken"):
            self.broken = True
            end_connections()
        return location


@servers
def test_an_upload_whose_transaction_breaks_off_is_stored_once(app, as_role):
    app.site.storage = Breaking(packages_root=app.site.storage.packages_root)
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    assert app.site.storage.broken
    assert as_role("installer").get(f"/packages/demo-pkg/{filename}").body == body
    assert counts() == {"Package": 1, "Release": 1, "File": 1, "UsedFilename": 1, "Dependency": 0}


@pytest.mark.parametrize("database_url", ["mysql"], indirect=True)
def test_only_who_changes_the_same_tables_is_waited_for_and_not_for_ever(
    settings, tables, monkeypatch
):
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", 0)
    told: list = []

    def upgrade(number: int) -> None:
        try:
            told.append(schema.upgrade())
        except Unavailable as error:
            told.append(str(error))

    elsewhere = engines.database_at(f"{settings['DATABASE_URL'].rpartition('/')[0]}/mysql")
    with elsewhere.connection_context():
        for name in ("'extrapypi'", schema.MYSQL_LOCK):
            elsewhere.execute_sql(f"SELECT GET_LOCK({name}, 0)")
        at_once(1, upgrade)
    elsewhere.close_idle()
    with schema.migrating():
        at_once(1, upgrade)
    assert told == [[], "Another process changes the tables; try again."]


def test_a_database_that_cannot_hold_every_text_is_refused(postgresql):
    name = f"extrapypi_ascii_{os.getpid()}"
    database.bind(postgresql)
    options = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    with database.connection():
        database.database.execute_sql(f"CREATE DATABASE {name} {options}")
    database.bind(f"{postgresql.rpartition('/')[0]}/{name}")
    try:
        with pytest.raises(SchemaError, match="is not UTF8"):
            schema.upgrade()
    finally:
        database.bind(postgresql)
        with database.connection():
            database.database.execute_sql(f"DROP DATABASE {name}")
        database.close()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_password_of_digits_behind_the_question_mark_stays_a_text(scheme):
    made = engines.database_at(f"{scheme}://h/x?user=1.0&password=007&connect_timeout=5")
    expected = {"user": "1.0", "password": "007", "connect_timeout": 5}
    assert expected.items() <= made.connect_params.items()


@pytest.fixture
def way(settings):
    """The way to the database server, which the test can cut."""
    url = urlsplit(settings["DATABASE_URL"])
    line = Line(PORTS[url.scheme])
    netloc = f"{url.username}@{urlsplit(line.url).netloc}"
    settings["DATABASE_URL"] = url._replace(netloc=netloc).geturl()
    yield line
    database.close()
    line.close()


@servers
def test_while_a_server_restarts_there_is_503_and_afterwards_all_is_as_before(way, request):
    app = request.getfixturevalue("app")
    developer, nobody = as_user(app, "developer", USERS["developer"]), as_user(app, "no", "body")
    upload(developer)
    way.cut()
    for answer in (
        developer.get("/simple/demo-pkg/", status=503),
        upload(developer, *wheel_bytes(version="2.0"), status=503),
        nobody.get("/simple/", status=503),
        developer.get("/health", status=503),
    ):
        assert "database" in answer.text
        assert answer.headers["Retry-After"] == "5"
    way.mend()
    assert "1.0" in developer.get("/simple/demo-pkg/").text
    upload(developer, *wheel_bytes(version="2.0"))
    assert counts()["File"] == 2


@servers
def test_only_one_waits_for_a_server_that_takes_no_connection(way, request, monkeypatch):
    monkeypatch.setattr(engines, "CONNECT_TIMEOUT", 2)
    monkeypatch.setattr(engines, "PATIENCE", 2)
    app = request.getfixturevalue("app")
    way.cut()
    way.mend()
    way.flowing.clear()
    before = len(way.sockets)

    def work(number: int) -> None:
        as_user(app, "developer", USERS["developer"]).get("/simple/", status=503)

    at_once(6, work)
    assert len(way.sockets) - before <= 2 * 2  # two sockets each, and one more try at the most


class Interrupting(io.BytesIO):
    """A body in the middle of which something else happens."""

    def __init__(self, body: bytes, what) -> None:
        super().__init__(body)
        self.what = what

    def read(self, size: int = -1) -> bytes:
        what, self.what = self.what, lambda: None
        what()
        return super().read(size)


@servers
def test_nobody_waits_for_a_connection_because_of_anothers_slow_upload(app, as_role):
    database.database.obj._max_connections = 1
    reader, answers = as_role("installer"), []

    def read_meanwhile() -> None:
        thread = threading.Thread(target=lambda: answers.append(reader.get("/simple/")))
        thread.start()
        thread.join()

    form = b'--x\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n--x--\r\n'
    client = as_role("developer")
    request = client.RequestClass.blank("/legacy/", method="POST", environ=client.extra_environ)
    request.content_type = "multipart/form-data; boundary=x"
    request.environ["wsgi.input"] = Interrupting(form, read_meanwhile)
    request.content_length = len(form)
    client.do_request(request, status=400)
    assert answers[0].status_int == 200


NAMES = ["Ångström", "ß-user", "Ωmega", "日本", "😀", "a-b", "a.b", "ab", "A_c"]


def test_user_names_in_any_script_are_unique_without_regard_to_case(tables):
    for number, name in enumerate(NAMES):
        accounts.create_user(COMMAND_LINE, name, "a long secret", f"{number}@x.org", "installer")
    for name in NAMES:
        assert User.named(name.upper()).username == name
        with pytest.raises(InvalidInput, match="already"):
            accounts.create_user(COMMAND_LINE, name.swapcase(), "a long secret", "y@x", "admin")


def test_a_user_name_with_a_space_behind_it_is_another_one(app):
    as_user(app, "installer", USERS["installer"]).get("/simple/")
    as_user(app, "INSTALLER", USERS["installer"]).get("/simple/")
    as_user(app, "installer ", USERS["installer"]).get("/simple/", status=401)


def test_a_description_of_a_megabyte_in_any_script_is_kept_to_the_byte(app, as_role):
    description = "naïve 日本 😀\r\n" * 60_000
    upload(as_role("developer"), *wheel_bytes(description=description))
    shown = as_role("installer").get("/pypi/demo-pkg/json").json["info"]["description"]
    assert len(shown.encode()) > 1024**2
    assert shown == Release.get().description
    assert shown.splitlines() == description.splitlines()


def test_lists_are_in_the_order_of_bytes_on_every_database(app, as_role):
    names = ["a-b", "ab", "a-c", "a1", "b", "a"]
    for name in names:
        upload(as_role("developer"), *wheel_bytes(name=name))
    answer = as_role("installer").get("/simple/", headers={"Accept": JSON})
    assert [project["name"] for project in answer.json["projects"]] == sorted(names)


def test_file_names_that_differ_by_case_only_are_one_name(app, as_role):
    filename, body = wheel_bytes(name="demo")
    upload(as_role("developer"), filename, body)
    other = filename.replace("demo", "DEMO")
    answer = upload(as_role("developer"), other, body, status=400, name="demo")
    assert "already exists" in answer.status
    assert counts()["File"] == 1


def test_of_many_uploads_of_one_name_over_several_connections_one_wins(app, monkeypatch):
    bodies = [wheel_bytes(description=str(number))[1] for number in range(8)]
    monkeypatch.setattr(
        "extrapypi.models.writers", nullcontext()
    )  # as if in processes of their own
    statuses = []

    def work(number: int) -> None:
        client = as_user(app, "developer", USERS["developer"])
        answer = upload(client, wheel_bytes()[0], bodies[number], status="*")
        statuses.append(answer.status_int)

    at_once(8, work)
    assert sorted(statuses) == [200] + [400] * 7
    file = File.get()
    served = as_user(app, "installer", USERS["installer"]).get(
        f"/packages/demo-pkg/{file.filename}"
    )
    assert hashlib.sha256(served.body).hexdigest() == file.sha256
    assert counts()["UsedFilename"] == 1
