"""Web servers for tests: they answer what a test says, and remember what they were asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

JSON = "application/vnd.pypi.simple.v1+json"


class Answer(NamedTuple):
    """An answer; a body that is a function writes what it likes."""

    body: bytes | Callable[[Callable[[bytes], Any]], None] = b""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 (nobody changes it)


class Asked(NamedTuple):
    """What the server was asked for."""

    path: str
    authorization: str | None
    proxy_authorization: str | None


class Site:
    """A server on this machine; ``answers`` has a list for each path; its last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def answer(self, path: str, *answers: Answer) -> None:
        """What the path answers, one after the other."""
        self.answers[path] = list(answers)

    def html(self, path: str, body: str) -> None:
        """A page of HTML."""
        self.answer(path, Answer(body.encode(), headers={"Content-Type": "text/html"}))

    def json(self, path: str, document: object) -> None:
        """A page of the simple API as JSON."""
        self.answer(path, Answer(json.dumps(document).encode(), headers={"Content-Type": JSON}))

    def next(self, path: str) -> Answer:
        """The answer whose turn it is."""
        answers = self.answers.get(path) or [Answer(status=404)]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [asked.path for asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    """Hands the requests on to the site."""

    def __init__(self, site: Site, *arguments: Any) -> None:
        self.site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        headers = (self.headers[name] for name in ("Authorization", "Proxy-Authorization"))
        self.site.asked.append(Asked(self.path, *headers))
        answer = self.site.next(self.path)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes) and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        with suppress(ConnectionError):  # of a client that has had enough
            if isinstance(answer.body, bytes):
                self.wfile.write(answer.body)
            else:
                answer.body(self.wfile.write)

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@contextmanager
def serving(handler: Callable) -> Iterator[str]:
    """The URL of a server that runs until the end of the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def site() -> Iterator[Site]:
    """A site that answers until the end of the block."""
    made = Site()
    with serving(partial(Handler, made)) as made.url:
        yield made


def folder(path: Path) -> Any:
    """The URL of a server that lists a folder and those in it, until the end of the block."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    return serving(partial(Quiet, directory=str(path)))
