"""The shortest way to what is asked for most: index pages and files that are in memory.

It stands in front of the routes, whose framework would be most of the cost of such an answer. It
takes a request only when nothing is left to decide: a GET, with credentials that were checked
before and may see everything, for a page or file that is known as it is at this serial; or for
/ping, which is answered even while all threads wait for something that fails. All else goes on to
the routes, errors too; they and this answer alike, because both send what
:mod:`~extrapypi.pages` and :mod:`~extrapypi.sending` have made ready.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import peewee
from bottle import WSGIFileWrapper

from extrapypi.database import connection
from extrapypi.errors import ExtraPyPIError
from extrapypi.gateway import USER
from extrapypi.pages import Answer, accepted, index_key
from extrapypi.sending import is_near
from extrapypi.storage import SIDECAR
from extrapypi.views.files import metadata_key, sent
from extrapypi.views.server import PONG

# In the environ: the server's main loop asks, and takes only what needs no wait. It gets None for
# all else, and asks again from a thread.
IN_LOOP = "extrapypi.in_loop"
NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"  # normalized; other spellings are redirected
INDEX = re.compile(rf"/simple/(?:({NAME})/)?")
FILE = re.compile(rf"/packages/({NAME})/([^/]+)")


class Shortcut:
    """WSGI application that answers what it can and leaves the rest to another one."""

    def __init__(self, application: Callable, site) -> None:
        self.application = application
        self.site = site

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes] | None:
        answer = self.answer(environ)
        if answer is None:
            return None if IN_LOOP in environ else self.application(environ, start_response)
        start_response(answer.status, list(map(as_bottle_does, answer.headers)))
        if hasattr(answer.body, "read"):
            return environ.get("wsgi.file_wrapper", WSGIFileWrapper)(answer.body)
        return answer.body

    def answer(self, environ: dict) -> Answer | None:
        """The answer to the request; None when the routes are to give it."""
        if environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING"):
            return None
        if "HTTP_COOKIE" in environ and "HTTP_AUTHORIZATION" not in environ:
            return None  # perhaps a session
        path = environ["PATH_INFO"]
        if path == "/ping":
            return PONG
        try:
            if index := INDEX.fullmatch(path):
                return self._index_page(environ, index[1] or "")
            if file := FILE.fullmatch(path):
                return self._file(environ, *file.groups())
        except (ExtraPyPIError, peewee.PeeweeException):
            pass  # the routes meet it, too, and say it
        return None

    def _index_page(self, environ: dict, name: str) -> Answer | None:
        serial = self._serial(environ)
        key = index_key(environ, name, accepted(environ))
        return self._page(environ, key, serial)

    def _file(self, environ: dict, project: str, filename: str) -> Answer | None:
        serial = self._serial(environ)
        file = self.site.files.ready(filename.removesuffix(SIDECAR), serial)
        if file is None or file.project != project or file.status == "quarantined":
            return None
        if filename.endswith(SIDECAR):
            return self._page(environ, metadata_key(file), serial)
        if IN_LOOP in environ and not is_near(file, self.site.storage):
            return None
        return sent(self.site, file, environ)

    def _page(self, environ: dict, key: tuple, serial: int) -> Answer | None:
        page = self.site.pages.ready(key, serial)
        return None if page is None else page.answer(environ)

    def _serial(self, environ: dict) -> int:
        """The index's serial; -1, which is none, for who is not known or may not see everything."""
        with connection():
            actor = self.site.authenticator.known(environ)
        if actor is None or actor.packages is not None:
            return -1
        environ[USER] = actor.username
        return actor.serial


def as_bottle_does(header: tuple[str, str]) -> tuple[str, str]:
    """A header as Bottle gives it: its name in title case, its text UTF-8 read as Latin-1."""
    name, text = header
    return name.title(), text if text.isascii() else text.encode().decode("latin-1")
