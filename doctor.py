"""What is wrong with an installation, and how to mend it: the command `doctor`.

Everything is tried as the server and its clients do it; what a check leaves behind it takes away.
"""

from __future__ import annotations

import ipaddress
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import peewee
import urllib3
from urllib3.exceptions import HTTPError

from extrapypi import database, models
from extrapypi.config import Config, without_password
from extrapypi.errors import ExtraPyPIError, InvalidInput, StorageError
from extrapypi.otherpages import Page, project, projects
from extrapypi.storage import BaseStorage, get_store
from extrapypi.weburls import PORTS, bare, index_parts, origin

BODY = b"a file of `extrapypi doctor`, which takes it away again\n"
SKEW = 30  # seconds by which two clocks may differ
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


class Finding(NamedTuple):
    """What a check has found: a fault has a text that says how to mend it."""

    subject: str
    is_ok: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok' if self.is_ok else 'WRONG':5}  {self.subject}: {self.text}"


class Fault(Exception):
    """A check has found a fault; the message says what to do."""


def tried(subject: str, work: Callable[..., str], *arguments: Any) -> Finding:
    """What a check has found; an error that it meets is the fault."""
    try:
        return Finding(subject, True, work(*arguments))
    except (Fault, ExtraPyPIError, peewee.PeeweeException, OSError, HTTPError) as error:
        causes = [error] if error.__cause__ is None else [error, error.__cause__]
        reasons = [str(each).strip().partition("\n")[0] for each in causes]
        return Finding(subject, False, " ".join(reasons))


def local(settings: Config) -> Iterator[Finding]:
    """What is found on this machine, with the database bound."""
    where = settings.source or "no file; the defaults and the environment"
    yield Finding("configuration", True, f"{where}.")
    yield tried("secret key", secret_key, settings)
    yield tried("metrics", metrics, settings)
    for subject, path, unwanted in secret_files(settings):
        yield tried(f"permissions of the {subject}", permissions, path, unwanted)
    schema = tried("tables", tables, settings)
    yield schema
    if schema.is_ok:
        for subject, work in (
            ("writing to the database", database_write),
            ("passwords", documented_passwords),
            ("clock of the database", database_clock),
        ):
            yield tried(subject, in_connection, work)
    yield tried("storage", storage, settings)


def in_connection(work: Callable[[], str]) -> str:
    """What the work says, with the database open."""
    with database.connection():
        return work()


def secret_key(settings: Config) -> str:
    """Whether nobody can guess it; none is made here."""
    if settings.SECRET_KEY is None and not (settings.BASE_DIR / "secret_key").exists():
        return "none yet; the server makes one at its first start."
    if settings.has_sample_key:
        raise Fault(
            "SECRET_KEY is a sample or shorter than 16 characters. Set a random one "
            "(`extrapypi start` makes one), or none at all."
        )
    return "set and long enough."


def metrics(settings: Config) -> str:
    """Whether what the setting needs is installed."""
    if settings.METRICS and find_spec("prometheus_client") is None:
        raise Fault(
            "METRICS is True, but prometheus-client is missing: install extrapypi[metrics]."
        )
    return "served at /metrics." if settings.METRICS else "not served (METRICS is False)."


def secret_files(settings: Config) -> Iterator[tuple[str, Path, int]]:
    """What others must not get at: what it is, where, and the permissions that it must not have."""
    if settings.source is not None:
        yield "configuration", settings.source, 0o027
    yield "secret key", settings.BASE_DIR / "secret_key", 0o027
    if settings.DATABASE_URL.startswith("sqlite:///"):
        yield "database", Path(settings.DATABASE_URL.removeprefix("sqlite:///")), 0o007
    yield "data folder", settings.BASE_DIR, 0o002
    if settings.STORAGE == "LocalStorage":
        yield "packages folder", Path(settings.STORAGE_PARAMS["packages_root"]), 0o002


def permissions(path: Path, unwanted: int) -> str:
    """Whether a file or folder has none of the unwanted permissions; what is absent has none."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return f"{path} is not there, and need not be yet."
    if mode & unwanted:
        raise Fault(f"{path} has mode {mode:04o}. Run: chmod {mode & ~unwanted:04o} {path}")
    return f"{path} has mode {mode:04o}."


def tables(settings: Config) -> str:
    """Whether the tables are those of this program."""
    with database.connection():
        database.schema_is_current()
    return f"{without_password(settings.DATABASE_URL)} has those of this version."


def database_write() -> str:
    """Whether it takes a change, of nothing."""
    with database.transaction():
        database.execute("UPDATE serial SET value = value")
    return "it takes changes."


def documented_passwords() -> str:
    """Whether nobody has a password that stands in the manual."""
    weak = models.User.select().where(models.User.default_password, models.User.is_active)
    names = sorted(user.username for user in weak)
    if names:
        raise Fault(
            f"documented ones are in place ({', '.join(names)}). "
            f"Run: extrapypi set-password {names[0]} -"
        )
    return "no documented one is in place."


def database_clock() -> str:
    """Whether a database server has our time."""
    kind = type(database.database.obj).__name__
    sql = {
        "PostgreSQL": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
        "MySQL": "SELECT UNIX_TIMESTAMP(SYSDATE(6))",
    }.get(kind)
    if sql is None:
        return "this machine's own."
    return same_clock(float(database.fetch(sql)[0]), "The database server")


def same_clock(seconds: float, whose: str) -> str:
    """Whether a clock tells the time of this machine's."""
    ahead = seconds - time.time()
    if abs(ahead) > SKEW:
        raise Fault(
            f"{whose} is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}. "
            "Let both machines set their clocks by NTP."
        )
    return f"within {SKEW} s of this machine's."


def storage(settings: Config) -> str:
    """Whether it takes a file, has it, gives it back and deletes it."""
    store = get_store(settings.STORAGE, settings.STORAGE_PARAMS)
    store.ping()
    name = f"extrapypi-doctor-{secrets.token_hex(4)}"
    package = models.Package(id=0, name=name, normalized_name=name)
    incoming = store.receive()
    try:
        incoming.filename = f"{name.replace('-', '_')}-1.0.tar.gz"
        incoming.metadata = b"Metadata-Version: 2.1\n"
        incoming.write(BODY)
        incoming.finish()
        store.create_package(package)
        store.prepare(package, incoming)
        location = store.create_release(package, incoming)
        try:
            check_stored(store, location)
        finally:
            store.delete_file(location)
            store.delete_package(package)
    finally:
        incoming.discard()
    if store.has(location, len(BODY)):
        raise Fault(f"{settings.STORAGE} still has {location}, which was deleted.")
    return f"{settings.STORAGE} takes files, gives them back and deletes them."


def check_stored(store: BaseStorage, location: str) -> None:
    """Refuses a storage that does not have the bytes, with StorageError."""
    with closing(store.get_file(location)) as stream:
        if not store.has(location, len(BODY)) or stream.read() != BODY:
            raise StorageError(f"What was stored at {location} is not what comes back.")


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
