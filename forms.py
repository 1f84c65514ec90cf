"""The upload form: its text fields in memory, its file straight into the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bottle import request
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from extrapypi.errors import InvalidInput, InvalidUpload, TooLarge
from extrapypi.incoming import CHUNK, Incoming
from extrapypi.storage import BaseStorage

MOST_PARTS = 1024
LONGEST_FIELD = 4 * 1024**2  # bytes
LONGEST_FIELDS = 16 * 1024**2  # bytes of all text fields together
# What a form may be larger than its file: the fields, and the lines between the parts.
OVERHEAD = LONGEST_FIELDS + MOST_PARTS * 8192

Fields = dict[str, list[str]]


@contextmanager
def sent_form(storage: BaseStorage, max_size: int) -> Iterator[tuple[Fields, Incoming | None]]:
    """The text fields and the file ``content`` of the request at hand; the file is finished.

    What the storage has not taken over at the end is removed.

    :param max_size: bytes that the file may have.
    :raises InvalidInput: for a body that is no multipart form, or breaks off.
    :raises TooLarge: for too many or too long parts.
    :raises NoRoom: when the disk is full.
    """
    reader = FormReader(storage, max_size)
    try:
        reader.read()
        yield reader.fields, reader.incoming
    finally:
        if reader.incoming is not None:
            reader.incoming.discard()


class FormReader:
    """Takes the parts of a multipart form one by one, as they come."""

    def __init__(self, storage: BaseStorage, max_size: int) -> None:
        self.storage = storage
        self.max_size = max_size
        self.fields: Fields = {}
        self.incoming: Incoming | None = None
        self.text_size = 0

    def read(self) -> None:
        """Reads the whole body, whatever the order of its parts."""
        kind, options = parse_options_header(request.environ.get("CONTENT_TYPE") or "")
        if kind != "multipart/form-data":
            raise InvalidInput(f"An upload is multipart/form-data, not {kind[:100] or 'nothing'}.")
        if not options.get("boundary"):
            raise InvalidInput("The form's Content-Type names no boundary that can be read.")
        try:
            parser = PushMultipartParser(
                options["boundary"],
                content_length=request.content_length,
                max_segment_count=MOST_PARTS,
                max_header_size=8192,
            )
            self._take(parser.parse_blocking(request.environ["wsgi.input"].read, CHUNK))
        except MultipartError as error:
            kind = TooLarge if error.http_status == 413 else InvalidInput
            raise kind(f"The form cannot be read: {error}.") from error
        if self.incoming is not None:
            self.incoming.finish()

    def _take(self, events: Iterator) -> None:
        for event in events:
            if isinstance(event, MultipartSegment):
                self.sink = self._sink_of(event)
                self.segment, self.chunks = event, []
            elif event is None:
                self._end()
            else:
                self.sink(event)

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
                text = b"".join(self.chunks).decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidInput(f"The form's field {name[:100]!r} is not UTF-8.") from None
            self.fields.setdefault(name, []).append(text)

    def _take_text(self, chunk: bytes) -> None:
        self._count(chunk)
        self.chunks.append(chunk)
        if self.segment.bytes_received > LONGEST_FIELD:
            raise TooLarge(
                f"The form's field {self.segment.name[:100]!r} has more than {LONGEST_FIELD} bytes."
            )

    def _take_content(self, chunk: bytes) -> None:
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


def value(fields: Fields, name: str) -> str:
    """The last value of a field; "" when it is absent or UNKNOWN (old setuptools)."""
    text = fields.get(name, [""])[-1].strip()
    return "" if text == "UNKNOWN" else text
