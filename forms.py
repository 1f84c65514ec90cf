"""The upload forms: their text fields in memory, their files straight into the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

from bottle import request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from extrapypi.errors import (
    ExtraPyPIError,
    InvalidInput,
    InvalidUpload,
    StorageError,
    TooLarge,
)
from extrapypi.incoming import CHUNK, Incoming
from extrapypi.storage import BaseStorage

MOST_PARTS = 1024
MOST_FILES = 50  # that a browser sends at once
LONGEST_FIELD = 4 * 1024**2  # bytes
LONGEST_FIELDS = 16 * 1024**2  # bytes of all text fields together
# What a form may be larger than its file: the fields, and the lines between the parts.
OVERHEAD = LONGEST_FIELDS + MOST_PARTS * 8192

EARLY = "extrapypi.form"  # in the environ: a form that was read while it came in

Fields = dict[str, list[str]]
Reader = TypeVar("Reader", bound="FormReader")


@contextmanager
def sent_form(storage: BaseStorage, max_size: int) -> Iterator[tuple[Fields, Incoming | None]]:
    """The text fields and the file ``content`` of the request at hand; the file is finished.

    What the storage has not taken over at the end is removed.

    :param max_size: bytes that the file may have.
    :raises InvalidInput: for a body that is no multipart form, or breaks off.
    :raises TooLarge: for too many or too long parts.
    :raises NoRoom: when the disk is full.
    """
    early = request.environ.get(EARLY)
    is_early = early is not None  # a buffer of waitress has a length, which is 0
    reader = early.result() if is_early else reader_of(FormReader, storage, max_size)
    try:
        for _ in reader.parts(request.environ["wsgi.input"]):
            pass
        if reader.incoming is not None:
            reader.incoming.finish()
        yield reader.fields, reader.incoming
    finally:
        reader.discard()


def reader_of(kind: type[Reader], *settings: Any) -> Reader:
    """A reader for the form of the request at hand."""
    content_type = request.environ.get("CONTENT_TYPE") or ""
    return kind(*settings, content_type=content_type, content_length=request.content_length)


def sent_files(
    storage: BaseStorage, max_size: int, check: Callable[[str], None]
) -> Iterator[tuple[str, Incoming | ExtraPyPIError]]:
    """The files ``files`` of a browser's form, one after the other as they come.

    Each is finished, or there is an error in its place that is about this file alone. It is removed
    when the next one is asked for.

    :param check: gets the field ``form_token`` before any file is taken, and raises if it is wrong.
    :raises InvalidInput, TooLarge: as in :func:`sent_form`.
    """
    reader = reader_of(FilesReader, storage, max_size, check)
    try:
        for segment in reader.parts(request.environ["wsgi.input"]):
            if reader.incoming is not None:
                yield segment.filename, reader.finished(reader.incoming)
                reader.drop()
            elif reader.fault is not None:
                yield segment.filename, reader.fault
                reader.drop()
    finally:
        reader.drop()
    reader.check_once()


class FormReader:
    """Takes the parts of a multipart form one by one, as they come.

    :param max_size: bytes that a file may have.
    :raises InvalidInput: for a Content-Type of something else.
    """

    def __init__(
        self, storage: BaseStorage, max_size: int, *, content_type: str, content_length: int
    ) -> None:
        self.storage = storage
        self.max_size = max_size
        self.fields: Fields = {}
        self.incoming: Incoming | None = None
        self.text_size = 0
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data":
            raise InvalidInput(f"An upload is multipart/form-data, not {kind[:100] or 'nothing'}.")
        if not options.get("boundary"):
            raise InvalidInput("The form's Content-Type names no boundary that can be read.")
        with form_errors():
            self.parser = PushMultipartParser(
                options["boundary"],
                content_length=content_length,
                max_segment_count=MOST_PARTS,
                max_header_size=8192,
            )

    def parts(self, stream: BinaryIO) -> Iterator[MultipartSegment]:
        """Reads the rest of the form; gives each part once it is complete."""
        left = self.parser.content_length  # servers may wait for ever for more; -1: unknown
        while not self.parser.closed:
            data = stream.read(min(CHUNK, left) if left >= 0 else CHUNK)
            left -= len(data) if left >= 0 else 0
            yield from self.take(data)

    def take(self, data: bytes) -> Iterator[MultipartSegment]:
        """Takes some bytes of the form, b"" at its end; gives each part that they complete."""
        with form_errors():
            for event in self.parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self.sink = self._sink_of(event)
                    self.segment, self.text = event, bytearray()
                elif event is None:
                    self._end()
                    yield self.segment
                else:
                    self.sink(event)

    def discard(self) -> None:
        """Removes the file that the storage has not taken over."""
        if self.incoming is not None:
            self.incoming.discard()

    def _sink_of(self, segment: MultipartSegment) -> Callable[[bytes], None]:
        """The method that takes the bytes of this part."""
        if segment.filename is None:
            return self._take_text
        if segment.name != "content":
            return self._count  # a signature, as `twine --sign` sends it: not kept
        if self.incoming is not None:
            raise InvalidUpload("The form has two files named content; send one at a time.")
        self.incoming = self.storage.receive()
        self.incoming.filename = segment.filename
        return self._take_content

    def _end(self) -> None:
        name = self.segment.name
        if self.segment.filename is None:
            try:
                text = self.text.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidInput(f"The form's field {name[:100]!r} is not UTF-8.") from None
            self.fields.setdefault(name, []).append(text)

    def _take_text(self, chunk: bytes) -> None:
        self._count(chunk)
        self.text += chunk  # in a list tiny pieces would take 30 times as much memory
        if self.segment.bytes_received > LONGEST_FIELD:
            raise TooLarge(
                f"The form's field {self.segment.name[:100]!r} has more than {LONGEST_FIELD} bytes."
            )

    def _take_content(self, chunk: bytes) -> None:
        if self.incoming is None:  # it was unfit, and the rest of it does not matter
            return
        self.incoming.write(chunk)
        if self.incoming.size > self.max_size:
            raise TooLarge(
                f"{self.incoming.filename} is larger than {self.max_size} bytes, the most that "
                "this index takes (MAX_UPLOAD_SIZE)."
            )

    def _count(self, chunk: bytes) -> None:
        self.text_size += len(chunk)
        if self.text_size > LONGEST_FIELDS:
            raise TooLarge(f"The fields of the form have more than {LONGEST_FIELDS} bytes.")


class FilesReader(FormReader):
    """Takes the files of a browser's form, of which one may be unfit and the next one good."""

    def __init__(
        self, storage: BaseStorage, max_size: int, check: Callable[[str], None], **form: Any
    ) -> None:
        super().__init__(storage, max_size, **form)
        self.check = check
        self.checked = False
        self.fault: ExtraPyPIError | None = None
        self.number = 0

    def check_once(self) -> None:
        """Checks the form's token, which stands before the first file."""
        if not self.checked:
            self.check(value(self.fields, "form_token"))
            self.checked = True

    def _sink_of(self, segment: MultipartSegment) -> Callable[[bytes], None]:
        if segment.filename is None:
            return self._take_text
        self.check_once()
        if segment.name != "files" or not segment.filename:  # a browser's way to send none
            return self._count
        self.number += 1
        if self.number > MOST_FILES:
            self.fault = InvalidUpload(f"Only {MOST_FILES} files are taken at once; send it again.")
        else:
            with self._faults():
                self.incoming = self.storage.receive()
                self.incoming.filename = segment.filename
        return self._take_content

    def _take_content(self, chunk: bytes) -> None:
        with self._faults():
            super()._take_content(chunk)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Keeps an error that is about this file, which is then let go of."""
        try:
            yield
        except (TooLarge, StorageError) as error:
            self.drop()
            self.fault = error

    def finished(self, incoming: Incoming) -> Incoming | ExtraPyPIError:
        """The file, or why the disk did not take it."""
        with self._faults():
            incoming.finish()
        return self.fault or incoming

    def drop(self) -> None:
        """Forgets the file at hand; what the storage has not taken over is removed."""
        self.discard()
        self.incoming = self.fault = None


@contextmanager
def form_errors() -> Iterator[None]:
    """Turns what the parser says into InvalidInput or TooLarge."""
    try:
        yield
    except MultipartError as error:
        kind = TooLarge if error.http_status == 413 else InvalidInput
        raise kind(f"The form cannot be read: {error.args[0]}.") from error


def value(fields: Fields, name: str) -> str:
    """The last value of a field; "" when it is absent or UNKNOWN (old setuptools)."""
    text = fields.get(name, [""])[-1].strip()
    return "" if text == "UNKNOWN" else text
