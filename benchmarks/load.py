"""The load: requests over raw sockets, made ready beforehand, the same for every server.

Each connection has one request under way at any time (a closed loop). A client that does more
than count the bytes of an answer would measure itself.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import re
import selectors
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from processes import Address

PROCESSES = 2
CONNECTIONS = 4  # of each process
GRACE = 60  # seconds that a request may take after the time is up
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
ROOM = memoryview(bytearray(1024 * 1024))  # where the bytes of answers go, to be forgotten


class LoadError(Exception):
    """A server that did not answer as it should."""


@dataclass
class Tally:
    """What one process has measured; moments are those of ``time.monotonic``."""

    began: float
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)  # seconds


@dataclass(frozen=True)
class Rate:
    """What a case came to in one round."""

    latencies: list[float]  # seconds, sorted
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests that were answered each second."""
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        """The 99th percentile of the latencies."""
        return self.latencies[int(len(self.latencies) * 0.99)]

    def __add__(self, other: Rate) -> Rate:
        """Both, as if they had been one."""
        return Rate(sorted(self.latencies + other.latencies), self.seconds + other.seconds)


class Client:
    """One connection: sends its requests one after the other, and times the answers."""

    def __init__(
        self,
        address: Address,
        requests: Iterator[bytes],
        status: int,
        selector: selectors.BaseSelector,
        tally: Tally,
        stop: float,
    ) -> None:
        self.address, self.requests, self.status = address, requests, b"%d" % status
        self.selector, self.tally, self.stop = selector, tally, stop
        self.socket: socket.socket | None = None
        self.request = b""
        self.next()

    def next(self) -> None:
        """Begins the next request, or ends when the time is up or none is left."""
        self.began = time.monotonic()
        self.request = next(self.requests, b"") if self.began < self.stop else b""
        self.head, self.missing = b"", -1  # -1: the head of the answer is not complete
        if not self.request:
            self.close()
        elif self.socket is None:
            self.socket = socket.socket()
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.connect_ex(self.address)
            self.selector.register(self.socket, selectors.EVENT_WRITE, self.connected)
        else:
            self.send()

    def connected(self) -> None:
        """The socket can be written to for the first time."""
        self.selector.modify(self.socket, selectors.EVENT_READ, self.receive)
        self.send()

    def send(self) -> None:
        """Sends the request, which is small enough for the socket's buffer."""
        if self.socket.send(self.request) != len(self.request):
            raise LoadError("A request of the benchmark is too large for one packet.")

    def receive(self) -> None:
        """Takes in a part of the answer."""
        size = self.socket.recv_into(ROOM)
        if not size:
            raise LoadError(f"The server hung up: {self.request[:80]!r}")
        if self.missing < 0:
            self.head += ROOM[:size]
            length = body_length(self.head, self.status)
            if length is None:
                return
            end = self.head.index(b"\r\n\r\n") + 4
            self.missing, size = length, len(self.head) - end
            self.head = self.head[:end].lower()
        self.missing -= size
        if self.missing <= 0:
            self.tally.latencies.append(time.monotonic() - self.began)
            if self.head.startswith(b"http/1.0") or b"\r\nconnection: close" in self.head:
                self.close()
            self.next()

    def close(self) -> None:
        """Ends the connection."""
        if self.socket is not None:
            self.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None


def body_length(head: bytes, status: bytes) -> int | None:
    """The bytes of the answer's body; None as long as its head is not complete.

    :raises LoadError: for another status, or an answer that does not tell its length.
    """
    end = head.find(b"\r\n\r\n")
    if end < 0:
        return None
    if head[9:12] != status:
        raise LoadError(f"Expected the status {status.decode()}, got {head[:200]!r}")
    length = LENGTH.search(head[:end].lower())
    if length is None and status != b"304":
        raise LoadError(f"The answer has no Content-Length: {head[:end]!r}")
    return int(length[1]) if length and status != b"304" else 0


def drive(address: Address, shares: list[list[bytes]], seconds: float, status: int) -> Tally:
    """Gives each share of the requests a connection of its own.

    :param seconds: how long the shares are sent again and again; 0 sends each request once.
    """
    tally = Tally(time.monotonic())
    stop = tally.began + (seconds or GRACE)
    with selectors.DefaultSelector() as selector:
        for share in shares:
            requests = itertools.cycle(share) if seconds else iter(share)
            Client(address, requests, status, selector, tally, stop)
        while selector.get_map():
            if time.monotonic() > stop + GRACE:
                raise LoadError(f"No answer within {GRACE} s: {shares[0][0][:80]!r}")
            for key, _ in selector.select(1):
                key.data()
    tally.ended = time.monotonic()
    return tally


class Load:
    """The processes that make the load; kept, so that a measurement begins at once."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(PROCESSES)

    def repeat(
        self,
        address: Address,
        request: bytes,
        seconds: float,
        status: int = 200,
        connections: int = CONNECTIONS,
    ) -> Rate:
        """The rate of one request, sent again and again over so many connections a process."""
        shares = [[[request]] * connections] * PROCESSES
        return self._run(address, shares, seconds, status)

    def once(self, address: Address, requests: list[bytes], clients: int) -> Rate:
        """The rate of these requests, each sent once, by so many clients at the same time."""
        own = [requests[number::clients] for number in range(clients)]
        return self._run(address, [own[number::PROCESSES] for number in range(PROCESSES)], 0, 200)

    def _run(self, address: Address, shares: list, seconds: float, status: int) -> Rate:
        running = [self.pool.submit(drive, address, each, seconds, status) for each in shares]
        tallies = [each.result() for each in running]
        latencies = sorted(itertools.chain.from_iterable(each.latencies for each in tallies))
        elapsed = max(each.ended for each in tallies) - min(each.began for each in tallies)
        return Rate(latencies, elapsed)

    def close(self) -> None:
        """Ends the processes."""
        self.pool.shutdown()


class Ready(asyncio.Protocol):
    """Answers whatever comes with the same few bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def respond(listener: socket.socket) -> None:
    """Serves :class:`Ready` on the socket until the process is ended."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Ready, sock=listener)
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def responder() -> Iterator[Address]:
    """The address of a server that does nothing: what it is measured at is the load's limit."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.Process(target=respond, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            process.join()
