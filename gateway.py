"""What stands before the application, the same under every server: proxies, prefix, access log,
and the headers that every answer has.

Bottle believes X-Forwarded-* from anybody; so they are read here, from trusted peers only, and
taken away always.
"""

from __future__ import annotations

import io
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from random import getrandbits
from typing import Any, TypeGuard
from urllib.parse import quote

from extrapypi.accesslog import REQUEST
from extrapypi.answers import error_answer, note_fault
from extrapypi.config import Config
from extrapypi.errors import ExtraPyPIError, InvalidInput

access = logging.getLogger("extrapypi.access")
errors = logging.getLogger("extrapypi")

REQUEST_ID = "extrapypi.request_id"  # in the environ: by what the log knows the request
USER = "extrapypi.user"  # in the environ: the name of who sent the request, once that is known
REFUSED = "extrapypi.refused"  # in the environ: the error for which a server lets nobody in
HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{0,5})?", re.ASCII)
PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)
LONGEST = 500  # characters of a path, agent or method in the log; what was made of them is kept
LINE = '%s %s "%s %s" %s %s %.1fms "%s"'
NOSNIFF = ("X-Content-Type-Options", "nosniff")
# The Content-Security-Policy of all that is no page of the dashboard: where a browser shows it, it
# runs and loads nothing, and stands in no frame. Pages put their own into the environ.
NOTHING = "default-src 'none'; frame-ancestors 'none'"
# 30 days: long enough for who comes every month, and over before long for a host that has to go
# back to http. Its subdomains are others' business.
HSTS = ("Strict-Transport-Security", "max-age=2592000")
GIVEN_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")  # what a proxy may call a request
UNSAFE = re.compile(r"[^ !#-~]")  # what would break a quoted field of the access line


class ErrorLog:
    """The server's error stream: Bottle writes tracebacks to it, which belong in the log."""

    def write(self, text: str) -> None:
        errors.error("%s", text.rstrip())

    def flush(self) -> None:
        """Nothing is held back."""


class Body:
    """The body of a request, which some servers read from the connection while they are asked.

    When they cannot, each raises errors of its own; that is the client's fault, and no other one's.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        :raises InvalidInput: once, when they cannot be had; there are no more afterwards.
        """
        try:
            return self.stream.read(size)
        except Exception as error:
            self.stream = io.BytesIO()
            raise InvalidInput("The body of the request cannot be read to its end.") from error


@contextmanager
def named(request_id: str) -> Iterator[None]:
    """Lets the log know the request by this id."""
    token = REQUEST.set(request_id)
    try:
        yield
    finally:
        REQUEST.reset(token)


class Gateway:
    """WSGI application around another; ``site`` is the one that it serves."""

    def __init__(self, application: Callable, site, config: Config) -> None:
        self.application = application
        self.site = site
        self.prefix = config.URL_PREFIX
        self.proxies = config.trusted_proxies
        self.metrics = site.metrics
        self.error_log = ErrorLog()

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        started = time.perf_counter()
        self._enter(environ)
        request_id = environ[REQUEST_ID]

        def begun(status: str, headers: list, exc_info=None):
            seconds = time.perf_counter() - started
            log_access(environ, status, headers, seconds)
            if self.metrics is not None:
                method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
                self.metrics.note(method, path, status, seconds)
            policy = environ.get("extrapypi.policy", NOTHING)
            headers += NOSNIFF, ("Content-Security-Policy", policy), ("X-Request-ID", request_id)
            if environ["wsgi.url_scheme"] == "https":
                headers.append(HSTS)
            return start_response(status, headers, exc_info)

        with named(request_id):
            return (refused if REFUSED in environ else self.application)(environ, begun)

    def admit(self, environ: dict) -> None:
        """Refuses whoever may not upload, before a server takes in a large body of his.

        :param environ: of the request, without its body.
        :raises ExtraPyPIError: what to answer; as :func:`~extrapypi.guards.check_uploader` says.
        """
        self._enter(environ)
        with named(environ[REQUEST_ID]):
            try:
                self.site.check_uploader(environ)
            except ExtraPyPIError as error:
                method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
                note_fault(method, path, error, error.__cause__)
                raise

    def _enter(self, environ: dict) -> None:
        """Makes the request look as the client sent it, and gives it an id."""
        forwarded = take_forwarded(environ)
        prefix = request_id = ""
        if self._is_trusted(environ.get("REMOTE_ADDR")):
            environ["extrapypi.proxied"] = True
            self._apply(forwarded, environ)
            prefix = forwarded.get("PREFIX", "").rstrip("/")
            request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not GIVEN_ID.fullmatch(request_id):
            request_id = environ.get(REQUEST_ID) or f"{getrandbits(64):016x}"
        environ[REQUEST_ID] = request_id
        mount(environ, self.prefix or prefix)
        environ["wsgi.errors"] = self.error_log
        environ["wsgi.input"] = Body(environ["wsgi.input"])
        if not HOST.fullmatch(environ.get("HTTP_HOST", "")):
            environ["HTTP_HOST"] = own_host(environ)

    def _is_trusted(self, address: str | None) -> bool:
        if self.proxies is True or not self.proxies:
            return self.proxies is True
        if not is_address(address):  # a Unix socket: TRUSTED_PROXY = True is for it
            return False
        return any(ipaddress.ip_address(address) in network for network in self.proxies)

    def _apply(self, forwarded: dict[str, str], environ: dict) -> None:
        """Lets the request look as it did where the outermost trusted proxy received it."""
        for address in reversed(listed(forwarded.get("FOR", ""))):
            address = without_port(address)
            if is_address(address):
                environ["REMOTE_ADDR"] = address
            if self.proxies is True or not self._is_trusted(address):
                break  # what stands before it was written by who knows whom
        scheme = (listed(forwarded.get("PROTO", "")) or [""])[-1].lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        host = (listed(forwarded.get("HOST", "")) or [""])[-1]
        if HOST.fullmatch(host):
            environ["HTTP_HOST"] = host

    def close(self) -> None:
        """Writes what is still only in memory; the application is not to be used afterwards."""
        self.site.close()


def refused(environ: dict, start_response: Callable) -> list[bytes]:
    """The answer to a request that the server has not let in."""
    method = environ["REQUEST_METHOD"]
    error, accept = environ[REFUSED], environ.get("HTTP_ACCEPT", "")
    status, headers, body = error_answer(error, method, accept)
    start_response(status, [*headers.items(), ("Content-Length", str(len(body)))])
    return [] if method == "HEAD" else [body]


def own_host(environ: dict) -> str:
    """Name and port by which the server knows itself, for a client that names no host."""
    name = environ.get("SERVER_NAME", "localhost")
    return f"{f'[{name}]' if ':' in name else name}:{environ.get('SERVER_PORT', '80')}"


def take_forwarded(environ: dict) -> dict[str, str]:
    """Removes the X-Forwarded-* headers and returns them, X-Forwarded-For as FOR and so on."""
    environ.pop("HTTP_FORWARDED", None)
    names = [name for name in environ if "X_FORWARDED_" in name]
    return {name.removeprefix("HTTP_X_FORWARDED_"): environ.pop(name) for name in names}


def without_port(address: str) -> str:
    """The IP address of ``1.2.3.4:567``, ``[2001:db8::1]:567`` or one without a port."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def is_address(text: str | None) -> TypeGuard[str]:
    """Whether it is an IP address; one with a zone is none, because that may be any text."""
    try:
        return bool(text and "%" not in text and ipaddress.ip_address(text))
    except ValueError:
        return False


def listed(header: str) -> list[str]:
    """The elements of a comma-separated header."""
    return [part.strip() for part in header.split(",") if part.strip()]


def mount(environ: dict, prefix: str) -> None:
    """Moves the prefix from the path, where a proxy has left it, and folds doubled slashes.

    What is no path is not taken as a prefix.
    """
    path = readable(environ.get("PATH_INFO", ""))
    if "//" in path:
        path = re.sub("//+", "/", path)
    if PREFIX.fullmatch(prefix):
        if path == prefix or path.startswith(prefix + "/"):
            path = path[len(prefix) :]
        environ["SCRIPT_NAME"] = prefix
    environ["PATH_INFO"] = path or "/"


def readable(path: str) -> str:
    """A path as WSGI has it, with U+FFFD for what is no UTF-8 and for what cannot be printed.

    Bottle would leave such bytes out, and so one page would have many paths; and a line feed would
    make two lines of one in the log.
    """
    if path.isascii() and path.isprintable():
        return path
    text = path.encode("latin-1").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text).encode().decode("latin-1")


def log_access(environ: dict, status: str, headers: list, seconds: float) -> None:
    """One line a request: address, user, request line, status, bytes, milliseconds, agent.

    No query, and nothing of the credentials but the user's name; of pip's agent what stands before
    its JSON.
    """
    if access.isEnabledFor(logging.INFO):
        size = next((value for name, value in headers if name == "Content-Length"), "-")
        told = (
            environ.get("REMOTE_ADDR") or "-",
            quoted_name(environ.get(USER) or "-"),
            without_quotes(environ.get("REQUEST_METHOD", "-")[:LONGEST]),
            quoted_path((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))[:LONGEST]),
            status[:3],
            size,
            seconds * 1000,
            without_quotes(environ.get("HTTP_USER_AGENT", "-")[:LONGEST].partition(" {")[0]),
        )
        # access.info() would look for the line that calls it, which costs as much as the rest.
        record = access.makeRecord(access.name, logging.INFO, "", 0, LINE, told, None)
        record.request_id = environ.get(REQUEST_ID, "-")
        access.handle(record)


@lru_cache(maxsize=1024)
def quoted_name(name: str) -> str:
    """A user's name as the access line has it."""
    return quote(name, safe="@+ ")


@lru_cache(maxsize=1024)
def quoted_path(path: str) -> str:
    """A path as the access line has it."""
    return quote(path, safe="/+!:@")


@lru_cache(maxsize=1024)
def without_quotes(text: str) -> str:
    """A method or agent as the access line has it."""
    return UNSAFE.sub("?", text)
