"""A way to a server that can be cut: what a restart or a broken network looks like from here."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

CHUNK = 64 * 1024


class Proxy:
    """Passes TCP connections on to a server on this machine, until it is told not to.

    ``port`` is its own; ``limit`` is how many bytes a connection carries to the server before it
    is cut, None for any number.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.limit: int | None = None
        self.connections: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.is_open = threading.Event()
        self.is_open.set()
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            if not self.is_open.is_set():
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            self.connections += [client, server]
            self.threads.append(threading.Thread(target=self._carry, args=(client, server)))
            self.threads[-1].start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        carried = 0
        with selectors.DefaultSelector() as selector, client, server:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            with contextlib.suppress(OSError, ValueError):  # cut
                while self.limit is None or carried < self.limit:
                    for key, _ in selector.select():
                        chunk = key.fileobj.recv(CHUNK)
                        if not chunk:
                            return
                        carried += len(chunk) if key.fileobj is client else 0
                        key.data.sendall(chunk)

    def cut(self) -> None:
        """Ends all connections and takes no new ones."""
        self.is_open.clear()
        connections, self.connections = self.connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Takes connections again."""
        self.is_open.set()

    def close(self) -> None:
        """Ends everything."""
        self.cut()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join()
