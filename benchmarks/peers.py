"""The servers that are compared: how each is installed, filled, started and asked."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import subprocess
import sys
import time
import uuid
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "benchmarks"
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from archives_made import metadata_text  # noqa: E402
from peewee import chunked  # noqa: E402

from extrapypi import __version__, config, database, models  # noqa: E402

STARTING = 60  # seconds that a server may take to start, and to stop
THREADS = config.SETTINGS["THREADS"].default
SERVING = re.compile(r"Serving on http://127\.0\.0\.1:(\d+)/")
BIG = "big-1.0-py3-none-any.whl"  # the large wheel
ACCOUNT, ADMIN = "pip:pip", "admin:admin"  # as `extrapypi init` makes them

Projects = dict[str, int]  # name -> how many files it has


class Running:
    """A server process, from its start until :meth:`stop`."""

    def __init__(self, command: list[str], folder: Path, settings: dict[str, str]) -> None:
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env=environment(settings)
            )

    def await_start(self, port: int) -> tuple[str, int]:
        """The address, once connections are accepted there.

        :param port: 0 when the server chooses one and writes it to its log.
        :raises RuntimeError: when it does not start.
        """
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline and self.process.poll() is None:
            said = SERVING.search(self.log.read_text())
            chosen = port or (int(said[1]) if said else 0)
            try:
                socket.create_connection(("127.0.0.1", chosen), timeout=1).close()
                return "127.0.0.1", chosen
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"The server did not start: {self.log.read_text()[-2000:]}")

    def memory(self) -> tuple[int, int]:
        """Bytes in memory now, and the most since :meth:`forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        now, most = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM"))
        return int(now[1]) * 1024, int(most[1]) * 1024

    def forget_peak(self) -> None:
        """Lets the peak begin anew at what is in memory now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        """Ends the process, by force when it must be."""
        self.process.terminate()
        try:
            self.process.wait(STARTING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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

    def pages(self, wheel: str, sizes: dict[str, int]) -> dict[str, str]:
        """The path for each case that the server knows.

        :param wheel: file name of a wheel of the project ``small``, which was uploaded.
        :param sizes: bytes of the answers of the server before this one, by case.
        """
        raise NotImplementedError

    def start(self, folder: Path) -> tuple[Running, tuple[str, int]]:
        """A server of the prepared folder, and its address."""
        port = self.port()
        running = Running(self.command(folder, port), folder, self.settings(folder))
        return running, running.await_start(port)

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


class ExtraPyPI(Peer):
    """This program, from the checkout, with its default settings."""

    NAME = "extrapypi"
    READER, UPLOADER = ACCOUNT, ADMIN
    UPLOADS = "/legacy/"

    def version(self) -> str:
        return f"extrapypi {__version__}, {THREADS} threads, SQLite"

    def prepare(self, folder: Path, projects: Projects) -> None:
        command = [sys.executable, "-m", "extrapypi", "init"]
        env = environment(self.settings(folder))
        subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        if projects:
            database.bind(f"sqlite:///{folder / 'extrapypi.db'}")
            fill(projects)
            database.close()

    def command(self, folder: Path, port: int) -> list[str]:
        return [sys.executable, "-m", "extrapypi", "run", "--port", str(port)]

    def settings(self, folder: Path) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT), "EXTRAPYPI_BASE_DIR": str(folder)}

    def pages(self, wheel: str, sizes: dict[str, int]) -> dict[str, str]:
        few = dict.fromkeys(("few", "few json", "few 304"), "/simple/few/")
        file = f"/packages/small/{wheel}"
        files = {"wheel": file, "metadata": f"{file}.metadata", "big": f"/packages/big/{BIG}"}
        return {**few, "many": "/simple/many/", "list": "/simple/", **files}


class Bare(Peer):
    """Bottle and waitress without anything of ours; see :mod:`bare`."""

    NAME = "bare Bottle"
    UPLOADS = "/files/"

    def version(self) -> str:
        return f"Bottle {version('bottle')}, waitress {version('waitress')}, {THREADS} threads"

    def prepare(self, folder: Path, projects: Projects) -> None:
        (folder / "small.metadata").write_text(metadata_text("small"))

    def command(self, folder: Path, port: int) -> list[str]:
        script = str(Path(__file__).with_name("bare.py"))
        return [sys.executable, script, str(port), str(THREADS), str(folder)]

    def pages(self, wheel: str, sizes: dict[str, int]) -> dict[str, str]:
        ready = {case: f"/bytes/{size}" for case, size in sizes.items()}
        files = {"wheel": wheel, "metadata": "small.metadata", "big": BIG}
        files = {case: f"/files/{name}" for case, name in files.items()}
        return {**ready, "few 304": "/unchanged", **files}


class PyPIServer(Peer):
    """pypiserver as pip installs it, in an environment of its own."""

    NAME = "pypiserver"
    READER = UPLOADER = ACCOUNT
    PLACE = CACHE / "pypiserver"

    def __init__(self) -> None:
        """Makes its environment on first use."""
        if not (self.PLACE / "bin" / "pypi-server").exists():
            venv.create(self.PLACE, with_pip=True, clear=True)
            self._python("-m", "pip", "install", "--quiet", "pypiserver[passlib]")

    def version(self) -> str:
        ask = "from importlib.metadata import version; print(version('pypiserver'))"
        return f"pypiserver {self._python('-c', ask).strip()}, its own choice of server (wsgiref)"

    def _python(self, *arguments: str) -> str:
        command = [str(self.PLACE / "bin" / "python"), *arguments]
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout

    def prepare(self, folder: Path, projects: Projects) -> None:
        user, _, password = ACCOUNT.partition(":")
        digest = base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()
        (folder / "htpasswd").write_text(f"{user}:{{SHA}}{digest}\n")
        (folder / "packages").mkdir()
        for _, _, filename in wheels(projects):
            (folder / "packages" / filename).write_bytes(b"small" * 50)

    def command(self, folder: Path, port: int) -> list[str]:
        program = str(self.PLACE / "bin" / "pypi-server")
        options = ["-i", "127.0.0.1", "-p", str(port), "-a", "update,download,list"]
        return [program, "run", *options, "-P", "htpasswd", "--disable-fallback", "packages"]

    def pages(self, wheel: str, sizes: dict[str, int]) -> dict[str, str]:
        """It knows neither JSON nor ETags nor metadata."""
        files = {"wheel": f"/packages/{wheel}", "big": f"/packages/{BIG}"}
        return {"few": "/simple/few/", "many": "/simple/many/", "list": "/simple/", **files}

    def port(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as free:
            return free.getsockname()[1]


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment without what would change a server's settings, and with these."""
    ours = ("EXTRAPYPI_", "PYPISERVER_", "PYTHON")
    return {key: text for key, text in os.environ.items() if not key.startswith(ours)} | settings


def request_head(method: str, path: str, account: str, headers: dict[str, str]) -> bytes:
    """The first line and the headers of a request."""
    if account:
        secret = base64.b64encode(account.encode()).decode()
        headers = {"Authorization": f"Basic {secret}", **headers}
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: benchmark/1.0"]
    lines += [f"{key}: {text}" for key, text in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def wheels(projects: Projects) -> Iterator[tuple[str, str, str]]:
    """Project, version and file name of everything that an index is to list."""
    for name, files in projects.items():
        for number in range(files):
            yield name, f"1.{number}", f"{name.replace('-', '_')}-1.{number}-py3-none-any.whl"


def fill(projects: Projects) -> None:
    """Lists the projects in the database that is bound; their files have no bytes."""
    ids = {name: number for number, name in enumerate(projects, 1)}
    listed = list(enumerate(wheels(projects), 1))
    with models.writing() as serial:
        insert(
            models.Package,
            ({"id": ids[n], "name": n, "normalized_name": n, "last_serial": serial} for n in ids),
        )
        releases = (
            {"id": id, "package": ids[name], "version": number, "canonical_version": number}
            for id, (name, number, _) in listed
        )
        insert(models.Release, releases)
        insert(models.File, (file_row(id, name, filename) for id, (name, _, filename) in listed))


def insert(table: type[models.Table], rows: Iterable[dict]) -> None:
    """Inserts the rows, some hundred at a time."""
    for some in chunked(rows, 500):
        table.insert_many(some).execute()


def file_row(release: int, name: str, filename: str) -> dict:
    """The row of a file as an upload would write it."""
    digest = hashlib.sha256(filename.encode()).hexdigest()
    return {
        "release": release,
        "filename": filename,
        "location": f"{name}/{filename}",
        "size": 250,
        "md5": digest[:32],
        "sha256": digest,
        "blake2b_256": digest,
        "packagetype": "bdist_wheel",
        "python_version": "py3",
        "requires_python": ">=3.8",
        "metadata_sha256": hashlib.sha256(digest.encode()).hexdigest(),
    }
