"""Errors as HTTP answers, in the form that each client shows to its user.

The sentence goes into the reason phrase (twine and hatch show nothing else) and into the body
(uv, flit and people read that). See standards.md D36.
"""

from __future__ import annotations

import functools
import http
import json
import logging
from collections.abc import Callable
from urllib.parse import quote

from bottle import HTTPError, HTTPResponse, request

from extrapypi.errors import ExtraPyPIError, NotLoggedIn, Unavailable
from extrapypi.incoming import EXHAUSTED
from extrapypi.pages import header, parse_accept

log = logging.getLogger("extrapypi")

REALM = "extrapypi"
PLAIN = "text/plain; charset=utf-8"
FAULT = "The server has a fault; its log says more."
LONGEST_REASON = 200  # characters
CHUNK = 256 * 1024  # bytes read at once
MOST_DRAINED = 256 * 1024**2  # bytes of a refused body that are read


def reason_phrase(message: str) -> str:
    """The message as one line of printable ASCII that fits into a status line."""
    line = " ".join(message.split())
    printable = "".join(c if " " <= c <= "~" else "?" for c in line)
    return printable[:LONGEST_REASON].strip()


def error_answer(error: ExtraPyPIError, method: str, accept: str) -> tuple[str, dict, bytes]:
    """Status line, headers and body for an error.

    :param method: of the request; a GET or HEAD without credentials gets no body, because every
        request of uv with a netrc begins like that, and a body costs it a connection.
    """
    message = str(error)
    status = f"{error.status} {reason_phrase(message) or http.HTTPStatus(error.status).phrase}"
    headers = {"Cache-Control": "no-store"}
    if hasattr(error, "retry_after"):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, NotLoggedIn):
        headers["WWW-Authenticate"] = f'Basic realm="{REALM}", charset="UTF-8"'
        if method in ("GET", "HEAD"):
            return status, {**headers, "Content-Type": PLAIN, "Content-Length": "0"}, b""
    if prefers_json(accept):
        headers["Content-Type"] = "application/json"  # exactly: with a charset uv shows it raw
        document = {
            "code": f"{error.status} {message}",
            "message": message,
            "title": http.HTTPStatus(error.status).phrase,
        }
        return status, headers, json.dumps(document).encode()
    headers["Content-Type"] = PLAIN
    return status, headers, f"{message}\n".encode("utf-8", "replace")


def prefers_json(accept: str) -> bool:
    """Whether an Accept header names application/json as its first choice."""
    ranges = parse_accept(accept)
    return ranges.get("application/json", 0) >= max(ranges.values(), default=1) > 0


def as_http(error: ExtraPyPIError) -> HTTPResponse:
    """The error as Bottle's answer to the request at hand."""
    status, headers, body = error_answer(error, request.method, header("Accept"))
    return HTTPResponse(body, status, headers)


def note_fault(method: str, path: str, error: ExtraPyPIError, cause: BaseException | None) -> None:
    """Tells the log of an error that is no fault of the client's."""
    if error.status >= 500:
        log.error("%s %s: %s (%r)", method, path, error, cause)


def drain() -> None:
    """Reads the rest of the body, up to a limit: a client that still sends when the connection
    is closed gets a reset, and its user never sees the answer."""
    left, stream = min(request.content_length, MOST_DRAINED), request.environ["wsgi.input"]
    while left > 0 and (chunk := stream.read(min(CHUNK, left))):
        left -= len(chunk)


class ErrorPlugin:
    """Bottle plugin: an error of ours becomes its answer; Bottle itself catches all others."""

    name = "errors"
    api = 2

    def apply(self, callback, route):
        @functools.wraps(callback)
        def guarded(*args, **url):
            try:
                return callback(*args, **url)
            except ExtraPyPIError as error:
                return self._answer(error, error.__cause__)
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                ours = Unavailable(f"The machine gives no more: {error.strerror}.")
                return self._answer(ours, error)

        return guarded

    def _answer(self, error: ExtraPyPIError, cause: BaseException | None) -> HTTPResponse:
        note_fault(request.method, request.path, error, cause)
        drain()
        return as_http(error)


def allowed(error: HTTPError) -> str:
    """The methods that are possible where another one was tried; Bottle forgets HEAD."""
    return error.get_header("Allow", "").replace("GET", "GET,HEAD").replace(",", ", ")


def bottle_error(debug: bool) -> Callable[[HTTPError], HTTPResponse]:
    """What answers errors of Bottle's own: unknown paths, wrong methods, faults in the program."""

    def answer(error: HTTPError) -> HTTPResponse:
        sentence = {
            404: f"There is no page {quote(request.path)}.",
            405: f"{request.method} is not possible at {quote(request.path)}.",
            500: FAULT,
        }.get(error.status_code, http.HTTPStatus(error.status_code).phrase)
        if debug and error.traceback:
            sentence = error.traceback
        ours = ExtraPyPIError(sentence)
        ours.status = error.status_code
        response = as_http(ours)
        if error.status_code == 405:
            response.set_header("Allow", allowed(error))
        return response

    return answer
