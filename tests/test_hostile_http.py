"""Hostile requests, byte by byte: each gets one answer, hides no other one, and holds up nobody."""

from __future__ import annotations

import base64
import re
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import pytest
from clients import ADMIN, PASSWORDS, Index
from sockets import LAST, answer, connect, conversation, next_answer, request

from extrapypi.framing import MOST_FIELDS
from extrapypi.serving import CONNECTIONS, HEADERS, PATIENCE

BASIC = "Basic " + base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()
AUTHORIZED = f"Authorization: {BASIC}".encode()
# What stands in a body, and must never be taken for a request of its own.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
LOG_LINE = re.compile(r"\[[\d :,-]+: (INFO|WARNING) / (extrapypi(\.access)?|waitress)\] .+")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index with a project, whose log has nothing but whole lines in the end."""
    index = Index(tmp_path_factory.mktemp("index"))
    index.add("demo")
    yield index
    assert index.stop() == 0
    for line in index.log.read_text().splitlines():
        assert LOG_LINE.fullmatch(line) and line.isprintable(), line


def header(*fields: bytes, first=b"GET /simple/demo/ HTTP/1.1", host=b"Host: localhost") -> bytes:
    """A header with the admin's credentials."""
    return b"\r\n".join([first, *host.splitlines(), AUTHORIZED, *fields, b"", b""])


def check_refused(index: Index, sent: bytes, status: str = "400 ") -> None:
    """Makes sure that the bytes get one answer, with a sentence, which ends the connection."""
    with index.requests() as seen:
        answers = conversation(index, sent)
    assert [each.status[:4] for each in answers] == [status]
    assert answers[0].body.endswith(b".\n")
    assert answers[0].headers["Connection"] == "close"
    assert [(each.user, each.path, f"{each.status} ") for each in seen] == [("-", "-", status)]
    assert index.get("/ping") == b"pong"


FILLED = header(b"X: " + b"x" * HEADERS)[: HEADERS - 5]
TOO_LARGE = {
    "a field of 1 MB": header(b"X: " + b"x" * 1024**2),
    "100,000 fields": header(*[b"X%d: y" % number for number in range(100_000)]),
    "a field too many": header(*[b"X: y"] * (MOST_FIELDS - 1)),
    "a byte too many": FILLED + b"x\r\n\r\n",
    "a target of 64 KiB": header(first=b"GET /" + b"x" * HEADERS + b" HTTP/1.1"),
}


@pytest.mark.parametrize("header", TOO_LARGE.values(), ids=TOO_LARGE)
def test_too_large_a_header_is_431(index, header):
    check_refused(index, header, "431 ")


@pytest.mark.parametrize("sent", [FILLED + b"\r\n\r\n", header(*[b"X: y"] * (MOST_FIELDS - 2))])
def test_as_much_as_there_may_be_of_a_header_is_read(index, sent):
    assert [each.status for each in conversation(index, sent)] == ["200 OK", "200 OK"]


MALFORMED = {
    "no colon": header(b"X"),
    "a NUL": header(b"X: a\0b"),
    "a bare CR": header(b"X: a\rY: b"),
    "a bare LF": header(b"X: a\nY: b"),
    "a vertical tab": header(b"Transfer-Encoding:\x0bchunked"),
    "a folded field": header(b"X: a", b" b"),
    "a field folded by a tab": header(b"X: a", b"\tTransfer-Encoding: chunked"),
    "a folded first field": header(host=b" Host: localhost"),
    "a name beyond ASCII": header("Ä: x".encode()),
    "no name": header(b": x"),
    "a blank in a name": header(b"X Y: z"),
    "a blank behind a name": header(b"X : z"),
    "a blank before the request": b" " + header(),
    "a line feed before the request": b"\n" + header(),
    "empty lines": b"\r\n\r\n" + header(),
    "only line feeds": b"GET /ping HTTP/1.1\nHost: localhost\n\n",
    "two hosts": header(b"Host: localhost"),
    "two hosts in one field": header(host=b"Host: localhost, evil.example"),
    "two credentials": header(AUTHORIZED),
    "other credentials": header(b"authorization: Basic eDp5"),
    "two types": header(b"Content-Type: a/b", b"Content-Type: a/b"),
    "no host": header(host=b""),
    "no name in the host": header(host=b"Host:"),
    "a host with a path": header(host=b"Host: evil.example/x?"),
    "a host with a user": header(host=b"Host: a@evil.example"),
    "a host with a page": header(host=b'Host: "><script>'),
    "a port of six digits": header(host=b"Host: localhost:123456"),
}
STARTS = {
    "HTTP/0.9": b"GET /ping\r\n\r\n",
    "HTTP/1.2": header(first=b"GET /ping HTTP/1.2"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": header(first=b"GET /ping HTTP/9.9"),
    "small letters": header(first=b"GET /ping http/1.1"),
    "more behind it": header(first=b"GET /ping HTTP/1.1 HTTP/1.1"),
    "two blanks": header(first=b"GET  /ping HTTP/1.1"),
    "a method in small letters": header(first=b"get /ping HTTP/1.1"),
    "no method": header(first=b"/ping HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x01" * 500,
    "SOCKS": b"\x05\x01\x00",
}


@pytest.mark.parametrize("sent", (MALFORMED | STARTS).values(), ids=MALFORMED | STARTS)
def test_what_is_no_request_is_400(index, sent):
    check_refused(index, sent)


@pytest.mark.parametrize("start", [STARTS["TLS"], STARTS["SOCKS"], MALFORMED["only line feeds"]])
def test_who_speaks_another_protocol_does_not_wait_for_an_answer(index, start):
    with connect(index) as connection:
        connection.sendall(start)
        assert answer(connection).status.startswith("400 ")


@pytest.mark.parametrize(
    "target",
    [
        *(b"*", b"ping", b"localhost:80", b"\\ping", b"?x", b"/p\ting", "/ä".encode(), b"ftp://x/"),
        *(b"http://evil.example/ping", b"http://a@localhost/ping", b"http://[", b"http:///ping"),
    ],
)
def test_a_target_that_is_no_path_of_this_host_is_400(index, target):
    check_refused(index, header(first=b"GET " + target + b" HTTP/1.1"))


def test_the_absolute_form_of_a_url_of_this_host_is_as_good_as_the_path(index):
    plain = conversation(index, header())[0].body
    for target in (b"http://localhost/simple/demo/", b"HTTPS://LocalHost/simple/demo/#x"):
        first = b"GET " + target + b" HTTP/1.1"
        assert conversation(index, header(first=first))[0].body == plain
    assert (
        conversation(index, header(first=b"GET http://localhost HTTP/1.1"))[0].status[:3] == "302"
    )


def test_a_name_with_an_underscore_is_not_that_with_a_dash(index):
    fields = (
        b"Content_Length: 9",
        b"Transfer_Encoding: chunked",
        b"If_None_Match: *",
        b"User_Agent: x",
    )
    answers = conversation(index, header(*fields))
    assert [each.status for each in answers] == ["200 OK", "200 OK"]


def chunked(*fields: bytes, body: bytes = b"0\r\n\r\n") -> bytes:
    """A POST with these fields and a body that ends in a request of its own, in some eyes."""
    return header(*fields, first=b"POST /_/oidc/x HTTP/1.1") + body + HIDDEN


LENGTH, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
LENGTHS = (b"+5", b"-5", b"5,5", b"5, 6", b"5 5", b"0x5", b"1_0", b"5.0", b"", b"\xb2", b"9" * 30)
ENCODINGS = (b"xchunked", b"chunked, identity", b"identity", b"gzip, chunked", b'"chunked"', b"")
ENCODINGS += (b"chunked, chunked", b"chunked,", b"chu\tnked", b"chunked;q=1", b"\x85chunked")
SIZES = (
    b"0x5",
    b"+5",
    b"-5",
    b" 5",
    b"5 ",
    b"5_0",
    b"",
    b"g",
    b"F" * 16,
    b"5\n",
    b"5;\x00",
    b"\xb2",
)
AMBIGUOUS = {
    "a length and chunks": chunked(LENGTH, TE),
    "chunks and a length": chunked(TE, b"Content-Length: 0"),
    "twice the same length": chunked(LENGTH, LENGTH),
    "two lengths": chunked(LENGTH, b"Content-Length: 6"),
    "chunks twice": chunked(TE, TE),
    "chunks and more": chunked(TE, b"Transfer-Encoding: identity"),
    "chunks of HTTP/1.0": chunked(TE, b"Connection: keep-alive").replace(b"1.1", b"1.0", 1),
    "a blank before the colon": chunked(b"Transfer-Encoding : chunked"),
    **{f"the length {each!r}": chunked(b"Content-Length: " + each) for each in LENGTHS},
    **{f"the encoding {each!r}": chunked(b"Transfer-Encoding: " + each) for each in ENCODINGS},
}
BAD_CHUNKS = {
    **{f"the size {size!r}": size + b"\r\nabcde\r\n0\r\n\r\n" for size in SIZES},
    "only a line feed": b"5\nabcde\n0\n\n",
    "more than it says": b"5\r\nabcdefg\r\n0\r\n\r\n",
    "no end": b"5\r\nabcde0\r\n\r\n",
    "an empty line": b"5\r\nabcde\r\n\r\n0\r\n\r\n",
    "a bare line feed behind it": b"5\r\nabcde\n0\r\n\r\n",
    "a bare line feed in the trailer": b"0\r\nX: y\n\r\n",
    "an endless extension": b"5;" + b"x" * 20_000,
    "an endless trailer": b"0\r\n" + b"X: y\r\n" * 2000,
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_body_without_a_clear_end_is_400_and_nothing_behind_it_is_read(index, sent):
    check_refused(index, sent)


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_what_is_no_chunk_is_400_and_nothing_behind_it_is_read(index, body):
    with index.requests() as seen:
        answers = conversation(index, chunked(TE, body=body))
    assert [each.status[:4] for each in answers] == ["400 "]
    assert [each.path for each in seen] == ["/_/oidc/x"]


@pytest.mark.parametrize("size", [b"%x", b"%X", b"000%x", b"%x;a", b'%x ; a="\\"\\\\"; b=\xff'])
@pytest.mark.parametrize("trailer", [b"", b"Authorization: x\r\nContent-Length: 9\r\n"])
def test_what_stands_in_a_body_is_no_request(index, size, trailer):
    body = size % len(HIDDEN) + b"\r\n" + HIDDEN + b"\r\n0\r\n" + trailer + b"\r\n"
    with index.requests() as seen:
        answers = conversation(index, header(TE, first=b"POST /_/oidc/x HTTP/1.1") + body)
    assert [each.status[:3] for each in answers] == ["404", "200"]
    assert [each.path for each in seen] == ["/_/oidc/x", "/ping"]


def test_a_trailer_gives_no_credentials(index):
    body = b"0\r\n" + AUTHORIZED + b"\r\n\r\n"
    sent = request("/legacy/", "POST", Content_Length="", Transfer_Encoding="chunked") + body
    assert [each.status[:3] for each in conversation(index, sent)] == ["401"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest.mark.parametrize("path", ["/simple/demo/", "/ping", "/nowhere"])
def test_a_body_that_nobody_wants_is_no_request_either(index, method, path):
    sent = request(path, method, HIDDEN, Authorization=BASIC)
    with index.requests() as seen:
        answers = conversation(index, sent, method)
    assert [each.path for each in seen] == [path, "/ping"]
    assert answers[1].body == b"pong"
    assert bool(answers[0].body) == (method != "HEAD")


def test_the_answer_to_a_head_request_has_no_body_when_it_is_a_refusal(index):
    sent = request("/ping", "HEAD", b"x" * 600_000)
    assert [each.status[:4] for each in conversation(index, sent, "HEAD")] == ["413 "]


def test_a_body_that_is_not_complete_is_not_acted_on(index):
    with index.requests() as seen, connect(index) as connection:
        connection.sendall(chunked(TE, body=b"5\r\nabcde\r\n")[: -len(HIDDEN)])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert seen == []


@pytest.mark.parametrize(
    "field",
    [b"Expect: 100-continue", b"Expect: a miracle", b"Upgrade: h2c", b"Connection: upgrade, close"],
)
def test_what_a_client_hopes_for_does_not_keep_it_from_its_answer(index, field):
    with connect(index) as connection, connection.makefile("rb") as stream:
        connection.sendall(header(field) + LAST)
        assert [next_answer(stream).status for _ in range(2)] == ["200 OK", "200 OK"]


def test_http_1_0_may_keep_the_connection_and_need_not_name_a_host(index):
    kept = b"GET /ping HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    assert [each.body for each in conversation(index, kept * 2)] == [b"pong"] * 3
    assert len(conversation(index, b"GET /ping HTTP/1.0\r\n\r\n")) == 1


CREDENTIALS = {
    "60 KB": "Basic " + "QUJD" * 15_000,
    "no base64": "Basic ?!?",
    "beyond ASCII": "Basic \xe4\xf6",
    "no colon": "Basic YWRtaW4=",
    "a NUL": "Basic " + base64.b64encode(b"admin\0:x\0y").decode(),
    "CR and LF": "Basic " + base64.b64encode(b"admin\r\nX: y:z").decode(),
    "no UTF-8": "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
    "separators": "Basic " + base64.b64encode("a\x85b\u2028c\u2029:x".encode()).decode(),
    "nothing": "Basic",
    "an empty bearer": "Bearer  ",
    "a long bearer": "Bearer " + "x" * 60_000,
    "another scheme": 'Digest username="admin"',
}


@pytest.mark.parametrize("credentials", CREDENTIALS.values(), ids=CREDENTIALS)
def test_odd_credentials_are_401(index, credentials):
    sent = b"POST /simple/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nAuthorization: "
    answers = conversation(index, sent + credentials.encode("latin-1") + b"\r\n\r\nxx")
    assert [each.status[:3] for each in answers] == ["401", "200"]
    assert answers[0].body.endswith(b".\n")


MUCH = {  # field -> the status of a project's page and of a file
    b"Range: bytes=" + b"0-0," * 15_000 + b"0-0": (200, 200),
    b"Range: bytes=0-0, 0-0": (200, 200),
    b"Range: bytes=0-" + b"9" * 18: (200, 206),
    b"Range: bytes=0-" + b"9" * 5000: (200, 200),
    b"Range: bytes=" + b"9" * 18 + b"-": (200, 416),
    b"Range: bytes=-0": (200, 416),
    b"Range: lines=0-1": (200, 200),
    b"Accept: " + b"a/b;q=0.1," * 6000 + b"text/html": (406, 200),
    b"Accept: text/html;q=1e999, */*;q=nan": (406, 200),
    b"Accept: text/html;q=-1, */*;q=0x1": (406, 200),
    b"Accept: ,;,;=,q=": (406, 200),
    b"Accept-Encoding: " + b"gzip;q=0," * 6000: (200, 200),
    b"Accept-Encoding: gzip;q=" + b"9" * 5000: (200, 200),
    b"Cookie: extrapypi_session=" + b"x" * 60_000: (200, 200),
    b"Cookie: " + b"extrapypi_session=x;" * 3000: (200, 200),
    b"If-None-Match: " + b'"x", ' * 12_000: (200, 200),
    b"If-None-Match: W/": (200, 200),
    b"If-Modified-Since: " + b"9" * 60_000: (200, 200),
    b"If-Modified-Since: Sat, 99 Feb 0000 99:99:99 -9999": (200, 200),
    b"If-Range: " + b"x" * 60_000: (200, 200),
}


@pytest.mark.parametrize("field", MUCH, ids=lambda field: field[:30].decode())
def test_fields_of_absurd_size_or_form_get_the_right_answer(index, field):
    statuses = []
    for path in (b"/simple/demo/", b"/packages/demo/demo-1.0-py3-none-any.whl"):
        answers = conversation(index, header(field, first=b"GET " + path + b" HTTP/1.1") * 2)
        assert len(answers) == 3
        statuses.append({int(each.status[:3]) for each in answers[:2]})
    assert statuses == [{status} for status in MUCH[field]]


def test_of_an_endless_accept_only_the_start_is_read(index):
    accept = "a/b;q=0.1," * 6000 + "application/json"
    answers = conversation(index, request("/nowhere", Accept=accept))
    assert answers[0].headers["Content-Type"].startswith("text/plain")


SLOW = {  # with what the server once had to do for minutes
    "blanks in a field": header(b"X:" + b" " * 60_000 + b"y"),
    "digits in a URL": header(first=b"GET x://" + b"1" * 60_000 + b" HTTP/1.1x"),
    "empty lines": b"\r\n" * 2_000_000,
    "small chunks": chunked(TE, body=b"1\r\nx\r\n" * 500_000),
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_nobody_waits_for_a_request_that_is_much_work_to_read(index, sent):
    with ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connect(index))
            connection.setblocking(False)
            connection.send(sent)
        other = stack.enter_context(connect(index))
        for _ in range(3):
            other.sendall(request("/ping"))
            assert answer(other).body == b"pong"


def test_requests_that_wait_for_an_answer_fill_no_memory(index):
    def resident() -> int:
        (line,) = re.findall(
            r"VmRSS:\s+(\d+) kB", Path(f"/proc/{index.process.pid}/status").read_text()
        )
        return int(line)

    before = resident()
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connect(index))
            connection.setblocking(False)
            connection.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000)
        for _ in range(100):
            assert index.get("/ping") == b"pong"
            assert resident() < before + 30_000


def test_urgent_data_ends_the_connection_and_keeps_nobody_busy(index):
    with connect(index) as connection:
        connection.send(b"x", socket.MSG_OOB)
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_connections_that_wait_make_room_for_others(index):
    """Half a header, half a body, and nothing at all; some send a byte now and then."""
    starts = (b"GET /pi", request("/ping", "POST", b"x" * 1000)[:-500], b"")
    with ExitStack() as stack:
        waiting = [stack.enter_context(connect(index)) for _ in range(CONNECTIONS + 20)]
        for number, connection in enumerate(waiting):
            connection.sendall(starts[number % 3])
        for number in range(3):
            waiting[number].sendall(b"x")
            with connect(index) as other:
                other.sendall(request("/ping"))
                assert answer(other).body == b"pong"
    assert index.get("/ping") == b"pong"


@pytest.mark.long
def test_late_clients_lose_their_connection_and_slow_ones_do_not(tmp_path):
    """200 that send a byte now and then, two that read nothing, and one at 1 KB a second."""
    index = Index(tmp_path, "THREADS = 2")
    index.add("large", files={"large.bin": Random(3).randbytes(20_000_000)})
    path = "/packages/large/large-1.0-py3-none-any.whl"
    half = request("/ping", "POST", b"x" * 100_000)
    starts = (half[:-90_000], b"GET / HTTP/1.1\r\nX: ")
    try:
        with ExitStack() as stack:
            late = [stack.enter_context(connect(index)) for _ in range(200)]
            for connection in late:
                connection.sendall(starts[connection.fileno() % 2])
            for _ in range(2):
                late.append(stack.enter_context(connect(index)))
                late[-1].sendall(request(path, Authorization=BASIC))
            slow = stack.enter_context(connect(index))
            slow.sendall(half[:-100_000])
            left = 100_000
            for _ in range(PATIENCE // 5 + 10):
                time.sleep(5)
                for connection in late[:200]:
                    with suppress(ConnectionError):
                        connection.sendall(b"x")
                if left > 10_000:
                    slow.sendall(b"x" * 5_000)
                    left -= 5_000
                with connect(index) as other:
                    other.sendall(request("/ping"))
                    assert answer(other).body == b"pong"
            assert all(is_closed(connection) for connection in late)
            slow.sendall(b"x" * left)
            assert answer(slow).status.startswith("405 ")
    finally:
        assert index.stop() == 0


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection; what it had sent before is read."""
    with suppress(ConnectionResetError):
        while connection.recv(1_000_000):
            pass
    return True
