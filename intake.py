"""Requests on their way in, under waitress: early refusals, and forms that are read as they come.

waitress takes in the whole body before it asks the application. So what needs no body is refused
here as soon as the header is read, and the form of an upload is read while it comes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest

from extrapypi.answers import MOST_DRAINED, error_answer
from extrapypi.errors import ExtraPyPIError, Forbidden, NoRoom, NotLoggedIn, TooLarge
from extrapypi.forms import MOST_FILES, OVERHEAD, FormReader
from extrapypi.incoming import FULL, room
from extrapypi.pages import Answer
from extrapypi.sessions import COOKIE

SPOOL_OVER = 512 * 1024  # bytes of a body from which it goes to the disk
MOST_EARLY = 16  # forms at once that are read while they come in
RESERVE = 64 * 1024**2  # bytes that stay free on the disk
UPLOADS = ("/legacy", "/simple")  # ends of the URLs that take uploads of programs
UPLOAD_PAGE = "/dashboard/upload"  # that of browsers: several files at once
LONGEST_LINE = 8192  # bytes, between the chunks of a body and behind the last one


class Refusal:
    """An answer that waitress sends in place of the application's."""

    def __init__(self, error: ExtraPyPIError, method: str, headers: dict[str, str]) -> None:
        self.answer = error_answer(error, method, headers.get("ACCEPT", ""))

    def to_response(self, ident: str | None = None) -> tuple[str, list, bytes]:
        """Status line, headers and body, as waitress's ErrorTask wants them."""
        status, headers, body = self.answer
        return status, list(headers.items()), body


class Forgetful:
    """A buffer that keeps nothing; takes the body of a refused request."""

    def append(self, data: bytes) -> None:
        """The data is forgotten."""

    def close(self) -> None:
        """There is nothing to close."""

    def __len__(self) -> int:
        return 0


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
        if self.fault is None:
            with self._faults():
                for _ in self.reader.take(data):
                    pass

    def result(self) -> FormReader:
        """The reader, which has taken all bytes; raises what was wrong with them."""
        if self.fault is not None:
            raise self.fault
        return self.reader

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
    """Refuses a body as soon as its header shows that it will not be taken, or reads it early."""

    site: Any = None  # all three are set by Server
    spool: Any = None
    open_forms: set[EarlyForm] = frozenset()
    form: EarlyForm | None = None
    ready: Answer | None = None  # made by the main loop

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            try:
                self.check_header()
            except ExtraPyPIError as error:
                self.refuse(error)
                self.completed = self.expect_continue  # such a client sends no body then
                self.expect_continue = False
            else:
                if self.is_early:
                    self.read_early()

    @property
    def is_early(self) -> bool:
        """Whether this is a large upload with credentials that were good before.

        Hashing is work that strangers shall not make, and small forms are read sooner in threads.
        The fields of a form are in memory, so there is a limit to how many are read at once.
        """
        if len(self.open_forms) >= MOST_EARLY:
            return False
        is_large = self.content_length > SPOOL_OVER and not self.chunked
        authorization = self.headers.get("AUTHORIZATION", "")
        is_upload = is_large and self.command == "POST" and self.is_upload
        return is_upload and self.site.authenticator.has_met(authorization)

    def read_early(self) -> None:
        """Lets the form be read while it comes in."""
        self.form = EarlyForm(
            self.open_forms,
            self.site.storage,
            self.site.config.MAX_UPLOAD_SIZE,
            content_type=self.headers.get("CONTENT_TYPE", ""),
            content_length=self.content_length,
        )
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
        return self.path.rstrip("/").endswith(UPLOADS)

    @property
    def is_upload_page(self) -> bool:
        """Whether the body is a form with files that a browser sends."""
        return self.path.rstrip("/").endswith(UPLOAD_PAGE) and self.site.config.DASHBOARD

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

    def check_lines(self) -> None:
        """Ends a request that sends a chunk's size or a trailer without an end.

        waitress joins the pieces of such a line, without a limit and in quadratic time.
        """
        if len(self.body_rcv.control_line) + len(self.body_rcv.trailer) > LONGEST_LINE:
            self.error, self.completed = BadRequest("A chunk's line is too long"), True

    def refuse(self, error: ExtraPyPIError) -> None:
        """Answers with the error, once the rest of the body has been read and forgotten."""
        self.error = Refusal(error, self.command, self.headers)
        self.body_rcv.buf.close()
        self.body_rcv.buf = Forgetful()

    def received(self, data: bytes) -> int:
        try:
            taken = super().received(data)
            if self.chunked and self.error is None:
                self.check_size(self.body_bytes_received)
                self.check_room(self.body_bytes_received)
            if self.chunked and self.body_rcv is not None:
                self.check_lines()
        except OSError as error:  # the spool's disk
            if error.errno not in FULL:
                raise
            self.refuse(NoRoom("There is no room left on the disk for the upload."))
            taken = super().received(data)
        except (TooLarge, NoRoom) as error:
            taken = len(data)
            self.refuse(error)
        except ValueError:  # a Content-Length of thousands of digits
            taken = len(data)
            self.error, self.completed = BadRequest("Content-Length is invalid"), True
        if self.error is not None and self.body_bytes_received >= MOST_DRAINED:
            self.completed = True
        return taken
