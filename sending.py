"""A stored file as an answer: whole or a range of it, or only that the client has it already.

Conditions and ranges are those of RFC 9110, sections 13 and 14; only single ranges are served.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from io import BufferedReader
from typing import Any, BinaryIO
from urllib.parse import quote

from extrapypi.errors import StorageError
from extrapypi.lookups import ServedFile
from extrapypi.pages import Answer, is_known, not_modified
from extrapypi.storage import BaseStorage

log = logging.getLogger("extrapypi")

CHUNK = 256 * 1024  # bytes read at once
AT_ONCE = 64 * 1024  # bytes up to which a file goes out as one piece, together with the headers
MOST_KNOWN = 5000  # files that are known without a query, about 1 KB each
YEAR = 31536000  # seconds
RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


class KnownFiles:
    """Files that went out of late; what is known of them holds as long as nothing changes."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, ServedFile]] = {}

    def get(self, filename: str, serial: int) -> ServedFile:
        """The file of this name, as it is at the index's serial or later.

        :raises NotFound: when there is none.
        """
        file = self.ready(filename, serial)
        if file is None:
            file = ServedFile.named(filename)
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[filename] = serial, file
        return file

    def ready(self, filename: str, serial: int) -> ServedFile | None:
        """The file of this name, if that needs no query."""
        at, file = self.known.get(filename, (None, None))
        return file if at == serial else None


def cache_control(anonymous_read: bool) -> str:
    """For what never changes under its URL: ``public`` only where everybody may read it."""
    return f"{'public' if anonymous_read else 'private'}, max-age={YEAR}, immutable"


def send_file(
    file: ServedFile,
    storage: BaseStorage,
    environ: dict,
    headers: dict[str, str],
    sendfile: str | None,
) -> Answer:
    """The answer with the file's bytes, for a request.

    :param headers: are added to the answer.
    :param sendfile: ``nginx`` or ``apache`` when it is to send the bytes itself.
    :raises StorageError: when the file is listed but not there.
    """
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        "Last-Modified": file.last_modified,
        **headers,
    }
    if has_it(file, environ, headers["ETag"]):
        return not_modified(headers)
    if sendfile:
        headers |= {**handed_over(file, storage, sendfile), "Content-Length": "0"}
        return Answer("200 OK", list(headers.items()), [])
    part = wanted_part(file, environ, headers["ETag"])
    if part == ():
        headers |= {"Content-Range": f"bytes */{file.size}", "Content-Length": "0"}
        headers["Cache-Control"] = "no-store"
        return Answer("416 Requested Range Not Satisfiable", list(headers.items()), [])
    start, stop = part or (0, file.size)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    status = "206 Partial Content" if part else "200 OK"
    return Answer(status, list(headers.items()), body(file, storage, environ, start, stop))


def is_near(file: ServedFile, storage: BaseStorage) -> bool:
    """Whether the file is sent so soon that handing the request to a thread would take longer."""
    return file.size <= AT_ONCE and storage.get_path(file.location) is not None


def has_it(file: ServedFile, environ: dict, etag: str) -> bool:
    """Whether the request's conditions say that the client has these bytes."""
    if environ.get("HTTP_IF_NONE_MATCH"):
        return is_known(environ, etag)
    since = parsed_date(environ.get("HTTP_IF_MODIFIED_SINCE", ""))
    return since is not None and file.upload_time <= since


def wanted_part(file: ServedFile, environ: dict, etag: str) -> tuple[int, int] | tuple[()] | None:
    """What :func:`parse_range` gives for the request; None when If-Range names other bytes."""
    condition = environ.get("HTTP_IF_RANGE", "").strip()
    if environ["REQUEST_METHOD"] != "GET" or condition not in ("", etag, file.last_modified):
        return None
    return parse_range(environ.get("HTTP_RANGE", ""), file.size)


def parse_range(header: str, size: int) -> tuple[int, int] | tuple[()] | None:
    """Start and stop of a single range; () when it lies outside, None when it is to be ignored."""
    match = RANGE.fullmatch(header.strip())
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # the last n bytes
        return (max(size - int(last), 0), size) if int(last) and size else ()
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return (start, stop) if start < size else ()


def parsed_date(text: str) -> datetime | None:
    """The moment that an HTTP date means, or None."""
    try:
        moment = parsedate_to_datetime(text) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment and moment.tzinfo else None


def handed_over(file: ServedFile, storage: BaseStorage, sendfile: str) -> dict[str, str]:
    """The headers with which nginx or Apache sends the file in our place."""
    if sendfile == "nginx":
        return {"X-Accel-Redirect": "/_extrapypi_files/" + quote(file.location)}
    return {"X-Sendfile": str(storage.get_path(file.location))}


def body(file: ServedFile, storage: BaseStorage, environ: dict, start: int, stop: int) -> Any:
    """The bytes, in the way that suits the server: it sends files by itself where it can."""
    if environ["REQUEST_METHOD"] == "HEAD":
        return []
    stream = storage.get_file(file.location, start, stop)
    if stop - start <= AT_ONCE:
        return [at_once(stream, stop - start)]
    # A file goes out through the server's wsgi.file_wrapper. waitress's honours the seek and
    # stops at Content-Length; uwsgi's always sends the whole file.
    wrapper = environ.get("wsgi.file_wrapper")
    honours = getattr(wrapper, "__module__", "") == "waitress.buffers"
    if isinstance(stream, BufferedReader) and (stop - start == file.size or honours):
        return stream
    return Chunks(stream, stop - start)


def at_once(stream: BinaryIO, length: int) -> bytes:
    """The next bytes of a stream, which is closed; StorageError when there are too few."""
    with closing(stream):
        found = b"".join(pieces(stream, length))
    if len(found) < length:
        raise StorageError(f"A stored file is {length - len(found)} bytes too short.")
    return found


def pieces(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """The next bytes of a stream, some at a time."""
    while length > 0 and (piece := stream.read(min(CHUNK, length))):
        length -= len(piece)
        yield piece


class Chunks:
    """Iterates over the next ``length`` bytes of a stream, and closes it."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self.stream = stream
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        left = self.length
        try:
            for piece in pieces(self.stream, left):
                left -= len(piece)
                yield piece
        except StorageError as error:  # too late for a status: the server ends the connection
            log.error("An answer is %d bytes too short: %s", left, error)

    def close(self) -> None:
        self.stream.close()
