"""What is wrong with a running server, as clients meet it: the command `doctor --url`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3

from extrapypi.doctor import Fault, Finding, same_clock, tried
from extrapypi.errors import InvalidInput
from extrapypi.otherpages import Page, project, projects
from extrapypi.weburls import PORTS, bare, index_parts, origin

TIMEOUT = urllib3.Timeout(connect=10, read=30)  # seconds
JSON, HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"
CLIENTS = {  # what each sends with the request for an index page
    "pip": {"User-Agent": "pip/26.0", "Accept": f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"},
    "uv": {"User-Agent": "uv/0.12", "Accept": f"{JSON}, {HTML};q=0.2, text/html;q=0.01"},
}
MEND_ROOT = {  # part of a URL -> what makes it right
    "scheme": "let the proxy send X-Forwarded-Proto, and name the proxy in TRUSTED_PROXY",
    "host": "let the proxy pass on Host, or send X-Forwarded-Host and be named in TRUSTED_PROXY",
    "prefix": "set URL_PREFIX, or let the proxy send X-Forwarded-Prefix and name it in "
    "TRUSTED_PROXY",
}


class Running:
    """A running server, asked from outside.

    :param url: its root, as clients have it, with the prefix and without ``simple/``.
    :raises InvalidInput: for what is no such URL.
    """

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        parts = index_parts(url)
        if parts.username is not None:
            raise InvalidInput("Give user name and password by --user and --password.")
        path = parts.path.rstrip("/").removesuffix("/simple")
        self.root = f"{parts.scheme}://{parts.netloc}{path}"
        self.parts = urlsplit(self.root)
        self.credentials = {}
        if password:
            text = f"{username}:{password}".encode().decode("latin-1")
            self.credentials = urllib3.make_headers(basic_auth=text)
        self.pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def get(self, url: str, **headers: str) -> urllib3.BaseHTTPResponse:
        """The answer to a GET; redirects are not followed."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.pool.request("GET", url, headers=named, redirect=False)

    def findings(self) -> Iterator[Finding]:
        """What is found; nothing more when it does not answer at all."""
        with closing(self):
            yield from self._findings()

    def close(self) -> None:
        """Closes the connections."""
        self.pool.clear()

    def _findings(self) -> Iterator[Finding]:
        first = tried(f"{self.root}/ping", self.ping)
        yield first
        if not first.is_ok:
            return
        yield tried(f"{self.root}/health", self.health)
        yield tried("clock of the server", self.clock)
        yield tried("links of the server", self.links)
        yield tried("proxy headers of clients", self.foreign_headers)
        yield tried("asking for credentials", self.challenge)
        for name in CLIENTS:
            yield tried(f"index as {name} asks", self.index, name)

    def ping(self) -> str:
        """Whether it is extrapypi that answers."""
        answer = self.get(f"{self.root}/ping")
        if (answer.status, answer.data) != (200, b"pong"):
            raise Fault(
                f"answers {answer.status}, not pong. Is the URL that of the index, with its "
                "prefix, and does the proxy pass on everything below it?"
            )
        return "answers."

    def health(self) -> str:
        """Whether its database and storage answer."""
        answer = self.get(f"{self.root}/health")
        if answer.status != 200:
            said = answer.data.decode("utf-8", "replace").strip()[:200]
            raise Fault(f"answers {answer.status}: {said} Look at the log of the server.")
        return "database and storage answer."

    def clock(self) -> str:
        """Whether it has our time."""
        date = self.get(f"{self.root}/ping").headers.get("Date", "")
        try:
            return same_clock(parsedate_to_datetime(date).timestamp(), "The server")
        except (ValueError, TypeError):
            return "not told; the answer has no header Date."

    def told_root(self, **headers: str) -> str:
        """What the server takes for its root."""
        answer = self.get(f"{self.root}/", **headers)
        if location := answer.headers.get("Location"):
            return location.removesuffix("/dashboard/")
        text = answer.data.decode("utf-8", "replace")
        return text.strip().rpartition(" ")[2].removesuffix("/simple/")

    def links(self) -> str:
        """Whether its absolute links begin as the URL does."""
        told = self.told_root()
        wanted, got = self._of_root(self.root), self._of_root(told)
        wrong = [MEND_ROOT[part] for part in MEND_ROOT if wanted[part] != got[part]]
        if wrong:
            raise Fault(f"they begin with {bare(told)}, not {self.root}: {'; '.join(wrong)}.")
        return f"they begin with {self.root}."

    def _of_root(self, url: str) -> dict[str, Any]:
        scheme, host, port = origin(url)
        place = (host, port if port not in PORTS.values() else None)
        return {"scheme": scheme, "host": place, "prefix": urlsplit(url).path.rstrip("/")}

    def foreign_headers(self) -> str:
        """Whether a client cannot say where the server is."""
        with suppress(ValueError):
            if ipaddress.ip_address(self.parts.hostname or "").is_loopback:
                return "not tried from this machine, which may be a trusted proxy."
        if self.parts.hostname == "localhost":
            return "not tried from this machine, which may be a trusted proxy."
        if "doctor.invalid" in self.told_root(X_Forwarded_Host="doctor.invalid"):
            raise Fault(
                "X-Forwarded-Host of any client is believed. Let the proxy set it (nginx: "
                "proxy_set_header X-Forwarded-Host $host), and name only it in TRUSTED_PROXY."
            )
        return "they are not believed."

    def challenge(self) -> str:
        """Whether those without credentials are asked for them, or may read."""
        answer = self.get(f"{self.root}/simple/", **CLIENTS["uv"])
        if answer.status == 200:
            return "not needed; everybody may read (ANONYMOUS_READ)."
        if answer.status != 401 or "Basic" not in answer.headers.get("WWW-Authenticate", ""):
            raise Fault(
                f"/simple/ answers {answer.status} to who has no credentials, without "
                "WWW-Authenticate: Basic. Does the proxy pass on the answers of the index?"
            )
        return "401 with WWW-Authenticate."

    def index(self, client: str) -> str:
        """Whether a client with the credentials gets a page, a project's page and a file."""
        headers = {**CLIENTS[client], **self.credentials}
        page = self._page(f"{self.root}/simple/", headers)
        for name in projects(page)[:1]:
            url = urljoin(page.url, f"{name}/")
            for link in project(self._page(url, headers)).files[:1]:
                self._check_file(link.url, headers)
                return f"the list, the page of {name} and a file of it come."
        return "the list of projects comes; there is no file yet."

    def _page(self, url: str, headers: dict[str, str]) -> Page:
        answer = self.get(url, **headers)
        if answer.status == 401 and not self.credentials:
            raise Fault("needs credentials. Give --password (a token's secret will do), --user.")
        if answer.status in (401, 403):
            raise Fault(
                f"{bare(url)} answers {answer.status} ({answer.reason}): are --user and --password "
                "right, and does the proxy pass on Authorization?"
            )
        if answer.status != 200:
            raise Fault(f"{bare(url)} answers {answer.status} {answer.reason}, and should be 200.")
        return Page(url, answer.headers.get("Content-Type", ""), answer.data)

    def _check_file(self, url: str, headers: dict[str, str]) -> None:
        if not url.startswith(f"{self.root}/packages/"):
            raise Fault(f"a file is said to be at {bare(url)}: {MEND_ROOT['prefix']}.")
        answer = self.get(url, **{**headers, "Range": "bytes=-1"})  # which is no download
        if answer.status not in (200, 206, 302):
            raise Fault(f"{bare(url)} answers {answer.status} {answer.reason}; see `check`.")
