"""Hostile requests to the other servers that we name: gunicorn, and nginx in front of our own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from typing import NamedTuple

import pytest
from clients import CHECKOUT, Index
from sockets import conversation, request
from test_hostile_http import AMBIGUOUS, BAD_CHUNKS, BASIC, MALFORMED, TE, chunked, header
from test_hostile_urls import FORWARDED, INJECTED

spec = importlib.util.spec_from_file_location("example", CHECKOUT / "examples/several_servers.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


class Gunicorn(Index):
    """An index under gunicorn, in two processes."""

    def _start(self) -> subprocess.Popen:
        with self.log.open("wb") as log, socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            bind = ("--bind", f"fd://{listener.fileno()}", "--workers", "2", "--threads", "4")
            return subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *bind, "extrapypi.wsgi:app"],
                cwd=self.empty,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                pass_fds=(listener.fileno(),),
            )

    def _announced(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


class Front(NamedTuple):
    """A server in front of an index."""

    url: str
    index: Index


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory):
    """An index under gunicorn, that trusts no proxy."""
    index = Gunicorn(tmp_path_factory.mktemp("gunicorn"))
    index.add("demo")
    yield index
    index.stop()
    assert "Traceback" not in index.log.read_text()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """An index behind nginx, as in the example; it trusts the proxy alone."""
    if not os.environ.get("CI") and not shutil.which(
        "nginx", path="/usr/sbin:" + os.environ["PATH"]
    ):
        pytest.skip("nginx is not installed (see the README)")
    folder = tmp_path_factory.mktemp("nginx")
    index = Index(folder, 'TRUSTED_PROXY = "127.0.0.1"')
    index.add("demo")
    (port,) = example.free_ports(1)
    with example.nginx(folder, port, [index.url]):
        yield Front(f"http://127.0.0.1:{port}", index)
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


STRANGER = "127.0.0.2"  # an address of this machine that is no proxy's
INCOMPLETE = "the length b'999999999999999999999999999999'", "the size b'FFFFFFFFFFFFFFFF'"
BODIES = {
    **AMBIGUOUS,
    **{f"chunks with {name}": chunked(TE, body=body) for name, body in BAD_CHUNKS.items()},
}
BODIES = {name: sent for name, sent in BODIES.items() if not name.endswith(INCOMPLETE)}


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_gunicorn_takes_nothing_in_a_body_for_a_request(gunicorn, sent):
    with gunicorn.requests() as seen:
        answers = conversation(gunicorn, sent)
    assert "/hidden" not in {each.path for each in seen}
    assert answers[0].status.startswith(("4", "501"))


@pytest.mark.parametrize(
    "path", [b"/legacy/", b"/simple/", b"/dashboard/login", b"/dashboard/upload/"]
)
@pytest.mark.parametrize(
    "kind", [b"multipart/form-data; boundary=b", b"application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize("body", [b"zz\r\n", b"5\r\nabcdef\r\n", b"5;\x00\r\n", b"5\nabcde\r\n"])
def test_a_body_that_gunicorn_cannot_read_is_the_clients_fault(gunicorn, path, kind, body):
    first = b"POST " + path + b" HTTP/1.1"
    answers = conversation(gunicorn, header(TE, b"Content-Type: " + kind, first=first) + body)
    assert answers[0].status.startswith(("400 ", "303 "))


@pytest.mark.parametrize("sent", (MALFORMED | BODIES).values(), ids=MALFORMED | BODIES)
def test_nginx_and_we_see_the_same_requests_in_the_same_bytes(nginx, sent):
    with nginx.index.requests() as seen:
        answers = conversation(nginx, sent)
    ours = [int(each.status[:3]) for each in answers if b"<center>nginx" not in each.body]
    assert ours == [each.status for each in seen]


@pytest.fixture(params=["gunicorn", "nginx"])
def front(request):
    """One of the two, and its index."""
    found = request.getfixturevalue(request.param)
    return found, getattr(found, "index", found)


def test_what_a_stranger_says_of_a_proxy_has_no_effect_there_either(front):
    server, index = front
    for path in ("/simple/demo/", "/simple/Demo", "/", "/pypi/demo/json", "/legacy/", "/evil/ping"):
        start = index.log.stat().st_size
        plain, lied = (
            conversation(server, request(path, Authorization=BASIC, **fields), source=STRANGER)[0]
            for fields in ({}, FORWARDED)
        )
        assert plain.status == lied.status
        assert plain.body == lied.body
        assert plain.headers.get("Location") == lied.headers.get("Location")
        assert "203.0.113" not in index.log.read_bytes()[start:].decode()


@pytest.mark.parametrize("target", INJECTED.values(), ids=INJECTED)
def test_a_request_is_one_line_in_the_log_there_too(front, target):
    server, index = front
    start = index.log.stat().st_size
    sent = request(target.replace(" ", "%20"), Authorization=BASIC, User_Agent='x" 200 "\x85')
    answers = conversation(server, sent)
    lines = index.log.read_bytes()[start:].decode().splitlines()
    assert len(lines) == len(answers)
    assert all(line.count('"') == 4 for line in lines)
