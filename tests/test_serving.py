"""The server as a process: early refusals, keep-alive, many connections, and how it stops."""

from __future__ import annotations

import base64
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from random import Random

import pytest
from archives_made import wheel_bytes
from clients import ADMIN, PASSWORDS, Index
from conftest import form_of, until
from sockets import answer, connect, request

from extrapypi.gateway import NOTHING

CREDENTIALS = base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index that takes files of at most 64 MiB."""
    index = Index(tmp_path_factory.mktemp("index"), "MAX_UPLOAD_SIZE = 64 * 1024**2")
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


@pytest.fixture
def own_index(tmp_path):
    """A running index of the test's own; it is stopped in any case."""
    index = Index(tmp_path, "SHUTDOWN_TIMEOUT = 20")
    yield index
    index.stop()


def upload_request(archive: tuple[str, bytes] | None = None, **headers: str) -> bytes:
    """The bytes of the upload by the admin, of a small wheel when nothing else is given."""
    filename, body = archive or wheel_bytes()
    parts = [(f'name="{name}"', text.encode()) for name, text in form_of(filename, body).items()]
    parts.append((f'name="content"; filename="{filename}"', body))
    form = b"".join(
        b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), content)
        for head, content in parts
    )
    kind = "multipart/form-data; boundary=b"
    headers = {"Authorization": f"Basic {CREDENTIALS}", "Content_Type": kind, **headers}
    return request("/legacy/", "POST", form + b"--b--\r\n", **headers)


def test_two_requests_go_over_one_connection(index):
    with connect(index) as connection:
        for _ in range(2):
            connection.sendall(request("/ping"))
            assert answer(connection)[2] == b"pong"


@pytest.fixture(scope="module")
def large(index):
    """The path of a wheel that is sent in several pieces, and its bytes."""
    filename, body = wheel_bytes("large", files={"large.bin": Random(3).randbytes(500_000)})
    with connect(index) as connection:
        connection.sendall(upload_request((filename, body)))
        assert answer(connection)[0] == "200 OK"
    return f"/packages/large/{filename}", body


def exchange(connection: socket.socket, path: str, **headers: str) -> tuple:
    """The admin's answer to a GET, as :func:`answer` gives it."""
    connection.sendall(request(path, Authorization=f"Basic {CREDENTIALS}", **headers))
    return answer(connection)


@pytest.mark.parametrize("query", ["", "?by=the-routes"])
def test_after_a_304_the_connection_stays_open(index, large, query):
    with connect(index) as connection:
        for path in ("/simple/", "/simple/large/", large[0], f"{large[0]}.metadata"):
            tag = exchange(connection, path)[1]["Etag"]
            for _ in range(2):
                status, headers, body = exchange(connection, path + query, If_None_Match=tag)
                assert (status, body, headers["Etag"]) == ("304 Not Modified", b"", tag)
                assert not {"Connection", "Transfer-Encoding", "Content-Length"} & set(headers)
        assert exchange(connection, "/ping")[2] == b"pong"


@pytest.mark.parametrize("query", ["", "?by=the-routes"])
@pytest.mark.parametrize("tag", ["*", ""])
def test_after_any_answer_it_closes_for_a_client_that_asks_for_it(index, tag, query):
    first = request(f"/simple/{query}", Authorization=f"Basic {CREDENTIALS}", If_None_Match=tag)
    of_old = first.replace(b"HTTP/1.1", b"HTTP/1.0")
    for raw in (first.replace(b"\r\n\r\n", b"\r\nConnection: Close\r\n\r\n"), of_old):
        with connect(index) as connection:
            connection.sendall(raw)
            status, headers, body = answer(connection)
            assert status == ("304 Not Modified" if tag else "200 OK")
            assert headers["Connection"] == "close"
            assert bool(body) != bool(tag)
            assert connection.recv(1) == b""


def test_what_is_kept_and_what_is_not_arrive_alike_one_after_the_other(index, large):
    path, whole = large
    with connect(index) as connection:
        for asked in ("/simple/", "/simple/large/", path, f"{path}.metadata"):
            first = exchange(connection, asked)
            for headers in ({}, {"Range": "bytes=100000-400000"}, {"Range": "bytes=-5"}):
                answers = [
                    exchange(connection, asked + query, **headers)
                    for query in ("?by=the-routes", "", "")
                ]
                for _, sent, _ in answers:
                    del sent["Date"], sent["X-Request-Id"]
                assert answers[0] == answers[1] == answers[2]
                assert len(answers[0][2]) == int(answers[0][1]["Content-Length"])
            assert exchange(connection, asked)[2] == first[2]
        assert exchange(connection, path)[2] == whole
        assert exchange(connection, path, Range="bytes=100000-400000")[2] == whole[100000:400001]


def test_a_body_without_credentials_is_read_and_refused_with_401(index):
    with connect(index) as connection:
        connection.sendall(request("/legacy/", "POST", b"x" * 50_000_000))
        status, headers, body = answer(connection)
        assert status.startswith("401 This needs a user name")
        assert headers["Www-Authenticate"].startswith("Basic")
        assert body


def test_a_body_that_is_announced_too_large_is_refused_with_the_limit(index):
    with connect(index) as connection:
        headers = {"Authorization": f"Basic {CREDENTIALS}", "Expect": "100-continue"}
        size = str(200 * 1024**2)
        connection.sendall(request("/legacy/", "POST", Content_Length=size, **headers))
        status, _, body = answer(connection)  # such a client waits before it sends the body
        assert status.startswith("413 ")
        assert str(64 * 1024**2).encode() in body


def test_a_large_body_is_taken_only_where_something_is_uploaded(index):
    with connect(index) as connection:
        connection.sendall(request("/ping", "POST", b"x" * 1_000_000, Authorization="x"))
        assert answer(connection)[0].startswith("413 Nothing is uploaded here")
    with connect(index) as connection:
        connection.sendall(request("/_/oidc/mint-token", "POST", b"{}"))
        assert answer(connection)[0].startswith("404 ")  # without credentials, as uv asks


UNHEARD = {  # what the application never sees -> the status
    b"nonsense\r\n\r\n": "400",
    b"GET / HTTP/1.1\r\n<script>\r\n\r\n": "400",
    request("/", X=70_000 * "x"): "431",
    request("/", "POST", Content_Length="<script>"): "400",
    request("/", "POST", Content_Length="", Transfer_Encoding="gzip"): "400",
    request("/legacy/", "POST", b"x" * 600_000): "401",
    request("/dashboard/upload/", "POST", b"x" * 600_000): "403",
    request("/ping", "POST", b"x" * 600_000): "413",
}


@pytest.mark.parametrize("sent", UNHEARD, ids=range(len(UNHEARD)))
def test_what_the_server_answers_by_itself_is_no_page_either(index, sent):
    with connect(index) as connection:
        connection.sendall(sent)
        status, headers, _ = answer(connection)
    assert status[:3] == UNHEARD[sent]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == NOTHING
    assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("credentials", ["", f"Basic {CREDENTIALS}"])
@pytest.mark.parametrize("start", [b"1;", b"0\r\nX: "])
def test_a_line_between_chunks_has_an_end(index, credentials, start):
    head = request("/legacy/", "POST", Content_Length="", Authorization=credentials)
    head = head.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    with connect(index) as connection:
        connection.sendall(head + start + b"a" * 20_000)  # and no line feed
        assert answer(connection)[0].startswith("4")


def test_a_body_in_chunks_has_the_limits_of_the_others(index):
    head = request("/ping", "POST", Content_Length="", Transfer_Encoding="chunked")
    with connect(index) as connection:
        connection.sendall(head + b"100000\r\n" + b"x" * 0x100000 + b"\r\n0\r\n\r\n")
        assert answer(connection)[0].startswith("413 Nothing is uploaded here")


def test_a_client_that_waits_for_100_continue_gets_it(index):
    whole = upload_request(Expect="100-continue")
    head, separator, body = whole.partition(b"\r\n\r\n")
    with connect(index) as connection:
        connection.sendall(head + separator)
        assert answer(connection)[0] == "100 Continue"
        connection.sendall(body)
        assert answer(connection)[0] == "200 OK"


def test_a_body_in_chunks_is_taken_and_its_refusal_too(index):
    whole = upload_request(Content_Length="", Transfer_Encoding="chunked")
    head, separator, body = whole.partition(b"\r\n\r\n")
    chunked = b"".join(b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body)))
    with connect(index) as connection:
        connection.sendall(head + separator + chunked + b"0\r\n\r\n")
        assert answer(connection)[0] == "200 OK"
    without = re.sub(rb"Authorization: [^\r]+\r\n", b"", head)
    with connect(index) as connection:
        connection.sendall(without + separator + chunked + b"0\r\n\r\n")
        assert answer(connection)[0].startswith("401 ")


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /legacy/ HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /legacy/ HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /legacy/ HTTP/1.1\r\nContent-Length: " + b"5" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_is_a_4xx_and_the_server_goes_on(index, raw):
    with connect(index) as connection:
        connection.sendall(raw)
        assert answer(connection)[0].startswith("4")
    assert index.get("/ping") == b"pong"


def test_a_hundred_connections_at_once_are_all_served(index):
    connections = [connect(index) for _ in range(100)]
    for connection in connections:
        connection.sendall(request("/simple/", Authorization=f"Basic {CREDENTIALS}"))
    for connection in connections:
        assert answer(connection)[0] == "200 OK"
        connection.close()


def test_an_upload_that_breaks_off_leaves_nothing(index):
    before = index.get("/simple/")
    with connect(index) as connection:
        connection.sendall(upload_request()[:-200])
    assert index.get("/simple/") == before
    folder = index.folder / "packages" / ".incoming"
    assert list(folder.iterdir()) == []


def test_sigterm_lets_a_half_sent_upload_come_to_its_end(own_index):
    whole = upload_request()
    with connect(own_index) as connection, connect(own_index) as idle:
        connection.sendall(whole[:-100])
        connection.sendall(b"")
        idle.sendall(request("/ping"))
        assert answer(idle)[2] == b"pong"  # by now the half of the upload has been read, too
        own_index.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""  # an idle connection is closed: the stop has begun
        connection.sendall(whole[-100:])
        status, headers, _ = answer(connection)
        assert (status, headers["Connection"]) == ("200 OK", "close")
    assert own_index.process.wait(20) == 0
    assert "demo_pkg-1.0" in str(list((own_index.folder / "packages").rglob("*.whl")))


def test_a_second_signal_does_not_wait(own_index):
    with connect(own_index) as connection, connect(own_index) as idle:
        connection.sendall(upload_request()[:-100])
        idle.sendall(request("/ping"))
        answer(idle)
        own_index.process.send_signal(signal.SIGINT)
        assert idle.recv(1) == b""
        own_index.process.send_signal(signal.SIGINT)
        assert own_index.process.wait(10) == 0
    assert "Stopped before all requests" in own_index.log.read_text()


def test_a_full_disk_is_507_with_a_sentence_and_the_server_goes_on(own_index):
    resource.prlimit(own_index.process.pid, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    with connect(own_index) as connection:
        size, body = 5_000_000, bytes(5_000_000)
        headers = {"Authorization": f"Basic {CREDENTIALS}", "Transfer_Encoding": "chunked"}
        head = request("/legacy/", "POST", Content_Length="", **headers)
        connection.sendall(b"%s%x\r\n%s\r\n0\r\n\r\n" % (head, size, body))
        status, _, body = answer(connection)
        assert status.startswith("507 There is no room")
        assert body
    with connect(own_index) as connection:
        connection.sendall(upload_request())
        assert answer(connection)[0] == "200 OK"


def test_an_address_in_use_is_one_sentence(index):
    port = index.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "extrapypi", "run", "--port", port],
        cwd=index.empty,
        env=index.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("extrapypi: Cannot listen on 127.0.0.1")


@pytest.mark.parametrize("path", ["/simple/kept/", "/packages/kept/kept-1.0-py3-none-any.whl"])
def test_what_is_in_memory_or_small_is_answered_while_all_threads_wait(tmp_path, path):
    index = Index(tmp_path, "THREADS = 1")
    index.add("kept")
    page = request(path, Authorization=f"Basic {CREDENTIALS}")
    kept = index.get(path)
    other = sqlite3.connect(tmp_path / "extrapypi.db", isolation_level=None)
    try:
        with connect(index) as waiting, connect(index) as reading:
            other.execute("BEGIN IMMEDIATE")  # for which the upload has to wait
            waiting.sendall(upload_request())
            for _ in range(2):  # by the second time the thread has the upload
                reading.sendall(page)
                assert answer(reading)[0] == "200 OK"
            reading.sendall(page)
            assert answer(reading)[2] == kept
            other.execute("ROLLBACK")
            assert answer(waiting)[0] == "200 OK"
    finally:
        other.close()
        assert index.stop() == 0


def test_a_client_that_pipelines_and_does_not_read_stops_nobody_else(tmp_path):
    index = Index(tmp_path)
    for number in range(40):
        index.add("large", f"1.{number}")
    page = index.get("/simple/large/")
    wanted = request("/simple/large/", Authorization=f"Basic {CREDENTIALS}")
    with connect(index) as greedy, connect(index) as other:
        greedy.sendall(wanted * (80 * 1024**2 // len(page)))  # more than one may leave unsent
        for _ in range(2):
            other.sendall(wanted)
            assert answer(other)[2] == page
    assert index.stop() == 0


def test_a_stop_that_does_not_wait_removes_half_sent_uploads(own_index):
    head = b"--b\r\nContent-Disposition: form-data; name=content; filename=x\r\n\r\n"
    headers = {
        "Authorization": f"Basic {CREDENTIALS}",
        "Content_Type": "multipart/form-data; boundary=b",
    }
    with connect(own_index) as connection, connect(own_index) as idle:
        connection.sendall(request("/legacy/", "POST", head + bytes(900_000), **headers)[:-1000])
        idle.sendall(request("/ping"))
        answer(idle)
        incoming = own_index.folder / "packages" / ".incoming"
        until(lambda: len(list(incoming.iterdir())) == 1)
        own_index.process.send_signal(signal.SIGINT)
        assert idle.recv(1) == b""  # the stop has begun
        own_index.process.send_signal(signal.SIGINT)
        assert own_index.process.wait(10) == 0
    assert list(incoming.iterdir()) == []


def test_credentials_in_a_url_reach_no_log(index):
    paths = {"http://admin:hunter2@localhost/simple/": "400", "/simple/?password=hunter2": "200"}
    for path, status in paths.items():
        with connect(index) as connection:
            answered, _, _ = exchange(connection, path, Referer=f"http://localhost{path}")
            assert answered.startswith(status)
    assert "hunter2" not in index.log.read_text()
