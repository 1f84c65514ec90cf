"""Hostile requests to the other servers that we name: gunicorn, and nginx in front of our own."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from typing import NamedTuple

import pytest
from clients import ADMIN, CHECKOUT, PASSWORDS, Index
from sockets import answer, connect, conversation, request
from test_hostile_http import AMBIGUOUS, BAD_CHUNKS, BASIC, HIDDEN, MALFORMED, TE, TOO_LARGE
from test_hostile_http import chunked, header
from test_hostile_urls import FORGED, FORWARDED, INJECTED

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
    yield Front(index.url, index)
    index.stop()
    assert "Traceback" not in index.log.read_text()


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """An index behind nginx, as in the example; it trusts the proxy alone."""
    if not os.environ.get("CI") and not shutil.which("nginx", path="/usr/sbin:" + os.environ["PATH"]):
        pytest.skip("nginx is not installed (see the README)")
    folder = tmp_path_factory.mktemp("nginx")
    index = Index(folder, 'TRUSTED_PROXY = "127.0.0.1"')
    index.add("demo")
    (port,) = example.free_ports(1)
    with example.nginx(folder, port, [index.url]):
        yield Front(f"http://127.0.0.1:{port}", index)
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


@pytest.fixture(params=["gunicorn", "nginx"])
def front(request) -> Front:
    """One of the two."""
    return request.getfixturevalue(request.param)


CHUNKED = {f"chunks with {name}": chunked(TE, body=body) for name, body in BAD_CHUNKS.items()}


@pytest.mark.parametrize("sent", (AMBIGUOUS | CHUNKED).values(), ids=AMBIGUOUS | CHUNKED)
def test_nothing_behind_a_body_is_taken_for_a_request(front, sent):
    with front.index.requests() as seen:
        answers = conversation(front, sent)
    assert "/hidden" not in {each.path for each in seen}
    assert all(each.status.startswith(("4", "501")) for each in answers[:1]), answers
    assert conversation(front, b"")[0].body == b"pong"
