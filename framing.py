"""How a request may be written, to the letter of RFC 9112: where it ends is no matter of opinion.

What two programs read in two ways lets a request hide in another one. So nothing is taken that the
standard only allows to take, and all is read in linear time: waitress's own expressions need
minutes for some headers of 60 KB.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from extrapypi.errors import HeaderTooLarge, InvalidInput
from extrapypi.gateway import HOST, readable

MOST_FIELDS = 200
LONGEST_LINE = 8192  # bytes, between the chunks of a body and behind the last one
NO_REQUEST = "This is no request of HTTP/1.1 or HTTP/1.0."
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Z-]+) ([!-~]+) HTTP/(1\.[01])")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
LENGTH = re.compile(r"[0-9]{1,18}")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;[\t -~\x80-\xff]*)?")
START = re.compile(rb"[!-~\r]")  # one empty line is skipped
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Fields that are no lists: of two, each program would take another one.
ONCE = ("HOST", "AUTHORIZATION", "CONTENT_LENGTH", "CONTENT_TYPE", "TRANSFER_ENCODING")


class Header(NamedTuple):
    """The header of a request; its texts are bytes read as Latin-1, as WSGI has them."""

    method: str
    target: str
    path: str  # unquoted
    query: str
    version: str  # 1.0 or 1.1
    fields: dict[str, str]  # by the name as an environ has it, without HTTP_
    length: int | None  # bytes of the body; None when it comes in chunks


def check_start(data: bytes) -> None:
    """Refuses what does not begin like a request, with InvalidInput."""
    if not START.match(data):
        raise InvalidInput(NO_REQUEST)


def check_unfinished(latest: bytes) -> None:
    """Refuses what will be no header whatever follows, because its sender waits for an answer.

    :param latest: what has come in last, and the byte before.
    :raises InvalidInput: for another protocol, and for lines that end otherwise.
    """
    lines = latest.removeprefix(b"\n").removesuffix(b"\r")
    ends = {lines.count(end) for end in (b"\r\n", b"\r", b"\n")}
    if len(ends) > 1 or CONTROL.search(lines):
        raise InvalidInput(NO_REQUEST)


def parse(header: bytes) -> Header:
    """The header of a request, up to the empty line behind it.

    :raises InvalidInput: for what is not written as it has to be.
    :raises HeaderTooLarge: for too many fields.
    """
    first, *lines = header.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = REQUEST_LINE.fullmatch(first)
    if match is None:
        raise InvalidInput(NO_REQUEST)
    method, target, version = (part.decode("ascii") for part in match.groups())
    fields = parse_fields(lines)
    path, _, query = origin_form(target, fields, version).partition("#")[0].partition("?")
    unquoted = readable(unquote_to_bytes(path).decode("latin-1"))
    return Header(method, target, unquoted, query, version, fields, body_length(fields, version))


def parse_fields(lines: list[bytes]) -> dict[str, str]:
    """The fields of a header; raises as :func:`parse` does.

    A name with an underscore is left out: in an environ it would be that with a dash.
    """
    if len(lines) > MOST_FIELDS:
        raise HeaderTooLarge(f"The header has more than {MOST_FIELDS} fields.")
    fields: dict[str, str] = {}
    for line in lines:
        match = FIELD.fullmatch(line)
        if match is None:
            raise InvalidInput(f"The header has a line that is no field: {line[:100]!r}.")
        name, value = (part.decode("latin-1") for part in match.groups())
        key, value = name.upper().replace("-", "_"), value.strip("\t ")
        if key in fields and key in ONCE:
            raise InvalidInput(f"The header has the field {name} twice.")
        if "_" not in name:
            fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return fields


def origin_form(target: str, fields: dict[str, str], version: str) -> str:
    """The path and query that a request is for.

    :raises InvalidInput: for another target, and for a host that is none or not the only one.
    """
    host = fields.get("HOST")
    if not (host is None and version == "1.0") and not HOST.fullmatch(host or ""):
        raise InvalidInput("The header has no field Host with the name of a host.")
    if target.startswith("/"):
        return target
    match = ABSOLUTE.fullmatch(target)
    if match is None:
        raise InvalidInput("The target of the request is no path.")
    if host is None or match[1].lower() != host.lower():
        raise InvalidInput("The request is for another host than its field Host says.")
    return match[2] if match[2].startswith("/") else f"/{match[2]}"


def body_length(fields: dict[str, str], version: str) -> int | None:
    """The bytes of a request's body; None when it comes in chunks.

    The field that says so is taken out, because an application finds no chunks.

    :raises InvalidInput: when the fields leave that open.
    """
    encoding, length = fields.pop("TRANSFER_ENCODING", None), fields.get("CONTENT_LENGTH")
    if encoding is None:
        length = "0" if length is None else length
        if not LENGTH.fullmatch(length):
            raise InvalidInput("Content-Length is no number of bytes.")
        return int(length)
    if encoding.lower() != "chunked" or version == "1.0":
        raise InvalidInput("Transfer-Encoding can only be chunked, with HTTP/1.1.")
    if length is not None:
        raise InvalidInput("The header has both Transfer-Encoding and Content-Length.")
    return None


class Chunks:
    """Takes a body that comes in chunks, into a buffer of waitress; its trailer is forgotten."""

    error = None

    def __init__(self, buf: Any) -> None:
        self.buf = buf
        self.line = b""  # that is coming in
        self.left = 0  # bytes of a chunk
        self.is_behind_chunk = False
        self.trailer_size: int | None = None  # bytes; None until the last chunk
        self.completed = False

    def received(self, data: bytes) -> int:
        """Takes the next bytes; how many of them belong to the body.

        :raises InvalidInput: for what is no chunk.
        """
        place = 0
        while place < len(data) and not self.completed:
            if self.left:
                piece = data[place : place + self.left]
                self.buf.append(piece)
                self.left -= len(piece)
                self.is_behind_chunk = not self.left
            else:
                piece = data[place : data.find(b"\n", place) + 1 or len(data)]
                self._take_text(piece)
            place += len(piece)
        return place

    def _take_text(self, piece: bytes) -> None:
        """Takes the next bytes of a line."""
        self.line += piece
        if len(self.line) + (self.trailer_size or 0) > LONGEST_LINE:
            raise InvalidInput("A line between the chunks of the body is too long.")
        if self.is_behind_chunk and not b"\r\n".startswith(self.line):
            raise InvalidInput("A chunk of the body is longer than it says.")
        if self.line.endswith(b"\n"):
            line, self.line = self.line, b""
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        """Takes a line: behind a chunk, in the trailer, or with the size of the next chunk."""
        if not line.endswith(b"\r\n"):
            raise InvalidInput("A line between the chunks of the body does not end in CR LF.")
        if self.is_behind_chunk:
            self.is_behind_chunk = False
        elif self.trailer_size is not None:
            self.trailer_size += len(line)
            self.completed = line == b"\r\n"
        elif match := CHUNK_SIZE.fullmatch(line[:-2]):
            self.left = int(match[1], 16)
            self.trailer_size = None if self.left else 0
        else:
            raise InvalidInput(f"A chunk's size is no number: {line[:100]!r}.")

    def getfile(self) -> Any:
        """The body, to be read."""
        return self.buf.getfile()

    def getbuf(self) -> Any:
        """The buffer."""
        return self.buf

    def __len__(self) -> int:
        return len(self.buf)
