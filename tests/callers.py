"""Clients that keep their connection to a running index: programs' requests and browsers' forms."""

from __future__ import annotations

import base64
import hashlib
import json
from http.client import HTTPConnection, HTTPException, HTTPMessage
from random import Random
from typing import NamedTuple
from urllib.parse import urlencode

from archives_made import wheel_bytes
from browsers import TOKEN
from clients import ADMIN, PASSWORDS, Index, form
from conftest import form_of

from extrapypi.sessions import COOKIE

JSON = "application/vnd.pypi.simple.v1+json"
PATIENCE = 120  # seconds that an answer may take
BROKEN = (OSError, HTTPException)  # what a client gets that the server leaves without an answer
SETTINGS = "/dashboard/packages/{}/settings/"


class Archive(NamedTuple):
    """A wheel, and the release that it is."""

    project: str
    version: str
    filename: str
    body: bytes

    @property
    def sha256(self) -> str:
        """Its digest, in hex."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def path(self) -> str:
        """Where the index serves it."""
        return f"/packages/{self.project}/{self.filename}"


def archive(random: Random, project: str, version: str, size: int, description="") -> Archive:
    """A wheel of a little more than so many bytes, which nothing packs tighter.

    A description is rendered by a process of its own.
    """
    files = {f"{project.replace('-', '_')}/data.bin": random.randbytes(size)}
    made = wheel_bytes(project, version, files=files, description=description)
    return Archive(project, version, *made)


class Answer(NamedTuple):
    """What the server says to a request."""

    status: int
    headers: HTTPMessage
    body: bytes


class Caller:
    """The admin at one connection, with a program and, once logged in, a browser."""

    def __init__(self, index: Index) -> None:
        self.connection = HTTPConnection(index.url.removeprefix("http://"), timeout=PATIENCE)
        credentials = base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()
        self.credentials = {"Authorization": f"Basic {credentials}"}
        self.cookie: dict[str, str] = {}
        self.form_token = ""

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """The answer to a GET, or to a POST of the body; a header's underscores are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        method = "GET" if body is None else "POST"
        self.connection.request(method, path, body, {**self.credentials, **named})
        with self.connection.getresponse() as response:
            return Answer(response.status, response.headers, response.read())

    def page(self, path: str) -> dict:
        """A page of the simple index, as JSON; {} when there is none."""
        answer = self.ask(path, Accept=JSON)
        assert answer.status in (200, 404), answer
        return json.loads(answer.body) if answer.status == 200 else {}

    def upload(self, archive: Archive) -> Answer:
        """The answer to an upload, as twine sends it."""
        fields = form_of(archive.filename, archive.body)
        body = form(fields, archive.filename, archive.body)
        return self.ask("/legacy/", body, Content_Type="multipart/form-data; boundary=xxxx")

    def log_in(self, username: str = ADMIN) -> None:
        """Begins a session of the dashboard."""
        answer = self.send("/dashboard/login", username=username, password=PASSWORDS[username])
        cookies = answer.headers.get_all("Set-Cookie")
        (session,) = (each for each in cookies if each.startswith(COOKIE))
        self.cookie = {"Cookie": session.partition(";")[0]}
        page = self.ask("/dashboard/logout", **self.cookie).body.decode()
        self.form_token = TOKEN.search(page)[1]

    def share(self, other: Caller) -> None:
        """Takes part in the other's session."""
        self.cookie, self.form_token = other.cookie, other.form_token

    def send(self, path: str, **fields: str) -> Answer:
        """The answer to a form of the dashboard, which says where to go next."""
        body = urlencode({"form_token": self.form_token, **fields}).encode()
        kind = "application/x-www-form-urlencoded"
        answer = self.ask(path, body, Content_Type=kind, **self.cookie)
        assert answer.status == 303, answer
        return answer

    def delete(self, project: str, version: str = "") -> None:
        """Deletes a release, or the whole project, with the dashboard's form."""
        fields = {"version": version, "name": version or project, "reason": "no more"}
        self.send(SETTINGS.format(project) + "delete", **fields)

    def yank(self, project: str, version: str, undo: bool = False) -> None:
        """Yanks a release, or takes that back."""
        undoing = {"undo": "1"} if undo else {}
        self.send(SETTINGS.format(project) + "yank", version=version, reason="bad", **undoing)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()


def offered(caller: Caller) -> dict[str, str]:
    """Name and sha256 of every file that the index lists; each comes whole, with its metadata."""
    found = {}
    for project in caller.page("/simple/")["projects"]:
        for file in caller.page(f"/simple/{project['name']}/")["files"]:
            metadata = file["core-metadata"]["sha256"]
            for path, sha256 in (("", file["hashes"]["sha256"]), (".metadata", metadata)):
                answer = caller.ask(file["url"] + path)
                assert answer.status == 200, answer
                assert hashlib.sha256(answer.body).hexdigest() == sha256
            found[file["filename"]] = file["hashes"]["sha256"]
    return found
