"""A database or a bucket that goes away and comes back: a sentence meanwhile, and no restart."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest
from archives_made import wheel_bytes
from clients import Index
from conftest import USERS, as_user, at_once, counts, empty_database, until, upload
from s3_server import IDENTITIES, Line, s3_server
from test_early import MET, ask, form, post
from test_servers import PORTS, end_connections, servers
from test_serving import answer, connect, request

from extrapypi import database
from extrapypi.pages import JSON

IMPATIENT = """
from extrapypi import engines, models
engines.PATIENCE = engines.CONNECT_TIMEOUT = 1
engines.BUSY_TIMEOUT = models.BUSY_TIMEOUT = 1
THREADS = 4
"""
HEALTH = request("/health")
PAGE = request("/simple/there/", Authorization=MET)
UPLOAD = post(form(*wheel_bytes("new")) + b"--b--\r\n", MET)


def check_unavailable(got: tuple, words: str = "database") -> None:
    """Looks whether an answer says what is wrong, and when to come again."""
    status, headers, body = got
    assert status.startswith("503 ")
    assert words in body.decode()
    assert headers["Retry-After"] == "5"


def check_well(index: Index) -> None:
    """Looks whether everything works, also the upload that was refused before."""
    until(lambda: ask(index, PAGE)[0] == "200 OK")
    for sent in (HEALTH, UPLOAD):
        assert ask(index, sent)[0] == "200 OK"
    assert "Traceback" not in index.log.read_text()


def check_all_unavailable(index: Index, words: str = "database") -> None:
    """Looks whether more clients than there are threads are told."""
    with ExitStack() as stack:
        asking = [stack.enter_context(connect(index)) for _ in range(6)]
        for number, connection in enumerate(asking):
            connection.sendall(UPLOAD if number % 2 else PAGE)
        assert index.get("/ping") == b"pong"
        for connection in asking:
            check_unavailable(answer(connection), words)
    check_unavailable(ask(index, HEALTH), "Not answering: database")


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def line(request):
    """The line to a database server."""
    url = urlsplit(empty_database(request, request.param, None))
    with closing(Line(PORTS[request.param])) as line:
        netloc = f"{url.username}@{urlsplit(line.url).netloc}"
        line.database_url = url._replace(netloc=netloc).geturl()
        yield line


@pytest.fixture(scope="module")
def far_index(line, tmp_path_factory):
    """A running index at the other end of the line."""
    with running(tmp_path_factory, f"DATABASE_URL = {line.database_url!r}") as index:
        yield index


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index with SQLite."""
    with running(tmp_path_factory) as index:
        yield index


@contextmanager
def running(tmp_path_factory, settings: str = "") -> Iterator[Index]:
    """An index with one project, which waits for nothing longer than some seconds."""
    index = Index(tmp_path_factory.mktemp("index"), IMPATIENT + settings)
    try:
        index.add("there")
        ask(index, PAGE)
        yield index
    finally:
        assert index.stop() == 0


@pytest.mark.parametrize("fault", ["refuses", "says nothing"])
def test_a_database_server_that_is_away_is_503_until_it_is_back(far_index, line, fault):
    if fault == "refuses":
        line.cut()
    else:
        line.flowing.clear()
    try:
        check_all_unavailable(far_index)
    finally:
        line.mend()
        line.flowing.set()
    check_well(far_index)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_that_has_become_a_read_only_copy_is_read(app, database_url):
    developer = as_user(app, "developer", USERS["developer"])
    upload(developer)
    name = database_url.rpartition("/")[2]
    alter = f"ALTER DATABASE {name} SET default_transaction_read_only = "
    with database.connection():
        database.execute(alter + "on")
    try:
        end_connections()
        assert "1.0" in developer.get("/simple/demo-pkg/", headers={"Accept": JSON}).text
        answer = upload(developer, *wheel_bytes(version="2.0"), status=503)
        assert answer.headers["Retry-After"] == "5"
    finally:
        with database.connection():
            database.execute("SET default_transaction_read_only = off")
            database.execute(alter + "off")
        end_connections()
    upload(developer, *wheel_bytes(version="2.0"))
    assert counts()["File"] == 2


@servers
def test_however_many_idle_connections_have_died_a_change_is_made(app):
    together = threading.Barrier(5)

    def work(number: int) -> None:
        with database.connection():
            together.wait()

    at_once(5, work)
    end_connections()
    upload(as_user(app, "developer", USERS["developer"]))
    assert counts()["File"] == 1


def test_who_waits_for_a_locked_file_is_told_and_readers_do_not_wait(index):
    other = sqlite3.connect(index.folder / "extrapypi.db", isolation_level=None)
    with closing(other), ExitStack() as stack:
        other.execute("BEGIN IMMEDIATE")
        asking = [stack.enter_context(connect(index)) for _ in range(6)]
        for connection in asking:
            connection.sendall(UPLOAD)
        assert ask(index, PAGE)[0] == "200 OK"
        for connection in asking:
            check_unavailable(answer(connection))
        assert "database is locked" in index.log.read_text()
        other.execute("ROLLBACK")
    check_well(index)


def test_a_file_that_is_moved_away_is_missed_until_it_is_back(index):
    file, elsewhere = index.folder / "extrapypi.db", index.folder / "elsewhere.db"
    file.rename(elsewhere)
    check_all_unavailable(index, "deleted or replaced")
    assert not file.exists()
    file.write_bytes(b"another one")
    check_unavailable(ask(index, PAGE), "deleted or replaced")
    elsewhere.replace(file)
    check_well(index)


def test_a_damaged_file_is_told_in_one_sentence(index):  # the last that uses it
    file = index.folder / "extrapypi.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(os.urandom(file.stat().st_size))  # the same file
    pages = [request(f"/simple/{n}/", Authorization=MET) for n in range(20)]
    for page in (UPLOAD, *pages):
        status, _, body = ask(index, page)
        assert status.startswith(("404 ", "503 "))  # of what is in memory still
        assert body
    assert "Traceback" not in index.log.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "extrapypi", "run", "--port", "0"],
        cwd=index.empty,
        env=index.environment,
        capture_output=True,
        text=True,
        timeout=60,  # it must not serve
    )
    assert done.returncode == 1
    assert done.stderr == "extrapypi: The database does not answer (file is not a database).\n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bucket_that_is_away_or_closed_to_us_is_503_until_it_is_as_before(
    settings, log, request, tmp_path_factory
):
    with s3_server(tmp_path_factory.mktemp("own-s3")) as server:
        params = server.params(server.new_bucket(), timeout=1)
        settings |= {"STORAGE": "S3Storage", "STORAGE_PARAMS": params}
        developer = request.getfixturevalue("as_role")("developer")
        filename, body = wheel_bytes()
        upload(developer, filename, body)
        server.stop()
        for identities, words in (
            (None, "does not answer"),
            (IDENTITIES[1:], "InvalidAccessKeyId"),
        ):
            if identities:
                server.start(identities)
            second = upload(developer, *wheel_bytes(version="2.0"), status=503)
            lost = developer.get(f"/packages/demo-pkg/{filename}", status=503)
            for answer in (second, lost):
                assert words in answer.text
                assert answer.headers["Retry-After"] == "5"
            assert "storage" in developer.get("/health", status=503).text
            assert filename in developer.get("/simple/demo-pkg/", headers={"Accept": JSON}).text
        server.stop()
        server.start()
        place = f"/packages/demo-pkg/{filename}"
        until(lambda: developer.get(place, status="*").body == body)  # it needs a moment
        upload(developer, *wheel_bytes(version="2.0"))
        developer.get("/health", status=200)
    assert "Traceback" not in log.read_text()
