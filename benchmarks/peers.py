"""The servers that are compared: how each is installed, filled, started and asked."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from checkout import ROOT
from processes import Address, Running, environment
from rows import Projects, fill
from samples import MB, SMALL, BigWheel, Wheel, metadata_text
from transfers import Sent, ask, download, upload

from extrapypi import __version__, config, database

HERE = Path(__file__).parent
THREADS = config.SETTINGS["THREADS"].default
ACCOUNT, ADMIN = "pip:pip", "admin:admin"  # as `extrapypi init` makes them
IDENTITY = {"Accept-Encoding": "identity"}


class Peer:
    """A server to compare."""

    NAME = ""
    READER, UPLOADER = "", ""  # user:password; "" for a server without accounts
    UPLOADS = "/"  # the path that takes them

    def version(self) -> str:
        """What was measured, in words."""
        raise NotImplementedError

    def prepare(self, folder: Path, projects: Projects) -> None:
        """Lays what the server needs, and these projects, into the empty folder."""
        raise NotImplementedError

    def command(self, folder: Path, port: int) -> list[str]:
        """The command that serves the folder."""
        raise NotImplementedError

    def settings(self, folder: Path) -> dict[str, str]:
        """Environment variables for it."""
        return {}

    def port(self) -> int:
        """The port to serve on; 0 lets the server choose."""
        return 0

    def file(self, name: str, filename: str) -> str:
        """The path of a file of a project."""
        raise NotImplementedError

    def pages(self, sizes: dict[str, int]) -> dict[str, str]:
        """The path for each case that the server knows.

        :param sizes: bytes of the answers of the server before this one, by case.
        """
        raise NotImplementedError

    def start(self, folder: Path) -> tuple[Running, Address]:
        """A server of the prepared folder, and its address."""
        port = self.port()
        running = Running(self.command(folder, port), folder, self.settings(folder))
        return running, running.await_start(port)

    def remove(self, folder: Path) -> None:
        """Removes the large files that :meth:`prepare` and uploads have left.

        The small ones stay until the end: for minutes after many were deleted, ext4 is slow to
        create others.
        """
        for path in folder.rglob("*.whl"):
            if path.stat().st_size > MB:
                path.unlink()

    def get(self, path: str, headers: dict[str, str]) -> bytes:
        """A request, ready to be sent."""
        return request_head("GET", path, self.READER, headers)

    def form(self, filename: str, name: str, number: str, sha256: str, size: int) -> tuple:
        """What stands before and after the bytes of a wheel in an upload request."""
        boundary = uuid.uuid4().hex
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            "metadata_version": "2.1",
            "name": name,
            "version": number,
            "filetype": "bdist_wheel",
            "pyversion": "py3",
            "sha256_digest": sha256,
        }
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
        text = "".join(part % (key, "") + f"{value}\r\n" for key, value in fields.items())
        before = (text + part % ("content", f'; filename="{filename}"')).encode()
        after = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(before) + size + len(after)),
        }
        return request_head("POST", self.UPLOADS, self.UPLOADER, headers) + before, after

    def post(self, wheel: Wheel) -> bytes:
        """The request that uploads a wheel."""
        size = len(wheel.content)
        head, tail = self.form(wheel.filename, wheel.name, wheel.version, wheel.sha256, size)
        return head + wheel.content + tail

    def upload(self, address: Address, wheel: BigWheel) -> Sent:
        """How long the upload of a large wheel took."""
        head, tail = self.form(wheel.path.name, wheel.name, "1.0", wheel.sha256, wheel.size)
        return upload(address, head, wheel.path, tail)

    def download(self, address: Address, wheel: BigWheel) -> float:
        """The seconds that a large wheel took back."""
        get = self.get(self.file(wheel.name, wheel.path.name), IDENTITY)
        return download(address, get, wheel.size)


class ExtraPyPI(Peer):
    """This program, from the checkout, with its default settings.

    :param server: URL of a database on the server where each folder gets a database of its own;
        "" for SQLite.
    """

    NAME = "extrapypi"
    READER, UPLOADER = ACCOUNT, ADMIN
    UPLOADS = "/legacy/"
    PROGRAM: tuple[str, ...] = ("-m", "extrapypi")

    def __init__(self, server: str = "") -> None:
        self.server = server
        self.databases: dict[Path, str] = {}  # folder -> name

    def version(self) -> str:
        kind = self.server.partition(":")[0] or "SQLite"
        return f"extrapypi {__version__}, {THREADS} threads, {kind}"

    def prepare(self, folder: Path, projects: Projects) -> None:
        if self.server:
            self.databases[folder] = f"extrapypi_benchmark_{uuid.uuid4().hex[:12]}"
            self._execute(f"CREATE DATABASE {self.databases[folder]}")
        command = [sys.executable, "-m", "extrapypi", "init"]
        env = environment(self.settings(folder))
        subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
        if projects:
            database.bind(self._url(folder))
            fill(projects)
            database.close()

    def _url(self, folder: Path) -> str:
        if self.server:
            return f"{self.server.rpartition('/')[0]}/{self.databases[folder]}"
        return f"sqlite:///{folder / 'extrapypi.db'}"

    def _execute(self, sql: str) -> None:
        database.bind(self.server)
        with database.connection():
            database.database.execute_sql(sql)
        database.close()

    def remove(self, folder: Path) -> None:
        if self.server:
            self._execute(f"DROP DATABASE {self.databases.pop(folder)}")
        super().remove(folder)

    def command(self, folder: Path, port: int) -> list[str]:
        return [sys.executable, *self.PROGRAM, "run", "--port", str(port)]

    def settings(self, folder: Path) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "EXTRAPYPI_BASE_DIR": str(folder),
            "EXTRAPYPI_DATABASE_URL": self._url(folder),
        }

    def file(self, name: str, filename: str) -> str:
        return f"/packages/{name}/{filename}"

    def pages(self, sizes: dict[str, int]) -> dict[str, str]:
        few = dict.fromkeys(("few", "few json", "few 304"), "/simple/few/")
        wheel = self.file("small", SMALL.filename)
        files = dict.fromkeys(("wheel", "range", "wheel 304"), wheel)
        lists = {"many": "/simple/many/", "list": "/simple/"}
        return {**few, **lists, **files, "metadata": f"{wheel}.metadata"}


class Unsynced(ExtraPyPI):
    """The same without fsync; see :mod:`unsynced`."""

    NAME = "extrapypi without fsync"
    PROGRAM = (str(HERE / "unsynced.py"),)


class Bare(Peer):
    """Bottle and waitress without anything of ours; see :mod:`bare`."""

    NAME = "bare Bottle"
    UPLOADS = "/files/"
    OPTIONS: tuple[str, ...] = ()

    def version(self) -> str:
        return f"Bottle {version('bottle')}, waitress {version('waitress')}, {THREADS} threads"

    def prepare(self, folder: Path, projects: Projects) -> None:
        (folder / "small.metadata").write_text(metadata_text("small"))

    def command(self, folder: Path, port: int) -> list[str]:
        script = str(HERE / "bare.py")
        return [sys.executable, script, str(port), str(THREADS), str(folder), *self.OPTIONS]

    def file(self, name: str, filename: str) -> str:
        return f"/files/{filename}"

    def pages(self, sizes: dict[str, int]) -> dict[str, str]:
        ready = {case: f"/bytes/{size}" for case, size in sizes.items()}
        wheel = dict.fromkeys(("wheel", "range", "wheel 304"), f"/files/{SMALL.filename}")
        return {**ready, "few 304": "/unchanged", **wheel, "metadata": "/files/small.metadata"}


class SyncedBare(Bare):
    """The same, with uploads that have reached the disk when it answers."""

    NAME = "bare Bottle with fsync"
    OPTIONS = ("synced",)


class ThoroughBare(Bare):
    """The same, with the three digests that PyPI's JSON API tells of a file."""

    NAME = "bare Bottle with fsync and 3 digests"
    OPTIONS = ("synced", "digests")


def started(
    peer: Peer, folder: Path, projects: Projects, stack: ExitStack
) -> tuple[Running, Address]:
    """A server with these projects and the small wheel, in a place of its own below the folder.

    The stack stops it and removes what is large.

    It has checked the passwords once: of a server that runs for long that is no part of the cost.
    """
    place = Path(tempfile.mkdtemp(prefix=f"{peer.NAME} ", dir=folder))
    stack.callback(peer.remove, place)
    peer.prepare(place, projects)
    running, address = peer.start(place)
    stack.callback(running.stop)
    ask(address, peer.post(SMALL))
    ask(address, peer.get(peer.file(SMALL.name, SMALL.filename), IDENTITY))
    return running, address


def request_head(method: str, path: str, account: str, headers: dict[str, str]) -> bytes:
    """The first line and the headers of a request."""
    if account:
        secret = base64.b64encode(account.encode()).decode()
        headers = {"Authorization": f"Basic {secret}", **headers}
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: benchmark/1.0"]
    lines += [f"{key}: {text}" for key, text in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def write_passwords(path: Path, account: str) -> None:
    """A password file with this account, as pypiserver and nginx read it."""
    user, _, password = account.partition(":")
    digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
    path.write_text(f"{user}:{{SHA}}{digest}\n")
