"""The application under waitress, as ``extrapypi run`` serves it.

waitress hands each request to a thread, and ends at once when it is stopped. Here the main loop
answers by itself what is at hand, and a stop lets the requests in flight come to their end.
"""

from __future__ import annotations

import copy
import logging
import resource
import signal
import tempfile
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import waitress
from waitress import wasyncore

from extrapypi.channels import PATIENCE, SEND, UNSENT, UNSENT_IN_MEMORY, Channel
from extrapypi.errors import ConfigError
from extrapypi.gateway import Gateway
from extrapypi.incoming import EXHAUSTED
from extrapypi.intake import SPOOL_OVER, EarlyForm, Parser
from extrapypi.tasks import Admission

log = logging.getLogger("extrapypi")

# Bytes read from a socket at once: waitress's own 8 KiB is slow for files, and beside an upload
# read by a MiB the pages of others take twice as long.
RECEIVE = 256 * 1024
CONNECTIONS = 500  # at once; uv alone opens 80
CATCHING_UP = 0.002  # seconds after which it is seen whether an upload may be read on
LATE = 1  # seconds after which others may get a late client's connection
LOOK = 10  # seconds between two looks for late clients
BACKLOG = 1024  # connections that wait to be accepted
FILES_EACH = 3  # open files of a connection: itself, what comes in, what goes out
FILES_BESIDE = 100  # open files of the process besides
PAUSE = 1  # seconds in which nothing is accepted, when the machine has nothing left for it
HEADERS = 64 * 1024  # bytes of a request's headers


class Server:
    """waitress, bound to its address, until a signal stops it."""

    def __init__(self, app: Gateway) -> None:
        self.app = app
        self.config = app.site.config
        self.stop_signals = 0
        self.soon: deque[Channel] = deque()  # with a request that has come in
        self.admissions: deque[Admission] = deque()  # that threads were asked for, and know now
        self.next_look = 0.0  # for late clients
        spool = app.site.storage.spool
        if spool is not None:
            tempfile.tempdir = str(spool)  # waitress's bodies, on the disk where they end up
        spool = spool or Path(tempfile.gettempdir())
        self.open_forms: set[EarlyForm] = set()
        about = {"site": app.site, "spool": spool, "open_forms": self.open_forms}
        self.parser = type("Parser", (Parser,), about)
        self.waitress = self._create()
        self.map = getattr(self.waitress, "map", None) or self.waitress._map
        self.listeners = [each for each in self.map.values() if hasattr(each, "channel_class")]
        channel = type("Channel", (Channel,), {"parser_class": self.parser})
        for listener in self.listeners:
            listener.channel_class, listener.stopping = channel, False
            listener.admissions = self.admissions
            listener.add_task = self.soon.append  # where waitress hands it to a thread at once
            listener.accept = partial(self._accept, listener)
            listener.spool, listener.frugal = spool, copy.copy(listener.adj)
            listener.frugal.outbuf_high_watermark = UNSENT_IN_MEMORY
        self.paused_until = 0.0  # by the monotonic clock

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
                channel_timeout=2**31,  # Server closes what is late, by a clock that nobody sets
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
        if any(form.is_behind for form in tuple(self.open_forms)):
            seconds = CATCHING_UP
        wasyncore.poll2(seconds, self.map)
        while self.admissions:
            self._go_on(self.admissions.popleft())
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

    def _go_on_accepting(self) -> None:
        """Ends a pause that is over."""
        for listener in self.listeners:
            if not (listener.accepting or listener.stopping):
                listener.accepting = time.monotonic() > self.paused_until

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

    def _go_on(self, admission: Admission) -> None:
        """Takes the body in, or refuses it, now that it is known who sends it."""
        try:
            admission.channel.go_on(admission)
        except Exception:  # as in all that the loop does: told in the log, and the channel closed
            admission.channel.handle_error()

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
        except Exception:
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
