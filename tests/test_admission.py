"""Whoever may not upload is told before a large body of his fills memory or disk."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from archives_made import wheel_bytes
from callers import Caller
from clients import INSTALLER, Index, Request
from conftest import at_once, until
from sockets import answer, connect, next_answer, request
from test_early import MET, ask, form, in_between, installer, post, unmet
from watched import spooled

from extrapypi.sessions import COOKIE

MIB = 2**20
ANNOUNCED = 50 * MIB
PAGE = "/dashboard/upload/"
WITH_ID = """
LOGGING_CONFIG["filters"] = {"id": {"()": "extrapypi.accesslog.RequestID"}}
LOGGING_CONFIG["handlers"]["default"]["filters"] = ["id"]
LOGGING_CONFIG["formatters"]["default"]["format"] = "[%(request_id)s] %(message)s"
"""

IMPATIENT = """
from extrapypi import channels, serving
channels.PATIENCE = serving.PATIENCE = 5
serving.LOOK = 0
THREADS = 1
"""

HASTY = "import sys; sys.setswitchinterval(1e-6)"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index, whose log has the requests' ids."""
    index = Index(tmp_path_factory.mktemp("index"), WITH_ID)
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


def basic(username: str, password: str) -> dict[str, str]:
    """The header with these credentials."""
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def token(index: Index, *options: str) -> dict[str, str]:
    """The header with a new token of the admin's."""
    return basic("__token__", index.command("token", "create", "admin", *options).strip())


def session(index: Index, username: str) -> dict[str, str]:
    """The header with the cookie of a new session."""
    with Caller(index) as caller:
        caller.log_in(username)
        return caller.cookie


def revoked(index: Index) -> dict[str, str]:
    """The header with a token that was good once."""
    header = token(index, "--scope", "upload")
    latest = max(each["number"] for each in json.loads(index.command("token", "list", "--json")))
    index.command("token", "revoke", str(latest))
    return header


REFUSED = {  # who -> path, the status, and the header that says who it is
    "nobody": ("/legacy/", "401", lambda index: {}),
    "a wrong password": ("/legacy/", "401", lambda index: basic("admin", "a wrong one")),
    "an unknown user": ("/simple/", "401", lambda index: basic("nobody", "a wrong one")),
    "an unknown token": ("/legacy/", "401", lambda index: basic("__token__", "pypi-unknown")),
    "a revoked token": ("/legacy/", "401", revoked),
    "no credentials at all": ("/legacy", "401", lambda index: {"Authorization": "Digest x"}),
    "an installer": ("/legacy/", "403", lambda index: {"Authorization": installer()}),
    "a token for reading": ("/legacy/", "403", lambda index: token(index, "--scope", "read")),
    "a browser": (PAGE, "403", lambda index: {}),
    "a browser with a cookie": (PAGE, "403", lambda index: {"Cookie": f"{COOKIE}=made-up"}),
    "an installer's browser": (PAGE, "403", lambda index: session(index, INSTALLER)),
}


def on_disk(index: Index) -> int:
    """Bytes of the bodies that are on their way in."""
    folder = Path(f"/proc/{index.process.pid}/fd")
    hidden = sum(path.stat().st_size for path in folder.iterdir() if "(deleted)" in target(path))
    return hidden + sum(in_between(index))


def target(path: Path) -> str:
    """What a link leads to; "" when it has gone."""
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize("who", REFUSED)
def test_who_may_not_upload_is_told_before_the_body_comes(index, who):
    path, status, header = REFUSED[who]
    waiting = {"Content_Length": str(ANNOUNCED), "Expect": "100-continue", **header(index)}
    with connect(index) as connection:
        connection.sendall(request(path, "POST", **waiting))
        assert answer(connection).status.startswith(f"{status} ")


@pytest.mark.parametrize("who", REFUSED)
def test_of_who_may_not_upload_nothing_comes_to_the_disk(index, who):
    path, status, header = REFUSED[who]
    sent = request(path, "POST", bytes(ANNOUNCED), **header(index))
    with connect(index) as connection:
        connection.sendall(sent[: 20 * MIB])
        assert on_disk(index) == 0
        connection.sendall(sent[20 * MIB :])
        assert answer(connection).status.startswith(f"{status} ")


def test_a_wrong_password_counts_once_and_its_lines_have_one_id(index):
    failures = "SELECT count(*) FROM failures"
    with closing(sqlite3.connect(index.folder / "extrapypi.db")) as rows:
        before = rows.execute(failures).fetchone()[0]
        ask(index, post(bytes(MIB), basic("developer", "a wrong one")["Authorization"]))
        assert rows.execute(failures).fetchone()[0] == before + 1
    lines = index.log.read_text().splitlines()
    (warned,) = (line.split()[0] for line in lines if "for developer" in line)
    assert sum(line.startswith(warned) for line in lines) == 2


@pytest.mark.parametrize("who", ["an installer", "an installer's browser", "a token for reading"])
def test_the_access_line_of_who_may_not_upload_has_his_name(index, who):
    path, _, header = REFUSED[who]
    sent = request(path, "POST", bytes(MIB), **header(index))
    with index.requests() as seen:
        assert ask(index, sent).status.startswith("403 ")
    assert seen == [Request("admin" if "token" in who else INSTALLER, "POST", path, 403)]


def test_the_log_says_why_it_is_not_known_who_may_upload(index):
    database, away = index.folder / "extrapypi.db", index.folder / "away.db"
    start = index.log.stat().st_size
    database.rename(away)
    try:
        found = ask(index, post(bytes(MIB), unmet()))
    finally:
        away.rename(database)
    assert found.status.startswith("503 ")
    assert found.headers["Retry-After"] == "5"
    assert "POST /legacy/: The database does not answer" in index.log.read_text()[start:]


@pytest.mark.parametrize("path", ["/simple/", "/legacy/"])
def test_who_only_reads_may_do_so_whenever_the_end_of_an_empty_body_comes(index, path):
    more = {"Transfer_Encoding": "chunked", "Content_Length": "", "Authorization": installer()}
    with connect(index) as connection:
        connection.sendall(request(path, **more))
        assert index.get("/ping") == b"pong"
        connection.sendall(b"0\r\n\r\n")
        assert answer(connection).status == "200 OK"


def test_who_was_never_seen_before_is_let_in(index):
    for number in range(3):
        filename, body = wheel_bytes(f"unseen-{number}", files={"data.bin": noise()})
        sent = post(form(filename, body) + b"--b--\r\n", unmet())
        assert ask(index, sent).status == "200 OK"
        page = ask(index, request(f"/packages/unseen-{number}/{filename}", Authorization=MET))
        assert page.body == body


def noise() -> bytes:
    """A MiB that nothing packs tighter."""
    return Random(1).randbytes(MIB)


def test_who_waits_for_100_continue_gets_it_when_he_may_upload(index):
    sent = post(form(*wheel_bytes("patient", files={"data.bin": noise()})) + b"--b--\r\n", unmet())
    head, end, body = sent.partition(b"\r\n\r\n")
    with connect(index) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue" + end)
        assert answer(connection).status == "100 Continue"
        connection.sendall(body)
        assert answer(connection).status == "200 OK"


def test_a_browser_that_is_logged_in_sends_large_files(index):
    with Caller(index) as caller:
        caller.log_in("developer")
        fields = b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n%s\r\n'
        file = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
        filename, content = wheel_bytes("by-browser", files={"data.bin": noise()})
        body = fields % caller.form_token.encode() + file % (filename.encode(), content)
        more = {"Content_Type": "multipart/form-data; boundary=b", **caller.cookie}
        sent = request(PAGE, "POST", body + b"--b--\r\n", **more)
    assert ask(index, sent).status == "200 OK"
    assert filename.encode() in index.get("/simple/by-browser/")


def test_answers_keep_their_order_when_one_is_asked_about(index):
    first = post(form(*wheel_bytes("first", files={"data.bin": noise()})) + b"--b--\r\n", unmet())
    with connect(index) as connection, connection.makefile("rb") as stream:
        connection.sendall(request("/ping") + first + request("/ping"))
        found = [next_answer(stream) for _ in range(3)]
    assert [each.body for each in found] == [b"pong", b"OK\n", b"pong"]


def test_clients_that_go_while_they_are_asked_about_leave_nothing(index):
    for _ in range(20):
        with connect(index) as connection:
            connection.sendall(post(bytes(MIB), basic("nobody", "x")["Authorization"])[:2000])
    until(lambda: spooled(index) == [])
    assert in_between(index) == []
    assert ask(index, request("/simple/", Authorization=MET)).status == "200 OK"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_connection_that_breaks_when_100_continue_is_sent_takes_no_other_with_it(index):
    head, end, _ = post(bytes(MIB), unmet()).partition(b"\r\n\r\n")
    fault = ("-e", "trace=sendto", "-e", "inject=sendto:error=ETIMEDOUT:when=1")
    words = ["strace", "-f", *fault, "-o", "/dev/null", "-p", str(index.process.pid)]
    with connect(index) as other, connect(index) as connection:
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as strace:
            try:
                if "attached" not in (said := strace.stderr.readline()):
                    pytest.skip(f"strace is not allowed here: {said}")
                connection.sendall(head + b"\r\nExpect: 100-continue" + end)
                assert connection.recv(1) == b""
            finally:
                strace.send_signal(signal.SIGINT)
        other.sendall(request("/ping"))
        assert answer(other).body == b"pong"


@pytest.fixture
def impatient(tmp_path):
    """A running index that soon closes the connections of those who are late."""
    index = Index(tmp_path, IMPATIENT)
    yield index
    assert index.stop() == 0


def test_nobody_is_late_because_the_server_took_its_time_to_ask_about_him(impatient):
    head, end, body = post(bytes(MIB), unmet()).partition(b"\r\n\r\n")
    database = sqlite3.connect(impatient.folder / "extrapypi.db", isolation_level=None)
    with closing(database) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with connect(impatient) as failing, connect(impatient) as connection:
            failing.sendall(post(b"x", basic("nobody", "x")["Authorization"]))  # has to be noted
            connection.sendall(head + b"\r\nExpect: 100-continue" + end)
            with connect(impatient) as idle:
                assert idle.recv(1) == b""
            writer.execute("ROLLBACK")
            assert answer(connection).status == "100 Continue"
            connection.sendall(body)
            assert answer(connection).status.startswith("400 ")


@pytest.fixture
def hasty(tmp_path):
    """A running index, of which each thread soon gives way to the others."""
    index = Index(tmp_path, HASTY)
    ask(index, request("/simple/", Authorization=MET))
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


def test_threads_and_the_main_loop_do_not_get_in_each_others_way(hasty):
    head, end, body = post(bytes(MIB)).partition(b"\r\n\r\n")

    def send(number: int) -> None:
        for _ in range(20):
            with connect(hasty) as connection, connection.makefile("rb") as stream:
                page = request("/simple/nothing/", Authorization=MET)
                connection.sendall(page + head + b"\r\nExpect: 100-continue" + end)
                assert next_answer(stream).status.startswith("404 ")
                assert next_answer(stream).status == "100 Continue"
                connection.sendall(body)
                assert next_answer(stream).status.startswith("400 ")

    at_once(10, send)
