"""A stored file as an answer: whole or a range of it, or only that the client has it already.

Conditions and ranges are those of RFC 9110, sections 13 and 14; only single ranges are served.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from io import BufferedReader
from typing import Any, BinaryIO
from urllib.parse import quote

from bottle import HTTPResponse, request

from extrapypi.errors import StorageError
from extrapypi.models import ServedFile
from extrapypi.pages import header, is_known
from extrapypi.storage import BaseStorage

log = logging.getLogger("extrapypi")

CHUNK = 256 * 1024  # bytes read at once
YEAR = 31536000  # seconds
RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


def cache_control(anonymous_read: bool) -> str:
    """For what never changes under its URL: ``public`` only where everybody may read it."""
    return f"{'public' if anonymous_read else 'private'}, max-age={YEAR}, immutable"


def send_file(
    file: ServedFile, storage: BaseStorage, headers: dict[str, str], sendfile: str | None
) -> HTTPResponse:
    """The answer with the file's bytes, for the request at hand.

    :param headers: are added to the answer.
    :param sendfile: ``nginx`` or ``apache`` when it is to send the bytes itself.
    :raises StorageError: when the file is listed but not there.
    """
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "ETag": f'"{file.sha256}"',
        "Last-Modified": format_datetime(file.upload_time.replace(microsecond=0), usegmt=True),
        "X-Content-Type-Options": "nosniff",
        **headers,
    }
    if has_it(file, headers["ETag"]):
        return HTTPResponse(b"", 304, headers)
    if sendfile:
        return HTTPResponse(b"", 200, {**headers, **handed_over(file, storage, sendfile)})
    part = wanted_part(file.size, headers["ETag"], headers["Last-Modified"])
    if part == ():
        headers |= {"Content-Range": f"bytes */{file.size}", "Content-Length": "0"}
        headers["Cache-Control"] = "no-store"
        return HTTPResponse(b"", 416, headers)
    start, stop = part or (0, file.size)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
    return HTTPResponse(body(file, storage, start, stop), 206 if part else 200, headers)


def has_it(file: ServedFile, etag: str) -> bool:
    """Whether the request's conditions say that the client has these bytes."""
    if header("If-None-Match"):
        return is_known(etag)
    since = parsed_date(header("If-Modified-Since"))
    return since is not None and file.upload_time.replace(microsecond=0) <= since


def wanted_part(size: int, etag: str, last_modified: str) -> tuple[int, int] | tuple[()] | None:
    """What :func:`parse_range` gives for the request; None when If-Range names other bytes."""
    if request.method != "GET" or header("If-Range").strip() not in ("", etag, last_modified):
        return None
    return parse_range(header("Range"), size)


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


def body(file: ServedFile, storage: BaseStorage, start: int, stop: int) -> Any:
    """The bytes, in the way that suits the server: it sends files by itself where it can."""
    if request.method == "HEAD":
        return b""
    stream = storage.get_file(file.location, start, stop)
    # A file goes out through the server's wsgi.file_wrapper. waitress's honours the seek and
    # stops at Content-Length; uwsgi's always sends the whole file.
    wrapper = request.environ.get("wsgi.file_wrapper")
    honours = getattr(wrapper, "__module__", "") == "waitress.buffers"
    if isinstance(stream, BufferedReader) and (stop - start == file.size or honours):
        return stream
    return Chunks(stream, stop - start)


class Chunks:
    """Iterates over the next ``length`` bytes of a stream, and closes it."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self.stream = stream
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        try:
            while self.length > 0 and (chunk := self.stream.read(min(CHUNK, self.length))):
                self.length -= len(chunk)
                yield chunk
        except StorageError as error:  # too late for a status: the server ends the connection
            log.error("An answer is %d bytes too short: %s", self.length, error)

    def close(self) -> None:
        self.stream.close()
