"""Requests on their way in, under waitress: early refusals, and forms that are read as they come.

waitress takes in the whole body before it asks the application. So what needs no body is refused
here as soon as the header is read, and the form of an upload is read while it comes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser
from waitress.receiver import FixedStreamReceiver

from extrapypi import framing
from extrapypi.answers import MOST_DRAINED
from extrapypi.errors import (
    ExtraPyPIError,
    Forbidden,
    HeaderTooLarge,
    InvalidInput,
    NoRoom,
    NotLoggedIn,
    StorageError,
    TooLarge,
)
from extrapypi.forms import MOST_FILES, OVERHEAD, FormReader
from extrapypi.guards import UPLOAD_PAGE
from extrapypi.incoming import arrival_errors, room
from extrapypi.pages import Answer
from extrapypi.sessions import COOKIE

SPOOL_OVER = 512 * 1024  # bytes of a body from which it goes to the disk
MOST_EARLY = 16  # forms at once that are read while they come in
RESERVE = 64 * 1024**2  # bytes that stay free on the disk
UPLOADS = ("/legacy", "/simple")  # ends of the URLs that take uploads of programs


class Forgetful:
    """A buffer that keeps nothing; takes the body of a refused request."""

    def append(self, data: bytes) -> None:
        """The data is forgotten."""

    def getfile(self) -> BytesIO:
        """Nothing is left to read."""
        return BytesIO()

    def close(self) -> None:
        """There is nothing to close."""

    def __len__(self) -> int:
        return 0


class Spool(OverflowableBuffer):
    """A buffer for a body, a large one on the disk; after a fault of that it keeps nothing."""

    fault: StorageError | None = None

    def append(self, data: bytes) -> None:
        """Takes the next bytes."""
        try:
            if self.fault is None:
                with arrival_errors():
                    super().append(data)
        except StorageError as error:
            self.fault = error
            self.close()

    def close(self) -> None:
        """Removes the file; what a full disk did not take is of no interest."""
        with suppress(OSError):
            super().close()


class EarlyForm:
    """A buffer for the body of an upload, which reads the form while it comes in.

    So the file is written and hashed once, and at its end is where the storage wants it. A fault
    waits until the application asks: it says first who may upload at all.
    """

    def __init__(self, open_forms: set[EarlyForm], *settings: Any, **form: Any) -> None:
        self.open_forms = open_forms
        self.reader: FormReader | None = None
        self.fault: ExtraPyPIError | None = None
        open_forms.add(self)
        with self._faults():
            self.reader = FormReader(*settings, **form)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except ExtraPyPIError as error:
            self.fault = error
            self.close()

    def append(self, data: bytes) -> None:
        """Takes the next bytes; after a fault they are forgotten."""
        if self.fault is None and self.reader is not None:
            with self._faults():
                for _ in self.reader.take(data):
                    pass

    @property
    def is_behind(self) -> bool:
        """Whether the next bytes would have to wait; then they stay in the socket."""
        incoming = None if self.reader is None else self.reader.incoming
        return incoming is not None and incoming.is_behind

    def result(self) -> FormReader:
        """The reader, which has taken all bytes; raises what was wrong with them."""
        if self.fault is not None:
            raise self.fault
        return self.reader  # type: ignore[return-value] # without a fault there is one

    def getfile(self) -> BytesIO:
        """Nothing is left to read."""
        return BytesIO()

    def close(self) -> None:
        """Removes the file that the storage has not taken over."""
        self.open_forms.discard(self)
        if self.reader is not None:
            self.reader.discard()

    def __len__(self) -> int:
        return 0


class Parser(HTTPRequestParser):
    """Reads a request's header; its body it refuses as soon as may be, or reads it early."""

    command, path, query, request_uri, url_scheme = "-", "-", "", "-", "http"  # until it is read
    site: Any = None  # all three are set by Server
    spool: Any = None
    open_forms: Any = frozenset()
    form: EarlyForm | None = None
    spooled: Any = None  # the Spool of a body
    ready: Answer | None = None  # made by the main loop
    waits = False  # whether the client sends the body only when it is told to
    admission: Any = None  # whether its sender may upload, once a thread was asked
    held = False  # whether the body has to wait until it is known who sends it

    def parse_header(self, header_plus: bytes) -> None:
        if not header_plus.endswith(b"\r\n\r\n"):  # waitress's stand-in for one that has no end
            most = self.adj.max_request_header_size
            raise HeaderTooLarge(f"The header has {most} bytes or more.")
        header = framing.parse(header_plus)
        self.command, self.request_uri, self.path, self.query, self.version = header[:5]
        self.headers = header.fields
        self.chunked, self.content_length = header.length is None, header.length or 0
        if header.length != 0:
            self.expect_body()

    def expect_body(self) -> None:
        """Makes ready for the body that follows, or refuses it."""
        self.spooled = Spool(SPOOL_OVER)
        if self.chunked:
            self.body_rcv = framing.Chunks(self.spooled)
        else:
            self.body_rcv = FixedStreamReceiver(self.content_length, self.spooled)
        expects = self.headers.get("EXPECT", "").lower()
        self.waits = expects == "100-continue" and self.version == "1.1"
        try:
            self.check_header()
        except ExtraPyPIError as error:
            self.turn_away(error)
        else:
            is_large = self.chunked or self.content_length > SPOOL_OVER
            self.held = is_large and (self.is_upload or self.is_upload_page)
            self.expect_continue = self.waits and not self.held

    def turn_away(self, error: ExtraPyPIError) -> None:
        """Refuses the request before its body has come in."""
        self.refuse(error)
        self.completed = self.waits  # such a client sends no body then

    def let_in(self) -> None:
        """Goes on with the body, whose sender may upload."""
        self.held = False
        self.expect_continue = self.waits
        if self.is_early:
            self.read_early()

    @property
    def is_early(self) -> bool:
        """Whether this is a large upload, whose form may be read while it comes in.

        Small ones are read sooner in threads. The fields of a form are in memory, so there is a
        limit to how many are read at once.
        """
        is_large = self.content_length > SPOOL_OVER and not self.chunked
        return is_large and self.is_upload and len(self.open_forms) < MOST_EARLY

    def read_early(self) -> None:
        """Lets the form be read while it comes in, from what has come already."""
        self.form = EarlyForm(
            self.open_forms,
            self.site.storage,
            self.site.config.MAX_UPLOAD_SIZE,
            content_type=self.headers.get("CONTENT_TYPE", ""),
            content_length=self.content_length,
        )
        if come := self.spooled.get():  # nothing would be its end
            self.form.append(come)
        self.spooled.close()
        self.body_rcv.buf = self.form

    def check_header(self) -> None:
        """Refuses a body that will not be taken.

        :raises NotLoggedIn: for an upload without credentials.
        :raises Forbidden: for one of a browser that is not logged in.
        :raises TooLarge: for more than the setting allows, or much where nothing is uploaded.
        :raises NoRoom: when the disk cannot take it as a file and, unless it is read while it
            comes in, once more as a body.
        """
        self.check_size(self.content_length)
        if self.is_upload and "AUTHORIZATION" not in self.headers:
            raise NotLoggedIn("This needs a user name and a password, or a token.")
        if self.is_upload_page and f"{COOKIE}=" not in self.headers.get("COOKIE", ""):
            raise Forbidden("Log in to upload files.")  # a 401 lets browsers ask for a password
        if self.content_length > SPOOL_OVER:
            self.check_room(self.content_length * (1 if self.is_early else 2))

    @property
    def is_upload(self) -> bool:
        """Whether the body goes to one of the URLs for uploads of programs."""
        return self.command == "POST" and self.path.rstrip("/").endswith(UPLOADS)

    @property
    def is_upload_page(self) -> bool:
        """Whether the body is a form with files that a browser sends."""
        is_there = self.command == "POST" and self.site.config.DASHBOARD
        return is_there and self.path.rstrip("/").endswith(UPLOAD_PAGE)

    def check_size(self, size: int) -> None:
        """Refuses a body of more bytes than may come to this URL, with TooLarge."""
        if not (self.is_upload or self.is_upload_page) and size > SPOOL_OVER:
            raise TooLarge(f"Nothing is uploaded here, and {size} bytes are too many.")
        files = MOST_FILES if self.is_upload_page else 1
        if size > files * self.site.config.MAX_UPLOAD_SIZE + OVERHEAD:
            raise TooLarge(
                f"The upload has {size} bytes or more; this index takes files of at most "
                f"{self.site.config.MAX_UPLOAD_SIZE} (MAX_UPLOAD_SIZE)."
            )

    def check_room(self, size: int) -> None:
        """Refuses so many bytes when the disk has no room for them.

        What others have only announced does not count: anybody could announce what he likes.
        """
        if room(self.spool) < size + RESERVE:
            raise NoRoom(f"There is no room on the disk for {size} bytes.")

    def refuse(self, error: ExtraPyPIError) -> None:
        """Answers with the error, once the rest of the body has been read and forgotten."""
        self.error, self.held = error, False
        if self.body_rcv is not None:
            self.body_rcv.buf.close()
            self.body_rcv.buf = Forgetful()

    def received(self, data: bytes) -> int:
        try:
            taken = self.take(data)
            self.check_body()
        except (TooLarge, StorageError) as error:
            self.refuse(error)
        except InvalidInput as error:  # after which nobody knows where the next request begins
            taken = len(data)
            self.refuse(error)
            self.completed, self.empty = True, False
        if self.error is not None and self.body_bytes_received >= MOST_DRAINED:
            self.completed = True
        return taken

    def take(self, data: bytes) -> int:
        """Takes the next bytes; how many of them belong to the request.

        :raises InvalidInput: for what is no request, or has no end.
        """
        if self.body_rcv is None and not self.header_plus:
            framing.check_start(data)
        taken = super().received(data)
        if self.empty:  # one empty line is skipped, but only with the request behind it
            raise InvalidInput(framing.NO_REQUEST)
        if not self.completed and not self.headers_finished:
            framing.check_unfinished(self.header_plus[-len(data) - 1 :])
        return taken

    def check_body(self) -> None:
        """Refuses a body for what has come of it.

        :raises TooLarge: for one in chunks that has grown too large.
        :raises StorageError: when the disk does not take it.
        """
        if self.error is not None:
            return
        if self.chunked:
            self.check_size(self.body_bytes_received)
            self.check_room(self.body_bytes_received)
        if self.spooled is not None and self.spooled.fault is not None:
            raise self.spooled.fault
