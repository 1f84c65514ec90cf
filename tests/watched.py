"""A running index under attack: what it answers, and that nothing else comes of it."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from archives_made import wheel_bytes
from clients import Index
from conftest import form_of
from test_early import MET, ask
from test_serving import request

from extrapypi.intake import SPOOL_OVER

NAME, CONTENT = wheel_bytes()
MIB, GIB = 2**20, 2**30
MOST = 64 * MIB  # that the server's memory may rise by
LATER = b"x" * (SPOOL_OVER + 1)  # behind a form's end: lets it be read while it comes in
WAYS = {"argvalues": [b"", LATER], "ids": ["afterwards", "while it comes in"]}
TABLES = ("packages", "releases", "files", "used_filenames", "dependencies", "journal")


@contextmanager
def attacked(folder: Path) -> Iterator[Index]:
    """A running index with one project, which has met the admin; it has to survive."""
    index = Index(folder)
    index.add("witness")
    ask(index, request("/simple/", Authorization=MET))
    yield index
    deadline = time.monotonic() + 30
    while spooled(index) and time.monotonic() < deadline:
        index.get("/ping")
    assert spooled(index) == []
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


def spooled(index: Index) -> list[str]:
    """The files that the server has open and nobody else can see: bodies on their way in."""
    links = []
    for link in Path(f"/proc/{index.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(link.readlink()))
    return [link for link in links if link.endswith(" (deleted)")]


def state(index: Index) -> list:
    """What is stored and on its way in, the rows of the tables, and what installers see."""
    folder = index.folder / "packages"
    files = sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))
    with closing(sqlite3.connect(index.folder / "extrapypi.db")) as rows:
        counts = [rows.execute(f"SELECT COUNT(*) FROM {table}").fetchone() for table in TABLES]
        serial = rows.execute("SELECT * FROM serial").fetchall()
    return [files, counts, serial, index.get("/simple/"), index.get("/simple/witness/")]


def memory(index: Index, key: str) -> int:
    """Bytes that the server has in memory: VmRSS now, VmHWM at most."""
    status = Path(f"/proc/{index.process.pid}/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024


@contextmanager
def little_memory(index: Index) -> Iterator[None]:
    """What is done meanwhile takes little of the server's memory."""
    Path(f"/proc/{index.process.pid}/clear_refs").write_text("5")  # VmHWM begins anew
    idle = memory(index, "VmRSS")
    yield
    assert memory(index, "VmHWM") - idle < MOST


@contextmanager
def unharmed(index: Index) -> Iterator[None]:
    """What is done meanwhile takes little memory, and changes nothing."""
    before = state(index)
    with little_memory(index):
        yield
    assert state(index) == before


def refusal(index: Index, sent: bytes) -> str:
    """What the server says to a request, which it refuses unharmed, within 30 seconds."""
    with unharmed(index):
        status, headers, body = ask(index, sent)
    assert re.fullmatch(r"4\d\d [ -~]{10,}", status), status
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    return body.decode()


def form(archive: tuple[str, bytes], *more: bytes, called: str = "", **changes) -> bytes:
    """A whole form with a file, and more parts behind it; the file may be called otherwise."""
    filename, body = archive
    fields = form_of(filename, body, **changes).items()
    parts = [f'name="{name}"\r\n\r\n{text}'.encode() for name, text in fields]
    parts.append(b'name="content"; filename="%s"\r\n\r\n%s' % ((called or filename).encode(), body))
    starts = (b"--b\r\nContent-Disposition: form-data; %s\r\n" % part for part in (*parts, *more))
    return b"".join(starts) + b"--b--\r\n"
