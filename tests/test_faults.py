"""Disks that take nothing more, and no more files to open: a sentence, and the server goes on."""

from __future__ import annotations

import base64
import fcntl
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import termios
from contextlib import ExitStack, closing
from random import Random

import pytest
from archives_made import wheel_bytes
from browsers import TOKEN
from clients import ADMIN, INSTALLER, PASSWORDS, Index, second_server
from conftest import until
from disks import BreakableDisk, Disk
from test_early import MET, ask, form, in_between, in_chunks, post
from test_serving import answer, connect, request
from test_upload_page import PATH, form_bytes

FAULTS = {"full": "507 ", "without_files": "507 ", "read_only": "503 "}
OLD_HASH = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"  # of "Hello world!"
OLD_USER = f"Basic {base64.b64encode(f'{INSTALLER}:Hello world!'.encode()).decode()}"
FORM = "application/x-www-form-urlencoded"
SETTINGS = """
from extrapypi import batches
batches.INTERVAL = 0.1
DATABASE_URL = "sqlite:///{}/database/extrapypi.db"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose ``packages``, ``database`` and ``log`` are disks of their own."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def disks(folder):
    """The disks, by name."""
    with ExitStack() as stack:
        names = ("packages", "database", "log")
        yield {name: stack.enter_context(closing(Disk(folder / name))) for name in names}


@pytest.fixture(scope="module")
def index(folder, disks):
    """A running index on these disks, with one project; it has met the admin."""
    (folder / "stderr").symlink_to(folder / "log" / "stderr")
    index = Index(folder, SETTINGS.format(folder))
    index.add("there", description="What it is for. " * 100_000)
    ask(index, request("/simple/there/", Authorization=MET))
    yield index
    assert index.stop() == 0


@pytest.fixture(autouse=True)
def no_traceback(index):
    """No test leaves one in the log."""
    start = index.log.stat().st_size
    yield
    assert "Traceback" not in index.log.read_text()[start:]


def log_in(index: Index, password: str = PASSWORDS[ADMIN]) -> tuple:
    """The answer to the admin's login in a browser."""
    body = f"username={ADMIN}&password={password}".encode()
    return ask(index, request("/dashboard/login", "POST", body, Content_Type=FORM))


def cookie_of(index: Index) -> str:
    """The cookie of a new session of the admin's."""
    return log_in(index)[1]["Set-Cookie"].partition(";")[0]


def page_form(index: Index, *archives: tuple[str, bytes]) -> bytes:
    """The request with which a browser sends the archives."""
    cookie = cookie_of(index)
    page = ask(index, request(PATH, Cookie=cookie))[2].decode()
    body = form_bytes(TOKEN.search(page)[1], *archives)
    return request(
        PATH, "POST", body, Cookie=cookie, Content_Type="multipart/form-data; boundary=b"
    )


def large(name: str) -> tuple[str, bytes]:
    """A wheel that is not kept in memory while it comes in."""
    return wheel_bytes(name, files={"data.bin": Random(1).randbytes(900_000)})


def sent(archive: tuple[str, bytes]) -> bytes:
    """The request with which twine sends the archive."""
    return post(form(*archive) + b"--b--\r\n")


WAYS = {  # how an upload comes -> its request, for an index and a project's name
    "small": lambda index, name: sent(wheel_bytes(name)),
    "early": lambda index, name: sent(large(name)),
    "spooled": lambda index, name: in_chunks(form(*large(name)) + b"--b--\r\n"),
    "page": lambda index, name: page_form(index, wheel_bytes(name)),
    "large-page": lambda index, name: page_form(index, large(name)),
}


def wheel_url(name: str) -> str:
    """Where the project's wheel is."""
    return f"/packages/{name}/{wheel_bytes(name)[0]}"


def check_nothing_was_taken(index: Index, name: str) -> None:
    """Looks whether anything of the project is there, listed or not."""
    assert ask(index, request(f"/simple/{name}/", Authorization=MET))[0].startswith("404 ")
    assert in_between(index) == []
    assert list((index.folder / "packages" / name).glob("*")) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_storage_that_takes_nothing_says_so_and_takes_the_same_later(index, disks, way, fault):
    name = f"{way}-{fault}".replace("_", "-")
    upload = WAYS[way](index, name)
    with getattr(disks["packages"], fault)():
        status, headers, body = ask(index, upload)
        assert status.startswith(FAULTS[fault])
        assert b"There is no room" in body or b"Read-only file system" in body
        assert way == "page" or headers["Retry-After"] == "5"
        check_nothing_was_taken(index, name)
    check_nothing_was_taken(index, name)
    assert ask(index, upload)[0] == "200 OK"
    assert ask(index, request(wheel_url(name), Authorization=MET))[0] == "200 OK"


def test_a_storage_whose_folder_is_gone_says_so_and_is_well_when_it_is_back(index):
    packages, elsewhere = index.folder / "packages", index.folder / "packages" / "elsewhere"
    uploads = [WAYS[way](index, "no-folder") for way in ("small", "early", "spooled")]
    (packages / ".incoming").rename(elsewhere)
    for upload in uploads:
        status, headers, _ = ask(index, upload)
        assert status.startswith("503 The folder for what comes in is not there")
        assert headers["Retry-After"] == "5"
    assert ask(index, request("/health"))[0].startswith("503 Not answering: storage")
    assert ask(index, request(wheel_url("there"), Authorization=MET))[0] == "200 OK"
    elsewhere.rename(packages / ".incoming")
    assert ask(index, uploads[0])[0] == "200 OK"


def test_what_is_deleted_is_off_the_index_though_the_storage_can_only_be_read(index, disks):
    upload = WAYS["small"](index, "unwanted")
    assert ask(index, upload)[0] == "200 OK"
    with disks["packages"].read_only():
        index.command("delete", "unwanted", "--yes")
        assert ask(index, request("/simple/unwanted/", Authorization=MET))[0].startswith("404 ")
    assert ask(index, upload)[0] == "200 OK"  # the same bytes may come back
    assert ask(index, request(wheel_url("unwanted"), Authorization=MET))[0] == "200 OK"


@pytest.mark.parametrize("way", ["early", "spooled", "large-page"])
@pytest.mark.parametrize("rest", [500_000, 6000])  # the latter waits in a buffer
def test_a_storage_that_fills_up_while_a_file_comes_in_says_so(index, disks, way, rest):
    name = f"half-{way}-{rest}"
    upload = WAYS[way](index, name)
    with connect(index) as connection:
        connection.sendall(upload[:-rest])
        ask(index, request("/ping"))
        with disks["packages"].full():
            connection.sendall(upload[-rest:])
            status, _, body = answer(connection)
            assert status.startswith("507 ")
            assert b"There is no room" in body
            check_nothing_was_taken(index, name)
    assert ask(index, upload)[0] == "200 OK"


def test_a_storage_with_room_for_the_file_and_not_for_its_metadata_takes_neither(index, disks):
    upload = WAYS["small"](index, "no-sidecar")
    with disks["packages"].full(leaving=4096):
        assert ask(index, upload)[0].startswith("507 ")
        check_nothing_was_taken(index, "no-sidecar")
    assert ask(index, upload)[0] == "200 OK"


def execute(index: Index, sql: str) -> list[tuple]:
    """What the database says to a statement."""
    file = index.folder / "database" / "extrapypi.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(sql).fetchall()


def test_what_is_there_is_served_while_no_disk_takes_anything(index, disks):
    cookie = cookie_of(index)
    execute(index, "UPDATE releases SET rendered_by = 'an older one'")
    execute(index, "PRAGMA wal_checkpoint(TRUNCATE)")
    with ExitStack() as stack:
        for disk in disks.values():
            stack.enter_context(disk.full())
        for path in ("/simple/", "/simple/there/", wheel_url("there"), "/pypi/there/json"):
            assert ask(index, request(path, Authorization=MET))[0] == "200 OK"
        long = ask(index, request(f"{wheel_url('there')}.metadata", Authorization=MET))
        assert len(long[2]) > 1024**2
        for path in ("/dashboard/", "/dashboard/packages/there/", "/user/", "/health"):
            assert ask(index, request(path, Cookie=cookie))[0] == "200 OK"
    assert ("an older one",) in execute(index, "SELECT rendered_by FROM releases")


def test_a_full_disk_of_the_database_is_503_for_what_must_be_written(index, disks):
    before = downloads(index)
    upload = WAYS["small"](index, "no-row")
    execute(index, f"UPDATE users SET password_hash = '{OLD_HASH}' WHERE username = '{INSTALLER}'")
    execute(index, "PRAGMA wal_checkpoint(TRUNCATE)")  # the room of old changes is used again
    with disks["database"].full():
        for got in (ask(index, upload), log_in(index), log_in(index, "wrong")):
            status, headers, body = got
            assert status.startswith("503 ")
            assert b"database or disk is full" in body
            assert headers["Retry-After"] == "5"
        assert ask(index, request("/simple/no-row/", Authorization=MET))[0].startswith("404 ")
        for _ in range(3):  # the hash of this user would be made anew
            assert ask(index, request(wheel_url("there"), Authorization=OLD_USER))[0] == "200 OK"
        start = index.log.stat().st_size
        for noted in ("The numbers of downloads", "The times of last use"):
            until(lambda noted=noted: f"{noted} were not" in index.log.read_text()[start:])
    assert ask(index, upload)[0] == "200 OK"
    until(lambda: downloads(index) >= before + 3)  # others of before may be under way
    seen = f"SELECT last_login_at FROM users WHERE username = '{INSTALLER}'"
    until(lambda: execute(index, seen) != [(None,)])


def downloads(index: Index) -> int:
    """How many are written down."""
    return sum(number for (number,) in execute(index, "SELECT number FROM downloads"))


def test_a_log_that_cannot_be_written_stops_nothing_and_goes_on_later(index, disks):
    with disks["log"].full():
        for _ in range(50):
            ask(index, request(f"/nothing/{'x' * 200}", Authorization=MET))
            assert ask(index, request("/simple/there/", Authorization=MET))[0] == "200 OK"
    until(lambda: bool(ask(index, request("/later")) and "GET /later" in index.log.read_text()))


def unread(connection: socket.socket) -> int:
    """How many bytes have come that nobody has read."""
    number = fcntl.ioctl(connection, termios.FIONREAD, bytes(4))
    return int.from_bytes(number, sys.byteorder)


def test_a_full_disk_before_an_object_store_takes_nothing_and_files_go_out(tmp_path, object_store):
    with closing(Disk(tmp_path / "spool")) as disk:
        params = {"spool_folder": str(disk.folder)}
        index = Index(tmp_path, object_store.settings(object_store.new_bucket(), **params))
        name, whole = wheel_bytes("there", files={"data.bin": Random(2).randbytes(16_000_000)})
        page = request(f"/packages/there/{name}", Authorization=MET)
        assert ask(index, sent((name, whole)))[0] == "200 OK"
        for fault, status in FAULTS.items():
            uploads = [WAYS[way](index, fault) for way in ("small", "early", "spooled")]
            with getattr(disk, fault)(), connect(index) as reading:
                reading.sendall(page)
                until(lambda reading=reading: unread(reading) > 100_000)
                for upload in uploads:  # meanwhile the file waits for its reader
                    assert ask(index, upload)[0].startswith(status)
                assert answer(reading)[2] == whole
            assert ask(index, uploads[0])[0] == "200 OK"
        assert index.stop() == 0
        assert [path.name for path in disk.folder.rglob("*")] == ["extrapypi-incoming"]
    assert "Traceback" not in index.log.read_text()


def test_a_server_starts_on_a_storage_that_can_only_be_read(index, disks, tmp_path):
    stale = index.folder / "packages" / ".incoming" / "stale"
    stale.touch()
    os.utime(stale, (0, 0))
    with disks["packages"].read_only(), second_server(index, tmp_path / "log") as second:
        assert ask(second, request(wheel_url("there"), Authorization=MET))[0] == "200 OK"
    said = (tmp_path / "log").read_text()
    assert "stays in the storage for now: The storage fails: Read-only" in said
    stale.unlink()


def test_a_database_whose_disk_breaks_is_read(index, tmp_path):
    upload = WAYS["small"](index, "unwritten")
    with closing(BreakableDisk(tmp_path / "disk")) as disk:
        execute(index, "PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(index.folder / "database" / "extrapypi.db", disk.folder)
        url = f"sqlite:///{disk.folder}/extrapypi.db"
        with second_server(index, tmp_path / "log", EXTRAPYPI_DATABASE_URL=url) as second:
            assert ask(second, WAYS["small"](index, "written"))[0] == "200 OK"
            disk.break_down()
            for got in (ask(second, upload), log_in(second)):
                assert got[0].startswith("503 ")
                assert b"disk I/O error" in got[2] or b"readonly database" in got[2]
            for path in (wheel_url("written"), "/simple/written/", "/simple/"):
                assert ask(second, request(path, Authorization=MET))[0] == "200 OK"


@pytest.mark.parametrize("fault", ["full", "read_only"])
def test_a_database_that_cannot_be_opened_for_writing_stops_the_start(index, tmp_path, fault):
    with closing(Disk(tmp_path / "disk")) as disk:
        execute(index, "PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(index.folder / "database" / "extrapypi.db", disk.folder)
        url = f"sqlite:///{disk.folder}/extrapypi.db"
        with getattr(disk, fault)():
            done = subprocess.run(
                [sys.executable, "-m", "extrapypi", "run", "--port", "0"],
                cwd=index.empty,
                env={**index.environment, "EXTRAPYPI_DATABASE_URL": url},
                capture_output=True,
                text=True,
                timeout=60,  # it must not serve
            )
    assert done.returncode == 1
    assert done.stderr.startswith("extrapypi: The database does not answer (")
    assert done.stderr.count("\n") == 1


def test_with_few_files_to_open_all_are_served_in_turn(index, tmp_path):
    with second_server(index, tmp_path / "log", "ulimit -n 150;") as second, ExitStack() as stack:
        connections = [stack.enter_context(connect(second)) for _ in range(200)]
        for connection in connections:
            connection.sendall(WAYS["small"](index, "few"))
        for connection in connections:
            assert answer(connection)[0] == "200 OK"
            connection.close()


def test_without_files_to_open_the_server_waits_and_goes_on(index):
    pid = index.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    is_open = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    free = min(set(range(len(is_open) + 1)) - is_open)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, limits[1]))  # one more, and no other
    start = index.log.stat().st_size
    upload = WAYS["small"](index, "none-left")
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(index)) for _ in range(5)]
        for connection in connections:
            connection.sendall(upload)
        for connection in connections:
            status, headers, _ = answer(connection)
            assert status.startswith(("503 The storage fails: Too", "503 The database does not"))
            assert headers["Retry-After"] == "5"
            connection.close()
    assert ask(index, request("/favicon.ico"))[0].startswith("503 The machine gives no more")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert ask(index, upload)[0] == "200 OK"
    told = index.log.read_text()[start:].count("No connection can be accepted now")
    assert 1 <= told <= 60  # one a second, and none in between
