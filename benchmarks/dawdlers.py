"""Clients as slow as a bad line, which read and write a thousand bytes a second."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

from processes import Address

PACE = 1024  # bytes a second
PIECE = b"x" * PACE
BUFFER = 4096  # bytes that the system may take in for a reader in advance


def dawdle(address: Address, gets: list[bytes], posts: list[bytes], seconds: float) -> int:
    """Reads answers and writes bodies slowly; how many connections were open to the end.

    :param posts: requests without their bodies, which are longer than what is sent of them.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(begun(address, get)) for get in gets]
        writers = [stack.enter_context(begun(address, post)) for post in posts]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            readers = [each for each in readers if read(each)]
            writers = [each for each in writers if write(each)]
    return len(readers) + len(writers)


def begun(address: Address, request: bytes) -> socket.socket:
    """A connection on which the request has been sent."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.connect(address)
    made.sendall(request)
    made.setblocking(False)
    return made


def read(reader: socket.socket) -> bool:
    """Takes the next bytes; whether the connection is still open."""
    with suppress(BlockingIOError):
        try:
            return bool(reader.recv(PACE))
        except ConnectionError:
            return False
    return True


def write(writer: socket.socket) -> bool:
    """Sends the next bytes; whether the connection is still open."""
    with suppress(BlockingIOError):
        try:
            writer.send(PIECE)
        except ConnectionError:
            return False
    return True
