"""Requests byte by byte, for what no HTTP client would send, and the answers to them."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import BinaryIO, NamedTuple

LAST = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    """An answer; of two headers of one name the last."""

    status: str  # the line, without the version
    headers: dict[str, str]
    body: bytes


def connect(server, source: str = "") -> socket.socket:
    """A connection to a server with a ``url``; nothing on it may take longer than 30 s.

    :param source: the address that it comes from, one of this machine.
    """
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), 30, (source, 0))


def request(path: str, method: str = "GET", body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request; a header's underscores are dashes."""
    headers = {"Host": "localhost", "Content_Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def answer(connection: socket.socket, method: str = "GET") -> Answer:
    """The next answer, after which nothing else may have come.

    :param method: of the request.
    """
    with connection.makefile("rb") as stream:
        return next_answer(stream, method)


def next_answer(stream: BinaryIO, method: str = "GET") -> Answer:
    """The next answer; its status is empty when the server has closed the connection."""
    status = stream.readline().decode().strip().partition(" ")[2]
    headers = {}
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(": ")
        headers[name] = value
    size = 0 if method == "HEAD" else int(headers.get("Content-Length", 0))
    return Answer(status, headers, stream.read(size))


def conversation(server, sent: bytes, method: str = "GET", source: str = "") -> list[Answer]:
    """All answers to these bytes and a last request for /ping, until the server closes.

    :param method: of the first request in them.
    """
    found = []
    with connect(server, source) as connection, connection.makefile("rb") as stream:
        with suppress(ConnectionError):  # the server has said enough
            connection.sendall(sent + LAST)
        while (one := next_answer(stream, "GET" if found else method)).status:
            found.append(one)
    return found
