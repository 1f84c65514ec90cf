"""Index pages, ready to send: kept in memory, negotiated, with their ETags.

A kept page is right as long as the index's serial is the one at which it was last found right;
after that, as long as the last serial of its project is.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from bottle import HTTPResponse, request

from extrapypi.errors import NotAcceptable

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT_HTML = "text/html"
# What an Accept header may ask for, in the order that decides a tie, and what it gets (PEP 691).
OFFERS = {
    JSON: JSON,
    "application/vnd.pypi.simple.latest+json": JSON,
    HTML: HTML,
    "application/vnd.pypi.simple.latest+html": HTML,
    TEXT_HTML: TEXT_HTML,
}
REVALIDATE = "max-age=0, must-revalidate"  # the only words with which all clients ask for a 304
OF_A_BODY = ("Content-Type", "Content-Encoding", "Content-Length", "Last-Modified")
LONGEST_ACCEPT = 1000  # characters that are read of an Accept header
SMALLEST_GZIP = 256  # bytes; below, a compressed page is no shorter on the wire


class Answer(NamedTuple):
    """An answer that is ready to send; the body is as WSGI takes it, or an open stream."""

    status: str  # the line, as "200 OK"
    headers: list[tuple[str, str]]
    body: Any

    def response(self) -> HTTPResponse:
        """The same for Bottle."""
        return HTTPResponse(self.body, self.status, self.headers)


class Page:
    """A page's bytes, plain and compressed, each with its own strong ETag."""

    def __init__(self, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        packed = gzip.compress(body, 6, mtime=0) if len(body) >= SMALLEST_GZIP else None
        charset = "" if content_type.endswith("json") else "; charset=utf-8"
        headers = {"Content-Type": content_type + charset, **headers}
        self.tags = (f'"{digest}"', f'"{digest}-gzip"')
        self.size = len(body) + len(packed or b"") + 1024  # bytes, with what is around it
        self.plain = answers(body, {**headers, "ETag": self.tags[0]})
        self.packed = None
        if packed is not None:
            headers |= {"ETag": self.tags[1], "Content-Encoding": "gzip"}
            self.packed = answers(packed, headers)

    def answer(self, environ: dict) -> Answer:
        """The answer to a request: 304 when the client has the page already."""
        takes_packed = takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")[:LONGEST_ACCEPT])
        whole, unchanged = self.packed if self.packed and takes_packed else self.plain
        return unchanged if is_known(environ, *self.tags) else whole


def answers(body: bytes, headers: dict[str, str]) -> tuple[Answer, Answer]:
    """The two answers with a body: with it, and that the client has it already."""
    whole = {**headers, "Content-Length": str(len(body))}
    return Answer("200 OK", list(whole.items()), [body]), not_modified(headers)


def not_modified(headers: dict[str, str]) -> Answer:
    """The answer that the client has it already, without the headers that tell of a body."""
    kept = [each for each in headers.items() if each[0] not in OF_A_BODY]
    return Answer("304 Not Modified", kept, [])


class KeptPages:
    """Pages in memory, the least used dropped first, bounded by their size in bytes."""

    def __init__(self, megabytes: int) -> None:
        self.most = megabytes * 1024 * 1024
        self.size = 0
        self.pages: OrderedDict[tuple, tuple[Page, int, int]] = OrderedDict()
        self.lock = threading.Lock()

    def get(
        self,
        key: tuple,
        serial: int,
        last_changed: Callable[[], int],
        render: Callable[[], Page],
    ) -> Page:
        """The page of this key, from memory when it is still right, else rendered anew.

        :param serial: the index's serial when the request began.
        :param last_changed: asks the database for the serial of the page's last change.
        """
        kept = self._used(key)
        if kept is not None and kept[2] == serial:
            return kept[0]
        changed = last_changed()  # before rendering: a page may be newer than its mark, never older
        page = kept[0] if kept is not None and kept[1] == changed else render()
        self._keep(key, (page, changed, serial))
        return page

    def ready(self, key: tuple, serial: int) -> Page | None:
        """The page of this key, if it is in memory and known to be right at this serial."""
        kept = self._used(key)
        return kept[0] if kept is not None and kept[2] == serial else None

    def _used(self, key: tuple) -> tuple[Page, int, int] | None:
        with self.lock:
            if key in self.pages:
                self.pages.move_to_end(key)
            return self.pages.get(key)

    def _keep(self, key: tuple, entry: tuple[Page, int, int]) -> None:
        with self.lock:
            self._drop(key)
            if entry[0].size <= self.most:
                self.pages[key] = entry
                self.size += entry[0].size
            while self.size > self.most:
                self._drop(next(iter(self.pages)))

    def _drop(self, key: tuple) -> None:
        kept = self.pages.pop(key, None)
        if kept is not None:
            self.size -= kept[0].size


def header(name: str) -> str:
    """A header of the request at hand, "" when it is absent; bytes beyond ASCII as Latin-1.

    Bottle's own ``get_header`` fails on what is not UTF-8.
    """
    return request.environ.get("HTTP_" + name.upper().replace("-", "_"), "")


def is_known(environ: dict, *tags: str) -> bool:
    """Whether If-None-Match says that the client has one of the representations."""
    known = environ.get("HTTP_IF_NONE_MATCH", "")
    return bool(known) and (known.strip() == "*" or any(tag in known for tag in tags))


def index_key(environ: dict, name: str, kind: str) -> tuple[str, str, str]:
    """Where an index page of this content type is kept; the list of projects has no name."""
    return name, kind, prefix(environ)


def prefix(environ: dict) -> str:
    """The path below which the application is mounted, quoted; "" at the root."""
    return quote(environ.get("SCRIPT_NAME", ""))


def content_type() -> str:
    """The content type that the request at hand gets: from ``?format=``, else from Accept.

    :raises NotAcceptable: when it takes none of ours.
    """
    wanted = request.query.get("format")
    if wanted is not None:
        offer = OFFERS.get(wanted.replace(" ", "+"))  # an unquoted plus arrives as a blank
        if offer is None:
            raise NotAcceptable(f"format is {wanted[:100]!r}; it takes {', '.join(OFFERS)}.")
        return offer
    return accepted(request.environ)


def accepted(environ: dict) -> str:
    """The content type that a request's Accept header gets; raises as :func:`negotiated`."""
    return negotiated((environ.get("HTTP_ACCEPT") or "*/*")[:LONGEST_ACCEPT])


@lru_cache(maxsize=1024)
def negotiated(accept: str) -> str:
    """The best content type for an Accept header: highest q, then JSON when it is named.

    :raises NotAcceptable: when the header admits none of ours.
    """
    ranges = parse_accept(accept)
    best = max(
        ((*quality(offer, ranges), -place, offer) for place, offer in enumerate(OFFERS)),
        key=lambda each: each[:3],
    )
    if best[0] <= 0:
        raise NotAcceptable(f"Accept is {accept[:100]!r}; there are only {', '.join(OFFERS)}.")
    if best[1] < 2:  # only a wildcard: what people and hatch expect
        return HTML if "text/*" not in ranges and "*/*" not in ranges else TEXT_HTML
    return OFFERS[best[3]]


def parse_accept(header: str) -> dict[str, float]:
    """Media range to q, of an Accept or Accept-Encoding header; a malformed q counts as 0."""
    ranges = {}
    for part in header[:LONGEST_ACCEPT].split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        q = 1.0
        for parameter in parameters:
            if parameter.replace(" ", "").startswith("q="):
                try:
                    q = float(parameter.replace(" ", "")[2:])
                except ValueError:
                    q = 0.0
        if name:
            ranges[name] = q if 0 <= q <= 1 else 0.0
    return ranges


def quality(offer: str, ranges: dict[str, float]) -> tuple[float, int]:
    """The q that the most specific range gives to the offer, and how specific it is (0 to 2)."""
    for specific, name in ((2, offer), (1, offer.partition("/")[0] + "/*"), (0, "*/*")):
        if name in ranges:
            return ranges[name], specific
    return 0.0, 0


@lru_cache(maxsize=1024)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header admits gzip."""
    ranges = parse_accept(accept_encoding)
    return ranges.get("gzip", ranges.get("*", 0.0)) > 0
