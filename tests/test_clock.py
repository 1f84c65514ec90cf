"""A clock that is set while the server runs: nobody is locked out, nothing stands still."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from archives_made import wheel_bytes
from clients import Index
from conftest import until
from test_early import MET, ask, form, post
from test_faults import cookie_of
from test_serving import answer, connect, request

LIBRARY = "faketime/libfaketimeMT.so.1"
HOUR = 3600  # seconds
TOGETHER = """
LOGGING_CONFIG["handlers"]["access"] = {
    "class": "extrapypi.accesslog.TogetherHandler", "formatter": "default"
}
from extrapypi import batches
batches.INTERVAL = 0.1
"""


class ClockedIndex(Index):
    """An index whose server has a clock of its own."""

    def _set_up(self, settings: str) -> None:
        super()._set_up(settings)
        library = next(Path("/usr/lib").glob(f"*/{LIBRARY}"), None)
        if library is None:
            assert not os.environ.get("CI"), "faketime is not installed."
            self.empty.rmdir()
            pytest.skip("faketime is not installed (see the README)")
        self.set_clock(0)
        self.environment |= {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, seconds: float) -> None:
        """Sets the clock so many seconds before or after the right time."""
        fresh = self.folder / "clock.new"
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self.folder / "clock")

    def execute(self, sql: str) -> list[tuple]:
        """What the database says to a query."""
        with closing(sqlite3.connect(self.folder / "extrapypi.db")) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def clocked(tmp_path_factory):
    """A running index with one project."""
    index = ClockedIndex(tmp_path_factory.mktemp("index"), TOGETHER)
    index.add("there")
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


@pytest.fixture
def index(clocked):
    """The index; at the end its clock may be anything."""
    ask(clocked, request("/simple/there/", Authorization=MET))
    yield clocked
    clocked.set_clock(0)


def status_of(index: Index, path: str, **headers: str) -> int:
    """The status of the answer to a GET, as the admin unless the headers say otherwise."""
    return int(ask(index, request(path, **{"Authorization": MET, **headers}))[0][:3])


def test_failures_count_for_minutes_whatever_the_clock_does(index):
    wrong = "Basic aW5zdGFsbGVyOndyb25n"

    def status() -> int:
        return status_of(index, "/simple/", Authorization=wrong)

    assert [status() for _ in range(11)] == [401] * 10 + [429]
    for seconds in (-120, 120):
        index.set_clock(seconds)
        assert status() == 429
    for seconds in (-5 * HOUR, 5 * HOUR):
        index.set_clock(seconds)
        assert status() == 401


def test_a_session_and_a_token_last_by_the_clock_and_outlive_its_being_set_back(index):
    token = index.command("token", "create", "admin", "--expires", "1").split()[-1]
    cookie = cookie_of(index)
    lasts = {-5 * HOUR: (200, 200), 11 * HOUR: (200, 200), 13 * HOUR: (303, 200)}
    for seconds, statuses in {**lasts, 25 * HOUR: (303, 401), 0: (200, 200)}.items():
        index.set_clock(seconds)
        page = status_of(index, "/user/", Cookie=cookie, Authorization="")
        assert (page, status_of(index, "/simple/", Authorization=f"Bearer {token}")) == statuses


@pytest.mark.parametrize("seconds", [-5 * HOUR, 5 * HOUR, -400 * 24 * HOUR])
def test_pages_files_counts_and_the_log_go_on_at_another_time(index, seconds):
    before = sum(number for (number,) in index.execute("SELECT number FROM downloads"))
    wheel = f"/packages/there/{wheel_bytes('there')[0]}"
    _, headers, _ = ask(index, request(wheel, Authorization=MET))
    tag = ask(index, request("/simple/there/", Authorization=MET))[1]["Etag"]
    index.set_clock(seconds)
    date = parsedate_to_datetime(ask(index, request("/ping"))[1]["Date"])
    assert abs(date.timestamp() - time.time() - seconds) < 60  # it has really been set
    assert status_of(index, wheel, If_None_Match=headers["Etag"]) == 304
    assert status_of(index, wheel, If_Modified_Since=headers["Last-Modified"]) == 304
    assert status_of(index, "/simple/there/", If_None_Match=tag) == 304
    version = f"1.{abs(seconds)}.{seconds > 0:d}"
    index.add("there", version)
    assert status_of(index, "/simple/there/", If_None_Match=tag) == 200
    assert wheel_bytes("there", version)[0] in index.get("/simple/there/").decode()
    until(lambda: sum(n for (n,) in index.execute("SELECT number FROM downloads")) == before + 1)
    ask(index, request(f"/at-{seconds}"))
    until(lambda: f"GET /at-{seconds}" in index.log.read_text())
    for path in ("/dashboard/", "/dashboard/packages/there/", "/dashboard/journal/"):
        assert status_of(index, path, Cookie=cookie_of(index), Authorization="") == 200


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
def test_an_upload_that_is_under_way_when_the_clock_is_set_comes_to_its_end(index, seconds):
    upload = post(form(*wheel_bytes("slow")) + b"--b--\r\n", MET)
    with connect(index) as connection:
        connection.sendall(upload[:-500])
        assert index.get("/ping") == b"pong"
        index.set_clock(seconds)
        for _ in range(3):  # turns of the main loop
            assert index.get("/ping") == b"pong"
        connection.sendall(upload[-500:])
        assert answer(connection)[0] == "200 OK"


@pytest.mark.long
def test_idle_connections_are_closed_after_the_clock_was_set_back(index):
    with connect(index) as idle:
        index.set_clock(-5 * HOUR)
        assert index.get("/ping") == b"pong"
        idle.settimeout(150)
        assert idle.recv(1) == b""
