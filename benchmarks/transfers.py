"""Single requests, and large files on their way up and down."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import NamedTuple

from load import GRACE, ROOM, LoadError, body_length
from processes import Address


class Sent(NamedTuple):
    """The seconds of an upload: from connecting, and from its last byte, to the answer."""

    seconds: float
    waited: float


def ask(address: Address, request: bytes, status: int = 200) -> tuple[bytes, int]:
    """The head of the answer to one request, and the bytes of its body."""
    with socket.create_connection(address, timeout=GRACE) as connection:
        connection.sendall(request)
        head = b""
        while (length := body_length(head, b"%d" % status)) is None:
            head += received(connection)
    return head, length


def upload(address: Address, head: bytes, file: Path, tail: bytes) -> Sent:
    """How long a request with a large file in it took."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=10 * GRACE) as connection, file.open("rb") as up:
        connection.sendall(head)
        connection.sendfile(up)
        connection.sendall(tail)
        sent = time.monotonic()
        answer = b""
        while body_length(answer, b"200") is None:
            answer += received(connection)
    ended = time.monotonic()
    return Sent(ended - began, ended - sent)


def download(address: Address, request: bytes, size: int) -> float:
    """The seconds from connecting to the last byte of a large file.

    :raises LoadError: when it has another size.
    """
    began = time.monotonic()
    with socket.create_connection(address, timeout=10 * GRACE) as connection:
        connection.sendall(request)
        head = b""
        while (missing := body_length(head, b"200")) is None:
            head += received(connection)
        if missing != size:
            raise LoadError(f"The download has {missing} bytes instead of {size}.")
        missing -= len(head) - head.index(b"\r\n\r\n") - 4
        while missing > 0:
            got = connection.recv_into(ROOM)
            if not got:
                raise LoadError(f"The download broke off {missing} bytes before its end.")
            missing -= got
    return time.monotonic() - began


def received(connection: socket.socket) -> bytes:
    """The next bytes of an answer's head; LoadError when there are none."""
    data = connection.recv(64 * 1024)
    if not data:
        raise LoadError("The server hung up without an answer.")
    return data
