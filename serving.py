"""The application under waitress, as ``extrapypi run`` serves it.

waitress hands each request to a thread, and ends at once when it is stopped. Here the main loop
answers by itself what is at hand, and a stop lets the requests in flight come to their end.
"""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import time
from collections import deque
from contextlib import suppress
from typing import Any

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.task import WSGITask

from extrapypi.answers import FAULT
from extrapypi.database import is_server
from extrapypi.errors import ConfigError, ExtraPyPIError
from extrapypi.forms import EARLY
from extrapypi.gateway import REFUSED, Gateway
from extrapypi.intake import SPOOL_OVER, Parser
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
# Bytes that are read at once of what may be many requests, or many chunks: all of them are looked
# at before others have their turn.
AHEAD = 8192
CONNECTIONS = 500  # at once; uv alone opens 80
PATIENCE = 120  # seconds that a client may be late; nginx keeps an idle connection for 60
SLOWEST = 500  # bytes a second that a client sends or takes without being late
LATE = 1  # seconds after which others may get a late client's connection
LINGER = 10  # seconds that a client may go on sending after his request was refused
LOOK = 10  # seconds between two looks for late clients
BACKLOG = 1024  # connections that wait to be accepted
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


class Refused(Task):
    """The answer to a request that is not let in, after which the connection is closed."""

    def execute(self) -> None:
        self.channel.lingers = True
        self.set_close_on_finish()
        super().execute()

    def get_environment(self) -> dict[str, Any]:
        error = self.request.error
        if not isinstance(error, ExtraPyPIError):  # waitress's own, when the application fails
            error = ExtraPyPIError(FAULT)
        return {**super().get_environment(), REFUSED: error}


class Channel(HTTPChannel):
    """A connection; when the server stops, its last answer says that it closes."""

    parser_class = Parser
    task_class = Task
    error_task_class = Refused
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
        return super().received(data)

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
        if self.requests and self.total_outbufs_len < SEND:
            return 0.0
        return time.monotonic() - self.on_time

    def handle_expt(self) -> None:
        """Closes the connection of a client that sends urgent data, which would stay unread."""
        self.handle_close()

    @property
    def may_be_ready(self) -> bool:
        """Whether the next request may be one that the main loop answers.

        It does so only with SQLite: nothing that others can hold up may hold up the loop.
        """
        request = self.requests[0]
        if request.error is not None or request.command != "GET" or request.body_rcv is not None:
            return False
        # The loop must not wait for room in a buffer, which only the loop itself can make.
        if len(self.requests) > 1 or self.total_outbufs_len:
            return False
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


class Server:
    """waitress, bound to its address, until a signal stops it."""

    def __init__(self, app: Gateway) -> None:
        self.app = app
        self.config = app.site.config
        self.stop_signals = 0
        self.soon: deque[Channel] = deque()  # with a request that has come in
        self.next_look = 0.0  # for late clients
        spool = app.site.storage.spool
        if spool is not None:
            tempfile.tempdir = str(spool)  # waitress's bodies, on the disk where they end up
        about = {"site": app.site, "spool": spool or tempfile.gettempdir(), "open_forms": set()}
        self.parser = type("Parser", (Parser,), about)
        self.waitress = self._create()
        self.map = getattr(self.waitress, "map", None) or self.waitress._map
        self.listeners = [each for each in self.map.values() if hasattr(each, "channel_class")]
        channel = type("Channel", (Channel,), {"parser_class": self.parser})
        for listener in self.listeners:
            listener.channel_class, listener.stopping = channel, False
            listener.add_task = self.soon.append  # where waitress hands it to a thread at once

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
                connection_limit=CONNECTIONS,
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
        wasyncore.poll2(seconds, self.map)
        while self.soon:
            self._answer(self.soon.popleft())
        if len(self.map) >= CONNECTIONS or time.monotonic() > self.next_look:
            self._close_late()

    def _close_late(self) -> None:
        """Closes the connections that wait for late clients; when too many are open, one more."""
        self.next_look = time.monotonic() + LOOK
        late = {channel: channel.late for channel in self._channels()}
        closing = [channel for channel, seconds in late.items() if seconds > PATIENCE]
        if late and not closing and len(self.map) >= CONNECTIONS:
            latest = max(late, key=late.__getitem__)
            closing = [latest] * (late[latest] > LATE)
        for channel in closing:
            channel.handle_close()

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
