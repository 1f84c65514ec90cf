"""The application under waitress, as ``extrapypi run`` serves it.

waitress hands each request to a thread, and ends at once when it is stopped. Here the main loop
answers by itself what is at hand, and a stop lets the requests in flight come to their end.
"""

from __future__ import annotations

import copy
import logging
import os
import resource
import signal
import tempfile
import time
from collections import deque
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import waitress
from waitress import wasyncore
from waitress.buffers import ReadOnlyFileBasedBuffer, TempfileBasedBuffer
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import WSGITask

from extrapypi.database import is_server
from extrapypi.errors import ConfigError, StorageError
from extrapypi.forms import EARLY
from extrapypi.gateway import Gateway
from extrapypi.incoming import EXHAUSTED, room
from extrapypi.intake import RESERVE, SPOOL_OVER, Parser
from extrapypi.pages import Answer
from extrapypi.shortcut import IN_LOOP

log = logging.getLogger("extrapypi")

RECEIVE = 1024 * 1024  # bytes read from a socket at once; waitress's own 8 KiB is slow for files
# Bytes of an answer that wait for the rest of it. A smaller one is sent at once, headers and body,
# instead of in two pieces, which is a third more requests a second.
SEND = 18_000
# Bytes of an answer that wait on the disk for a slow client; only while more are to come does he
# hold a thread. All connections together can fill 32 GB of the disk so. Files on a local disk are
# never copied there.
UNSENT = 64 * 1024**2
UNSENT_IN_MEMORY = 256 * 1024  # bytes of it that wait in memory, in all while the disk is full
WHOLE = 1024**2  # bytes of a piece that can only be a whole answer, and stays where it is
CONNECTIONS = 500  # at once; uv alone opens 80
BACKLOG = 1024  # connections that wait to be accepted
FILES_EACH = 3  # open files of a connection: itself, what comes in, what goes out
FILES_BESIDE = 100  # open files of the process besides
PAUSE = 1  # seconds in which nothing is accepted, when the machine has nothing left for it
JUMP = 10  # seconds by which the clock is not wrong by chance
HEADERS = 64 * 1024  # bytes of a request's headers


class Task(WSGITask):
    """The answer to a request; a 304, which has no length, lets the connection open."""

    def execute(self) -> None:
        ready = self.request.ready
        if ready is None:
            super().execute()
        else:
            self.status, self.complete = ready.status, True
            self.response_headers.extend(ready.headers)
            self.write(ready.body)

    def get_environment(self) -> dict[str, Any]:
        environ = super().get_environment()
        if self.request.form is not None:
            environ[EARLY] = self.request.form
        return environ

    def set_close_on_finish(self) -> None:
        asks = self.request.headers.get("CONNECTION", "").lower()
        if self.version != "1.1" or asks == "close" or not self.status.startswith("304"):
            super().set_close_on_finish()


class Channel(HTTPChannel):
    """A connection; when the server stops, its last answer says that it closes."""

    parser_class = Parser
    task_class = Task

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
                if not is_file_with_room(self.outbufs[-1]):
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

    def handle_close(self) -> None:
        try:
            if self.request is not None:  # half read
                self.request.close()
        finally:
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


class Server:
    """waitress, bound to its address, until a signal stops it."""

    def __init__(self, app: Gateway) -> None:
        self.app = app
        self.config = app.site.config
        self.stop_signals = 0
        self.soon: deque[Channel] = deque()  # with a request that has come in
        spool = app.site.storage.spool
        if spool is not None:
            tempfile.tempdir = str(spool)  # waitress's bodies, on the disk where they end up
        spool = spool or Path(tempfile.gettempdir())
        about = {"site": app.site, "spool": spool, "open_forms": set()}
        self.parser = type("Parser", (Parser,), about)
        self.waitress = self._create()
        self.map = getattr(self.waitress, "map", None) or self.waitress._map
        self.listeners = [each for each in self.map.values() if hasattr(each, "channel_class")]
        channel = type("Channel", (Channel,), {"parser_class": self.parser})
        for listener in self.listeners:
            listener.channel_class, listener.stopping = channel, False
            listener.add_task = self.soon.append  # where waitress hands it to a thread at once
            listener.accept = partial(self._accept, listener)
            listener.spool, listener.frugal = spool, copy.copy(listener.adj)
            listener.frugal.outbuf_high_watermark = UNSENT_IN_MEMORY
        self.paused_until = 0.0  # by the monotonic clock
        self.now = time.time()  # at the turn before

    def _create(self) -> Any:
        try:
            return waitress.create_server(
                self.app,
                host=self.config.HOST,
                port=self.config.PORT,
                threads=self.config.THREADS,
                recv_bytes=RECEIVE,
                send_bytes=SEND,
                inbuf_overflow=SPOOL_OVER,
                outbuf_high_watermark=UNSENT,
                outbuf_overflow=2**62,  # Channel sees to that
                connection_limit=connections(),
                backlog=BACKLOG,
                max_request_header_size=HEADERS,
                max_request_body_size=2**62,  # Parser has our own limit, with a sentence
                asyncore_use_poll=True,
                clear_untrusted_proxy_headers=False,  # Gateway does that
                ident="extrapypi",
                server_name=self.config.HOST,  # for the rare client that sends no Host
            )
        except (OSError, ValueError) as error:  # waitress: ValueError for an unknown host
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"Cannot listen on {self.config.HOST}, port {self.config.PORT}: {reason}."
            ) from error

    @property
    def port(self) -> int:
        """The port in use, which tells more than the setting when that is 0."""
        return int(self.listeners[0].effective_port)

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT; a second signal does not wait for running requests."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        while not self.stop_signals:
            self._turn(1)
        self._finish()
        self.waitress.task_dispatcher.shutdown(timeout=1)
        for channel in self._channels():
            channel.close_requests()
        self.app.close()

    def _channels(self) -> list[Channel]:
        return [each for each in self.map.values() if isinstance(each, Channel)]

    def _turn(self, seconds: float) -> None:
        """Waits for the sockets so long, serves them, and sees to the requests that have come."""
        self._go_on_accepting()
        self._look_at_the_clock()
        wasyncore.poll2(seconds, self.map)
        while self.soon:
            self._answer(self.soon.popleft())

    def _go_on_accepting(self) -> None:
        """Ends a pause that is over."""
        for listener in self.listeners:
            if not (listener.accepting or listener.stopping):
                listener.accepting = time.monotonic() > self.paused_until

    def _look_at_the_clock(self) -> None:
        """Takes all connections for busy when the clock was set.

        waitress closes by it those that are idle for long; else it would close all of them, or
        none for hours.
        """
        before, self.now = self.now, time.time()
        if abs(self.now - before) > JUMP:
            for listener in self.listeners:
                listener.next_channel_cleanup = self.now
            for channel in self._channels():
                channel.last_activity = self.now

    def _accept(self, listener: Any) -> tuple | None:
        """The next connection, as waitress's own; a pause when the machine has none to give."""
        try:
            return type(listener).accept(listener)
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            log.error("No connection can be accepted now: %s.", error.strerror)
            self.paused_until = time.monotonic() + PAUSE
            listener.accepting = False
            return None

    def _answer(self, channel: Channel) -> None:
        """Answers what is at hand, which takes no longer than to give the request to a thread."""
        try:
            is_ready = channel.may_be_ready and channel.make_ready()
        except Exception:  # which the thread meets, too, and tells of
            is_ready = False
        if not is_ready:
            self.waitress.task_dispatcher.add_task(channel)
            return
        try:
            channel.service()
            channel.handle_write()
        except Exception:  # as in all that the loop does: told in the log, and the channel closed
            channel.handle_error()

    def _signalled(self, number: int, frame: Any) -> None:
        self.stop_signals += 1
        self.listeners[0].pull_trigger()

    def _finish(self) -> None:
        """Takes no new connections, and waits for the requests that are running."""
        channels = []
        for listener in self.listeners:
            listener.stopping = True
            listener.del_channel()
            listener.socket.close()
        deadline = time.monotonic() + self.config.SHUTDOWN_TIMEOUT
        while time.monotonic() < deadline and self.stop_signals < 2:
            channels = self._channels()
            for channel in channels:
                if not channel.busy:
                    channel.will_close = True
            if not any(channel.busy for channel in channels):
                return
            self._turn(0.1)
        if any(channel.busy for channel in channels):
            log.warning("Stopped before all requests had come to their end.")


def connections() -> int:
    """How many connections may be open at once: as many as the machine's limit has files for.

    The limit is raised as far as the process may do it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS * FILES_EACH + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max((soft - FILES_BESIDE) // FILES_EACH, 10)
    return CONNECTIONS
