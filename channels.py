"""A connection of waitress's, and how its requests get their answers.

waitress hands each request to a thread. Here the main loop answers what is at hand; a client that
is late in sending or taking is known; and what waits for a slow one is kept from filling the disk.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import suppress
from io import BytesIO
from typing import Any

from waitress.buffers import ReadOnlyFileBasedBuffer, TempfileBasedBuffer
from waitress.channel import ClientDisconnected, HTTPChannel

from extrapypi.database import is_server
from extrapypi.errors import StorageError
from extrapypi.incoming import room
from extrapypi.intake import RESERVE, Parser
from extrapypi.pages import Answer
from extrapypi.shortcut import IN_LOOP
from extrapypi.tasks import Admission, Refused, Task

log = logging.getLogger("extrapypi")

# Bytes of an answer that wait for the rest of it. A smaller one is sent at once, headers and body,
# instead of in two pieces, which is a third more requests a second.
SEND = 18_000
# Bytes of an answer that wait on the disk for a slow client; only while more are to come does he
# hold a thread. All connections together can fill 32 GB of the disk so. Files on a local disk are
# never copied there.
UNSENT = 64 * 1024**2
UNSENT_IN_MEMORY = 256 * 1024  # bytes of an answer that wait in memory; all while the disk is full
WHOLE = 1024**2  # bytes of a piece that can only be a whole answer, and stays where it is
# Bytes that are read at once of what may be many requests, or many chunks: all of them are looked
# at before others have their turn.
AHEAD = 8192
PATIENCE = 120  # seconds that a client may be late; nginx keeps an idle connection for 60
SLOWEST = 500  # bytes a second that a client sends or takes without being late
LINGER = 10  # seconds that a client may go on sending after his request was refused


class Channel(HTTPChannel):
    """A connection; when the server stops, its last answer says that it closes."""

    parser_class = Parser
    task_class = Task
    error_task_class = Refused
    request: Parser | None
    lingers = False  # whether the client may still be sending what nobody reads

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.on_time = time.monotonic()  # when the client was not late
        super().__init__(*arguments, **options)

    def recv(self, size: int) -> bytes:
        is_body = self.request is not None and self.request.content_length > 0
        return super().recv(size if is_body else AHEAD)

    def received(self, data: bytes) -> bool:
        if self.lingers:
            return False
        self.moved(len(data))
        taken = super().received(data)
        if self.request is not None and self.request.held:  # and so not yet asked for
            self.request.admission = Admission(self, self.request)
            self.server.task_dispatcher.add_task(self.request.admission)
        return taken

    def go_on(self, admission: Admission) -> None:
        """Lets the request in whose admission was asked for, or answers it with the error."""
        request = admission.request
        with self.requests_lock:
            if request is not self.request or not self.connected:  # the client has gone
                return
            self.on_time = time.monotonic()
            if admission.error is None:
                request.let_in()
                if request.expect_continue and not self.requests:
                    self.send_continue()
                return
            request.turn_away(admission.error)
            if request.completed:
                self.request = None
                self.requests.append(request)
                if len(self.requests) == 1:
                    self.server.add_task(self)

    def handle_write(self) -> None:
        """Sends what there is; closes at first only one way for a client that may be sending.

        He would lose the answer if the connection were closed before all was read.
        """
        if self.requests or not self.lingers:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            self.close_when_flushed = False
            self.on_time = time.monotonic() - PATIENCE + LINGER
            with suppress(OSError):  # he is gone
                self.socket.shutdown(socket.SHUT_WR)

    def _flush_some(self, do_close: bool = True) -> bool:
        # waitress takes no lock while no request is at hand. But a thread that has answered one
        # may still be sending 100 Continue, and both would send the same bytes.
        with self.outbuf_lock:
            return self.connected and super()._flush_some(do_close)

    def send(self, data: bytes, do_close: bool = True) -> int:
        sent = super().send(data, do_close)
        self.moved(sent)
        return sent

    def moved(self, size: int) -> None:
        """Gives the client time for bytes that were sent or received."""
        self.on_time = min(self.on_time + size / SLOWEST, time.monotonic())

    @property
    def late(self) -> float:
        """Seconds for which the client should have sent or taken more; 0 while it is our turn."""
        if (self.requests and self.total_outbufs_len < SEND) or self.is_held:
            return 0.0
        return time.monotonic() - self.on_time

    def handle_expt(self) -> None:
        """Closes the connection of a client that sends urgent data, which would stay unread."""
        self.handle_close()

    def readable(self) -> bool:
        return super().readable() and not self.is_held

    @property
    def is_held(self) -> bool:
        """Whether the rest of the request at hand has to stay in the socket for now."""
        request = self.request
        if request is None:
            return False
        return request.held or (request.form is not None and request.form.is_behind)

    @property
    def may_be_ready(self) -> bool:
        """Whether the next request may be one that the main loop answers.

        Other than "ping" only with SQLite: nothing that others can hold up may hold up the loop.
        """
        request = self.requests[0]
        if request.error is not None or request.command != "GET" or request.body_rcv is not None:
            return False
        # The loop must not wait for room in a buffer, which only the loop itself can make.
        if len(self.requests) > 1 or self.total_outbufs_len:
            return False
        if request.path.endswith("/ping"):
            return True
        authorization = request.headers.get("AUTHORIZATION", "")
        return not is_server() and request.site.authenticator.has_met(authorization)

    def make_ready(self) -> bool:
        """Makes the answer to the next request, if that is at hand; asks the application."""
        request = self.requests[0]
        environ = Task(self, request).get_environment()
        environ[IN_LOOP] = True
        started: list[tuple[str, list]] = []
        body = self.server.application(environ, lambda *start: started.append(start[:2]))
        if body is not None:
            request.ready = Answer(*started[0], b"".join(body))
        return body is not None

    def write_soon(self, data: Any) -> int:
        """Takes a piece of an answer, and waits while too much of it is unsent."""
        if isinstance(data, bytes) and len(data) >= WHOLE:
            data = ReadOnlyFileBasedBuffer(BytesIO(data))
            data.prepare()
        elif self.total_outbufs_len >= UNSENT_IN_MEMORY:
            self.adj = self.server.adj if self._is_on_disk() else self.server.frugal
        try:
            return super().write_soon(data)
        except OSError as error:
            log.error("An answer breaks off: %s.", error.strerror)
            self.will_close = True
            raise ClientDisconnected from error

    def _is_on_disk(self) -> bool:
        """Whether what comes next waits on the disk; False while that takes nothing.

        waitress would go there by itself, and in vain try for ever to send what did not get there.
        """
        try:
            if room(self.server.spool) < RESERVE:
                return False
            with self.outbuf_lock:
                # Of a client that has gone, the files are closed.
                if self.connected and not is_file_with_room(self.outbufs[-1]):
                    self.outbufs.append(TempfileBasedBuffer())
                self.current_outbuf_count = 0  # or waitress takes another one for each answer
        except (OSError, StorageError):
            return False
        return True

    def service(self) -> None:
        if self.server.stopping:
            for request in self.requests:
                request.headers["CONNECTION"] = "close"
        super().service()
        self.on_time = time.monotonic()

    def handle_close(self) -> None:
        try:
            if self.request is not None:  # half read
                self.request.close()
        finally:
            with self.outbuf_lock:  # nobody sends meanwhile
                super().handle_close()

    def close_requests(self) -> None:
        """Removes what has come in of requests that are not answered any more."""
        for request in (*self.requests, self.request):
            if request is not None:
                request.close()

    def cancel(self) -> None:
        self.close_requests()
        super().cancel()

    @property
    def busy(self) -> bool:
        """Whether a request is running, half read, or not fully answered."""
        half_read = self.request is not None and self.request.headers_finished
        return bool(self.requests or half_read or self.total_outbufs_len)


def is_file_with_room(buffer: Any) -> bool:
    """Whether the buffer is a file that is not yet as large as one may become."""
    is_file = isinstance(buffer, TempfileBasedBuffer)
    return is_file and os.fstat(buffer.getfile().fileno()).st_size < UNSENT
