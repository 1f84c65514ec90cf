"""Another package index, asked as a client asks it: its projects, their files, their bytes.

:mod:`extrapypi.otherpages` knows what its pages mean.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from extrapypi import otherpages
from extrapypi.core_metadata import shown
from extrapypi.errors import InvalidInput, NotLoggedIn, TooLarge, Unavailable
from extrapypi.incoming import Incoming
from extrapypi.otherpages import Link, Page, ProjectPage
from extrapypi.storage import BaseStorage
from extrapypi.weburls import authorization, bare, index_parts, origin, web_url

ACCEPT = (  # as pip sends it
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)
MAX_LIST = 100 * 10**6  # bytes; the list of all projects of pypi.org has about a third
MAX_PAGE = 20 * 10**6  # bytes, of a project
CHUNK = 2**18  # bytes of a step
MAX_REDIRECTS = 5
TRIES = 3  # for a body that breaks off
PASSING = (429, 502, 503, 504)  # status codes that may be gone the next moment
TIMEOUT = urllib3.Timeout(connect=10, read=60)  # seconds
RETRIES = urllib3.Retry(
    3,
    status_forcelist=PASSING,
    backoff_factor=0.5,  # seconds, doubled from the second time on
    retry_after_max=60,  # seconds, whatever the other index says
    raise_on_status=False,
)

# Its warnings have whole URLs in them, and so what may be a secret.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class CutOff(InvalidInput):
    """A body that broke off before its end."""


def again(work: Callable) -> Callable:
    """Decorates what asks for a body: one that breaks off is asked for again."""

    @functools.wraps(work)
    def attempts(*arguments: Any, **options: Any) -> Any:
        for _ in range(TRIES - 1):
            with suppress(CutOff):
                return work(*arguments, **options)
        return work(*arguments, **options)

    return attempts


class OtherIndex:
    """Another index; a context manager, which closes its connections in the end.

    User name and password come from the URL, else from ~/.netrc or $NETRC. Only the scheme, host
    and port of the URL ever get them; no message shows them.

    :param url: the root of its simple API, such as ``https://user:password@host/simple/``.
    :raises InvalidInput: for what is no such URL.
    """

    def __init__(self, url: str) -> None:
        parts = index_parts(url)
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/"
        self.authorization = authorization(parts)
        self.managers: dict[str | None, urllib3.PoolManager] = {}

    def __enter__(self) -> OtherIndex:
        return self

    def __exit__(self, *error: Any) -> None:
        for manager in self.managers.values():
            manager.clear()

    def projects(self) -> list[str]:
        """The names of all projects, as :meth:`project` takes them.

        :raises InvalidInput: for what is no page of an index; see also :meth:`get`.
        """
        return otherpages.projects(self.page(self.url, MAX_LIST))

    def project(self, name: str) -> ProjectPage:
        """The files and the status of a project; raises as :meth:`projects`."""
        return otherpages.project(self.page(urljoin(self.url, quote(name) + "/"), MAX_PAGE))

    @again
    def page(self, url: str, limit: int = MAX_PAGE) -> Page:
        """A page of the index, redirects followed; raises as :meth:`get` and :func:`chunks`."""
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip, deflate"}
        url, response = self.get(url, headers)
        body = io.BytesIO()
        with closing(response):
            for chunk in chunks(response, f"The page {bare(url)}", limit):
                body.write(chunk)
        return Page(url, response.headers.get("Content-Type", ""), body.getvalue())

    @again
    def download(
        self, link: Link, storage: BaseStorage, limit: int
    ) -> tuple[Incoming, datetime | None]:
        """The file on its way into the storage, finished; and its Last-Modified, if there is one.

        :param limit: bytes that it may have.
        :raises InvalidInput: when a digest is not the listed one; see also :meth:`get`.
        :raises TooLarge: for more bytes.
        """
        _, response = self.get(link.url, {"Accept-Encoding": "identity"})
        with closing(response):
            incoming = storage.receive()
            others = link.hashes.keys() - incoming.digests.keys()  # what it does not compute itself
            hashes = {name: hashlib.new(name, usedforsecurity=False) for name in others}
            try:
                for chunk in chunks(response, link.filename, limit, decode_content=False):
                    incoming.write(chunk)
                    for each in hashes.values():
                        each.update(chunk)
                found = {name: each.hexdigest() for name, each in hashes.items()}
                check_digests(link, {**incoming.digests, **found})
                incoming.finish()
            except BaseException:
                incoming.discard()
                raise
        return incoming, otherpages.http_time(response.headers.get("Last-Modified", ""))

    def get(self, url: str, headers: dict[str, str]) -> tuple[str, urllib3.BaseHTTPResponse]:
        """The open answer to a GET, and the URL that gave it in the end.

        :raises Unavailable: when the index itself does not answer, after some tries.
        :raises NotLoggedIn: when it asks for credentials, or for others.
        :raises InvalidInput: for any other answer than 200, and when another host has no answer.
        """
        asked = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self.request(url, headers)
            location = response.get_redirect_location()
            if not location:
                self.check_status(url, response)
                return url, response
            response.close()
            target = web_url(url, location)
            if target is None:
                raise InvalidInput(f"{bare(asked)} redirects to what is no URL of the web.")
            url = target
        raise InvalidInput(f"{bare(asked)} redirects more than {MAX_REDIRECTS} times.")

    def request(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The open answer as it comes, after some tries; raises as :meth:`get`."""
        headers = {"User-Agent": "extrapypi", **headers}
        if self.authorization and self.owns(url):
            headers["Authorization"] = self.authorization
        options: dict[str, Any] = {"redirect": False, "retries": RETRIES, "timeout": TIMEOUT}
        try:
            manager = self.manager(url)
            return manager.request("GET", url, headers=headers, preload_content=False, **options)
        except HTTPError as error:
            reason = error.reason if isinstance(error, MaxRetryError) else error
            told = re.sub(r"\[Errno -?\d+\] ", "", str(reason).rpartition(": ")[2])
            raise self.failure(url, f"{bare(url)} does not answer: {told}.") from error

    def manager(self, url: str) -> urllib3.PoolManager:
        """The connections for a URL, by way of a proxy when the environment names one."""
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
        if proxy not in self.managers:
            self.managers[proxy] = through(proxy) if proxy else urllib3.PoolManager()
        return self.managers[proxy]

    def check_status(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        """Refuses all answers but 200, as :meth:`get` says."""
        if response.status == 200:
            return
        response.close()
        if response.status == 401 and self.owns(url):
            raise NotLoggedIn(
                f"{bare(url)} does not take this user name and password."
                if self.authorization
                else f"{bare(url)} asks for a user name and a password; write them into the URL, "
                "as https://user:password@host/simple/, or into ~/.netrc."
            )
        if response.status == 401:
            told = f"which only {bare(self.url)} may have"
            raise InvalidInput(f"{bare(url)} asks for a user name and a password, {told}.")
        if response.status in PASSING:
            raise self.failure(url, f"{bare(url)} answers with status {response.status} for now.")
        raise InvalidInput(f"{bare(url)} answers with status {response.status}.")

    def failure(self, url: str, message: str) -> Unavailable | InvalidInput:
        """The error for a URL that gives no answer: of the index, or of one file elsewhere."""
        return Unavailable(message) if self.owns(url) else InvalidInput(message)

    def owns(self, url: str) -> bool:
        """Whether the URL has the scheme, host and port of the index."""
        return origin(url) == origin(self.url)


def chunks(
    response: urllib3.BaseHTTPResponse, what: str, limit: int, decode_content: bool = True
) -> Iterator[bytes]:
    """The body, piece by piece.

    :param what: its name in messages.
    :param limit: bytes that it may have.
    :raises TooLarge: for more bytes, when they are announced or when they come.
    :raises CutOff: when it ends before its end.
    """
    size = 0
    too_large = TooLarge(f"{what} is larger than {limit} bytes, the most that is taken.")
    if (response.length_remaining or 0) > limit:
        raise too_large
    try:
        for chunk in response.stream(CHUNK, decode_content=decode_content):
            size += len(chunk)
            if size > limit:
                raise too_large
            yield chunk
    except HTTPError as error:
        raise CutOff(f"{what} breaks off after {size} bytes.") from error


def check_digests(link: Link, found: dict[str, str]) -> None:
    """Refuses a file whose digests are not the listed ones, with InvalidInput."""
    for name, digest in link.hashes.items():
        if found[name] != digest:
            raise InvalidInput(f"Its {name} is {found[name]}, not {shown(digest)} as listed.")


def through(proxy: str) -> urllib3.ProxyManager:
    """Connections through a proxy, named as in the variable http_proxy."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    pair = unquote(urllib3.util.parse_url(url).auth or "")
    headers = urllib3.make_headers(proxy_basic_auth=pair) if pair else None
    return urllib3.ProxyManager(url, proxy_headers=headers)
